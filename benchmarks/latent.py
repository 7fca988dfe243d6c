"""Latent against pixel models: the same images, the same minutes of training, then evaluate.py.

    python -m benchmarks.latent OUT MINUTES [samples=32] data.phantom.matrix=320 data.downsample=2 codec=kl_f4  # train.py's words

The pixel model trains for all of the minutes; of the latent one's, half are its autoencoder's; measuring and encoding the codes,
once, come on top. Each is first tried for a few steps, so that the learning rate falls over the time there is. OUT/latent.json
is whole after every stage, and what it holds is not done again.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import lightning as L
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from rich.table import Table

from condiff.checkpoint import Checkpoint
from condiff.files import pictures

PICTURED = 4  # samples of each contrast
TRIED, SKIPPED = 24, 4  # steps of a trial, and of those the first
SHOWN = ("random_frechet", "learned_frechet", "spectrum_decibels", "patches_wasserstein", "c2st_auroc", "accuracy")
AE = ("model=autoencoder", "data.batch_size=8")


class Clock(L.Callback):
    """Seconds a step, and the most memory, in ``path``."""

    def __init__(self, path: str):
        self.path, self.times = Path(path), list[float]()

    def on_train_batch_end(self, *_: Any) -> None:
        self.times.append(time.monotonic())

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        each = (self.times[-1] - self.times[SKIPPED]) / (len(self.times) - 1 - SKIPPED)
        on_gpu = torch.cuda.is_available()
        memory = torch.cuda.max_memory_allocated() / 1e9 if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        found = {"steps": len(self.times), "seconds_per_step": each, "images_per_second": trainer.datamodule.batch_size / each}
        self.path.write_text(json.dumps(found | {"gigabytes": memory}))


def trained(run: Path, steps: int, *words: str) -> dict[str, float]:
    """What the clock of a run of train.py says, which has so many steps."""
    clock = "+callbacks.clock._target_=benchmarks.latent.Clock", f"+callbacks.clock.path={run}/clock.json"
    length = f"data.steps_per_epoch={steps}", "trainer.max_epochs=1", f"hydra.run.dir={run}"
    subprocess.run([sys.executable, "train.py", *words, *length, *clock], check=True)
    return json.loads((run / "clock.json").read_text())


def stage(run: Path, seconds: float, *words: str) -> dict[str, float]:
    """A run of as many steps as there is time for."""
    if not (run / "done.json").is_file():
        begin = time.monotonic()
        each = trained(run.with_name(f"{run.name}_trial"), TRIED, *words, "callbacks=bare")["seconds_per_step"]
        found = trained(run, max(int(seconds / each), TRIED), *words) | {"minutes": (time.monotonic() - begin) / 60}
        (run / "done.json").write_text(json.dumps(found))
    return json.loads((run / "done.json").read_text())


def judged(run: Path, samples: int) -> dict[str, Any]:
    """What evaluate.py says."""
    out = run / "evaluation"
    if not (out / "evaluation.json").is_file():
        ckpt = f"ckpt={run}/checkpoints/last.ckpt"
        subprocess.run([sys.executable, "evaluate.py", ckpt, f"num_samples={samples}", f"out={out}", "batch_size=8"], check=True)
    return json.loads((out / "evaluation.json").read_text())


def main(out: str, minutes: str, *words: str) -> None:
    folder, seconds, found = Path(out).resolve(), 60 * float(minutes), dict[str, Any]()
    samples = next((int(word.split("=")[1]) for word in words if word.startswith("samples=")), 32)
    words = tuple(word for word in words if not word.startswith("samples="))
    codec = [word for word in words if word.startswith("codec")]
    plain = [word for word in words if word not in codec]
    first = folder / "autoencoder"
    for name, run, share, more in (
        ("pixels", folder / "pixels", 1.0, plain),
        ("autoencoder", first, 0.5, [*AE, *words]),
        ("latent", folder / "latent", 0.5, ["model=latent", *words, f"model.autoencoder={first}/checkpoints/last.ckpt"]),
    ):
        found[name] = stage(run, share * seconds, *more)
        if name != "autoencoder":
            about = judged(run, samples)
            found[name] |= about["cost"] | {"scores": about["scores"]["pooled"]}
            model = Checkpoint.read(run / "checkpoints/last.ckpt").model()
            found[name]["parameters"] = sum(p.numel() for p in model.denoiser.net.parameters())
        (folder / "latent.json").write_text(json.dumps(found, indent=1))
    tell(found)
    picture({name: folder / name for name in ("pixels", "latent")}).save(folder / "latent.png")


def picture(runs: dict[str, Path]) -> Image.Image:
    """The first samples of each contrast, at half of their size."""
    blocks = {}
    for name, run in runs.items():
        spec = Checkpoint.read(run / "checkpoints/last.ckpt").spec()
        with h5py.File(next((run / "evaluation").glob("samples-*.h5"))) as file:
            images, contrasts = torch.from_numpy(file["images"][()]), file["contrast"].asstr()[()]
        halves = F.avg_pool2d(spec.transform.magnitude(images)[:, None], 2)[:, 0]
        blocks[name] = {contrast: halves[contrasts == contrast][:PICTURED] for contrast in spec.contrasts}
    return pictures.grid(blocks)


def tell(found: dict[str, Any]) -> None:
    table = Table("", *found)
    for key in ("minutes", "steps", "images_per_second", "gigabytes", "parameters", "evaluations_per_image", "seconds_per_image"):
        table.add_row(key, *(f"{one[key]:.4g}" if key in one else "" for one in found.values()))
    for key in SHOWN:
        values = [one["scores"].get(key) if "scores" in one else None for one in found.values()]
        table.add_row(key, *("" if not v else f"{v['samples']['value']:.3g} (real {v['floor']['value']:.3g})" for v in values))
    Console(width=130).print(table)


if __name__ == "__main__":
    main(*sys.argv[1:])
