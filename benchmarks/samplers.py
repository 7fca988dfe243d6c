"""Quality against evaluations of the network, for every sampler, on one checkpoint.

    python -m benchmarks.samplers CKPT OUT [samples a contrast]

Unguided, so that a step costs what its sampler says. Samples of all contrasts are compared with patients nobody
trained on, as evaluate.py does it; of the ODE's solvers also with its solution, Heun's in 200 steps from the same
noise. OUT/samplers.json is whole after every setting, and what it holds is not done again. OUT/samplers.png is the plot.
"""

import json
import sys
import time
from functools import partial
from pathlib import Path

import hydra
import matplotlib.pyplot as plt
import torch
from hydra.utils import instantiate
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from condiff import sampling
from condiff.checkpoint import checkpoint
from condiff.commands.cli import CONF
from condiff.diffusion.guidance import unguided
from condiff.evaluation import inputs
from condiff.evaluation.distances import feature_distances
from condiff.evaluation.evaluate import CUTS, quick, score
from condiff.evaluation.features import fit_once
from condiff.evaluation.metrics import accuracy, distance, standardised
from condiff.evaluation.sets import Sets
from condiff.sampling.distributed import Cost, counted

SETTINGS = {  # sampler and its options -> steps
    "ddpm": (20, 50, 200, 1000),
    "ddpm_beta": (50, 200),
    "ddim": (5, 10, 20, 50),
    "dpmpp": (5, 8, 10, 15, 20, 40),
    "dpmpp_sde": (5, 8, 10, 15, 20, 50),
    "unipc": (5, 8, 10, 15, 20, 40),
    "heun": (3, 5, 10, 20),
    "heun sampler.walk.churn=10": (20,),
    "predictor_corrector": (25, 100),
    "annealed_langevin": (30, 100),
}
ODE = ("ddim", "dpmpp", "unipc", "heun")
SHOWN = {
    "learned_frechet": "Fréchet, learned",
    "random_frechet": "Fréchet, random",
    "random_kid": "KID, random",
    "spectrum_decibels": "spectrum, dB",
}
BATCH = 32


def walk(setting: str):
    """The sampler that conf/ makes of, say, ``heun sampler.walk.churn=10``."""
    name, *options = setting.split()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return instantiate(hydra.compose("sample", [f"sampler={name}", "out=x", *options]).sampler.walk)


def draw(system, data, draws: list[sampling.Draw], sampler, steps: int) -> tuple[Tensor, Cost]:
    cost, begin, parts = Cost(drawn=len(draws)), time.monotonic(), []
    drawn = partial(sampling.draw, system, data.spec.conditioning, shape=data.spec.shape)
    with counted(cost):
        for first in range(0, len(draws), BATCH):
            parts += drawn(draws[first : first + BATCH], sampler=sampler, guidance=unguided, steps=steps)
    cost.seconds = time.monotonic() - begin
    return torch.cat(parts), cost


def judge(data, images: Tensor, draws: list[sampling.Draw], cache: Path) -> dict[str, list]:
    """Value, low and high of each measure for the samples, and for real images in their place."""
    held_out, training = inputs.real(data, data.val, data.test), inputs.real(data, data.train)
    known = data.spec.contrasts
    sets = Sets(inputs.generated(data, images, draws), held_out, training, known, conditional=True)
    classifier = fit_once(training.pixels, training.contrast, len(known), cache, "Learning contrasts from real images")
    learned = distance("learned", standardised(classifier.features, training), feature_distances, sets)
    found, _ = score([*quick(sets), learned, accuracy(classifier, sets)], sets, None, CUTS)
    return {name: [list(scores.samples), list(scores.floor)] for name, scores in found.items()}


def main(ckpt: str, out: str, each: int = 48) -> None:
    system = checkpoint.load(ckpt).to("cuda" if torch.cuda.is_available() else "cpu")
    data, _ = inputs.prepare(system, ckpt, {})
    draws = sampling.plan(data.spec.contrasts, each, seed=0, shared_noise=False)
    folder, cache = Path(out), Path("~/.cache/condiff/evaluation").expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "samplers.json"
    done = json.loads(path.read_text()) if path.is_file() else {}
    exact = None
    todo = [(name, steps) for name, all_steps in SETTINGS.items() for steps in all_steps if f"{name} {steps}" not in done]
    for name, steps in track(todo, "Sampling"):
        if exact is None:
            exact, _ = draw(system, data, draws, walk("heun"), 200)
        images, cost = draw(system, data, draws, walk(name), steps)
        rmse = (images - exact).square().mean().sqrt().item() if name in ODE else None
        done[f"{name} {steps}"] = {
            "sampler": name, "steps": steps, "evaluations": cost.evaluations / cost.drawn,
            "seconds": cost.seconds / cost.drawn, "rmse": rmse, "scores": judge(data, images, draws, cache),
        }  # fmt: skip
        path.write_text(json.dumps(done, indent=1))
    tell(done)
    plot(done).savefig(folder / "samplers.png", dpi=100)


def tell(done: dict) -> None:
    table = Table("sampler", "steps", "evaluations", "ms/image", "RMSE to the ODE's", *SHOWN.values(), "contrast right")
    reference = done["ddpm 1000"]["scores"]
    floor = {measure: f"{values[1][0]:.2f} ± {(values[1][2] - values[1][1]) / 2:.2f}" for measure, values in reference.items()}
    table.add_row("real images", "", "", "", "", *(floor[measure] for measure in SHOWN), floor["accuracy"])
    for found in sorted(done.values(), key=lambda found: ([*SETTINGS].index(found["sampler"]), found["steps"])):
        cells = []
        for measure in (*SHOWN, "accuracy"):
            value, low, high = found["scores"][measure][0]
            cells.append(f"{value:.2f} ± {(high - low) / 2:.2f}")
        rmse = "" if found["rmse"] is None else f"{found['rmse']:.3f}"
        numbers = f"{found['evaluations']:.0f}", f"{1000 * found['seconds']:.0f}", rmse
        table.add_row(found["sampler"], str(found["steps"]), *numbers, *cells)
    Console(width=150).print(table)


def plot(done: dict) -> plt.Figure:
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), constrained_layout=True)
    for axis, measure in zip(axes, ("random_frechet", "spectrum_decibels"), strict=True):
        for name in SETTINGS:
            mine = [found for found in done.values() if found["sampler"] == name]
            points = sorted((found["evaluations"], *found["scores"][measure][0]) for found in mine)
            x, y, low, high = map(torch.tensor, zip(*points, strict=True))
            (line,) = axis.plot(x, y, "o-", markersize=3, linewidth=1, label=name.replace("sampler.walk.", ""))
            if name in ("dpmpp_sde", "ddpm"):
                axis.fill_between(x, low, high, alpha=0.15, color=line.get_color())
        value, low, high = done["ddpm 1000"]["scores"][measure][1]
        axis.axhline(value, color="black", linestyle="--", linewidth=1, label="real against real")
        axis.set(xscale="log", yscale="log", xlabel="evaluations of the network an image", title=SHOWN[measure])
        axis.set_ylim(bottom=value / 3, top=12 * value)
    axes[0].legend(fontsize=7, ncol=2)
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:4]))
