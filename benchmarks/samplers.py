"""Quality against evaluations of the network, for every sampler, on one checkpoint.

    python -m benchmarks.samplers CKPT OUT [samples a contrast]

Unguided, so that a step costs what its sampler says. Samples of all contrasts are compared with patients nobody
trained on, as evaluate.py does it; of the ODE's solvers also with its solution, Heun's in 200 steps from the same
noise. OUT/samplers.json is whole after every setting, and what it holds is not done again. OUT/samplers.png is the plot.
"""

import json
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from hydra.utils import instantiate
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from condiff.checkpoint import Checkpoint
from condiff.configuration import compose
from condiff.data.datamodule import MRIDataModule
from condiff.data.image_spec import ImageSpec
from condiff.diffusion.guidance import identity
from condiff.diffusion.model import DiffusionModel
from condiff.diffusion.samplers import Sampler
from condiff.evaluation import inputs
from condiff.evaluation.distances import feature_distances
from condiff.evaluation.evaluate import NUM_SPLITS, score_contrast, training_free_metrics
from condiff.evaluation.features import train_classifier_cached
from condiff.evaluation.metrics import contrast_accuracy, distance_metric, standardized_features
from condiff.evaluation.sets import ImageSets
from condiff.sampling import SampleRequest, Sampling, make_requests, sample
from condiff.sampling.cost import SamplingCost

SETTINGS = {  # sampler and its options -> steps
    "ddpm": (20, 50, 200, 1000),
    "ddpm_beta": (50, 200),
    "ddim": (5, 10, 20, 50),
    "dpmpp": (5, 8, 10, 15, 20, 40),
    "dpmpp_sde": (5, 8, 10, 15, 20, 50),
    "unipc": (5, 8, 10, 15, 20, 40),
    "heun": (3, 5, 10, 20),
    "heun sampler.fn.churn=10": (20,),
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


def sampler(setting: str) -> Sampler:
    """The sampler that conf/ makes of, say, ``heun sampler.fn.churn=10``."""
    name, *options = setting.split()
    return instantiate(compose("sample", [f"sampler={name}", "out=x", *options]).sampler.fn)


def draw(
    model: DiffusionModel, spec: ImageSpec, requests: list[SampleRequest], sampler: Sampler, steps: int
) -> tuple[Tensor, SamplingCost]:
    """Images [N, C, H, W], and what they cost."""
    cost, begin = SamplingCost(num_images=len(requests)), time.monotonic()
    images = torch.cat(sample(model, spec, requests, Sampling(sampler, identity, steps, BATCH).counting(cost)))
    cost.seconds = time.monotonic() - begin
    return images, cost


def judge(data: MRIDataModule, images: Tensor, requests: list[SampleRequest], cache: Path) -> dict[str, list]:
    """Value, low and high of each measure for the samples, and for real images in their place."""
    held_out, training = (inputs.real_images(data.spec, *parts) for parts in ((data.val, data.test), (data.train,)))
    known = data.spec.contrasts
    sets = ImageSets(inputs.generated_images(data.spec, images, requests), held_out, training, known, conditional=True)
    classifier = train_classifier_cached(
        training.pixels, training.contrast, len(known), cache, "Learning contrasts from real images"
    )
    learned = distance_metric("learned", standardized_features(classifier.features, training), feature_distances, sets)
    found, _ = score_contrast(
        [*training_free_metrics(sets), learned, contrast_accuracy(classifier, sets)], sets, None, NUM_SPLITS
    )
    return {name: [list(scores.samples), list(scores.floor)] for name, scores in found.items()}


def main(ckpt: str, out: str, each: int = 48) -> None:
    checkpoint = Checkpoint.read(ckpt)
    model, data = checkpoint.model().to("cuda" if torch.cuda.is_available() else "cpu"), checkpoint.data()
    data.prepare_data()
    data.setup()
    requests = make_requests(data.spec.contrasts, each, seed=0)
    folder, cache = Path(out), Path("~/.cache/condiff/evaluation").expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "samplers.json"
    done = json.loads(path.read_text()) if path.is_file() else {}
    exact = None
    todo = [(name, steps) for name, all_steps in SETTINGS.items() for steps in all_steps if f"{name} {steps}" not in done]
    for name, steps in track(todo, "Sampling"):
        if exact is None:
            exact, _ = draw(model, data.spec, requests, sampler("heun"), 200)
        images, cost = draw(model, data.spec, requests, sampler(name), steps)
        rmse = (images - exact).square().mean().sqrt().item() if name in ODE else None
        done[f"{name} {steps}"] = {
            "sampler": name, "steps": steps, "evaluations": cost.evaluations / cost.num_images,
            "seconds": cost.seconds / cost.num_images, "rmse": rmse, "scores": judge(data, images, requests, cache),
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
            (line,) = axis.plot(x, y, "o-", markersize=3, linewidth=1, label=name.replace("sampler.fn.", ""))
            if name in ("dpmpp_sde", "ddpm"):
                axis.fill_between(x, low, high, alpha=0.15, color=line.get_color())
        value, low, high = done["ddpm 1000"]["scores"][measure][1]
        axis.axhline(value, color="black", linestyle="--", linewidth=1, label="real against real")
        axis.set(xscale="log", yscale="log", xlabel="evaluations of the network an image", title=SHOWN[measure])
        axis.set_ylim(bottom=value / 3, top=12 * value)
    axes[0].legend(fontsize=7, ncol=2)
    return figure


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:4]))
