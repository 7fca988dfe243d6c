"""Everything that is worth measuring on one GPU, in eight minutes and without a network.

    python -m benchmarks.gpu OUT [--no-tests] [--toy] [--budget 480] [--only steps memory]

Writes OUT/gpu.json and OUT/gpu.md after every row, and the tracebacks of sections that fail to OUT/gpu.log. On a CPU use --toy:
tiny sizes and one round; what only a GPU can tell is left out. diffusers, where it is installed, is measured beside our networks.
"""

import argparse
from pathlib import Path

import torch

from benchmarks.gpu import ceiling, device_tests, loading, memory, profiling, reconstruction, steps
from benchmarks.gpu.report import Bench, Report, Work

SECTIONS: dict[str, tuple[str, Work]] = {
    "tests": ("Tests on the GPU", device_tests.measure),
    "ceiling": ("What the device can do", ceiling.measure),
    "steps": ("Training and sampling steps", steps.measure),
    "loading": ("Loading against the training step", loading.measure),
    "reconstruction": ("Reconstruction and coil maps", reconstruction.measure),
    "memory": ("Memory of a training step", memory.measure),
    "profile": ("Where the time of a step goes", profiling.measure),
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("out", type=Path, help="folder of the results")
    parser.add_argument("--no-tests", action="store_true", help="leave the tests out")
    parser.add_argument("--toy", action="store_true", help="tiny sizes, one round: for a CPU")
    parser.add_argument("--budget", type=float, default=480.0, help="seconds of the whole run")
    parser.add_argument(
        "--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION", help=", ".join(SECTIONS)
    )
    options = parser.parse_args(arguments)
    if options.toy:
        torch.set_num_threads(1)  # more only wait for each other
    report = Report(Bench(options.out, options.toy, options.budget))
    for name, (title, work) in SECTIONS.items():
        if name in options.only and not (name == "tests" and options.no_tests):
            report.run(name, title, work)
    print(f"results     {options.out}/gpu.md, {options.out}/gpu.json", flush=True)


if __name__ == "__main__":
    main()
