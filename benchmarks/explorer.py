"""CPU seconds of one core until the explorer has new AXT2 images, while TE moves and when it is let go.

    python -m benchmarks.explorer phantom           # or a run of model=acquisition

Each figure is the smallest of three, every one at another TE, so that no image is remembered.
"""

import sys
import time

import torch

from condiff.app.generate import Generator, Settings, known, middle, spans
from condiff.app.models import Models

REPEATS = 3
CONTRAST, STEPS = "AXT2", 20


def main(name: str) -> None:
    torch.set_num_threads(1)
    loaded = Models(name, torch.device("cpu"))[name]
    ranges = spans(loaded.model, CONTRAST)
    given = {parameter: middle(*span) for parameter, span in ranges.items()}
    generator, (low, high) = Generator(loaded), ranges["te"]
    tes = iter(torch.linspace(low, high, 4 * REPEATS).tolist())
    for title, draw in (("while a slider moves", generator.preview), (f"let go, dpmpp, {STEPS} steps", generator.images)):
        for n in (1, 4):
            seconds = []
            for _ in range(REPEATS):
                parameters = known(loaded.model, CONTRAST, given | {"te": next(tes)})
                begin = time.process_time()
                _ = draw(Settings(CONTRAST, parameters, 1.5, "dpmpp", STEPS, 0, n)).magnitude
                seconds.append(time.process_time() - begin)
            print(f"{title}, {n} image{'s' if n > 1 else ''}: {min(seconds):.2f} s")


if __name__ == "__main__":
    main(sys.argv[1])
