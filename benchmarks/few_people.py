"""Real brains of few people: from scratch, or from a model of the phantom?

    python -m benchmarks.few_people DIR OUT        # four hours on one core; DIR: a BIDS tree with T1w, ceT1w, T2w and FLAIR

Trains experiment=real_brain on all people, on 10 and on 3, and a model of FLAIR alone, each from scratch and from a phantom;
that of FLAIR from a phantom that has none. Each is judged on its held-out people by evaluate.py. What OUT holds is not done
again. Prints a table; OUT/few_people.png shows generated images alone.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from condiff.checkpoint import Checkpoint
from condiff.files.hdf5 import opened
from condiff.files.pictures import grid

ROOT = Path(__file__).parents[1]
PHANTOM = [
    "data=phantom",
    "data.downsample=1",
    "data.select.merge=null",
    "data.volumes_per_contrast=26",
    "data.held_out_per_contrast=3",
]
SHORT = ["trainer.max_epochs=2", "data.steps_per_epoch=200"]
BOTH, FLAIR = "data.contrasts=[AXT1,AXFLAIR]", "data.contrasts=[AXFLAIR]"
FIRST = {
    "phantom": [*PHANTOM, "trainer.max_epochs=3"],
    "phantom3": [*PHANTOM, "trainer.max_epochs=2", "data.contrasts=[AXT1,AXT1POST,AXT2]"],
}
RUNS = {  # name -> what it begins as, options
    "all": ("phantom", []),
    "p10": ("phantom", [BOTH, "data.volumes_per_contrast=10", *SHORT]),
    "p3": ("phantom", [BOTH, "data.volumes_per_contrast=3", *SHORT]),
    "n10": ("phantom3", [FLAIR, "data.volumes_per_contrast=10", *SHORT]),
    "n3": ("phantom3", [FLAIR, "data.volumes_per_contrast=3", *SHORT]),
}
TITLES = {
    "all": "all people, four contrasts", "p10": "10 people, T1 and FLAIR", "p3": "3 people, T1 and FLAIR",
    "n10": "10 people, FLAIR alone", "n3": "3 people, FLAIR alone",
}  # fmt: skip
LABELS = {"all": "all people", "p10": "10 people", "p3": "3 people", "n10": "FLAIR, 10", "n3": "FLAIR, 3"}
STARTS = {"scratch": [], "init": ["model.optimizer.lr=0.006"]}
SHOWN = {"random_frechet": 1, "layout_wasserstein": 2, "spectrum_decibels": 2, "patches_wasserstein": 3, "ms_ssim": 2}


def call(script: str, *words: str) -> None:
    subprocess.run([sys.executable, str(ROOT / script), *words], check=True)


def run(out: Path, name: str, words: list[str]) -> Path:
    """The folder of a finished run; trained if it is not there."""
    folder = out / name
    if not (folder / "samples/samples.png").is_file():  # written last
        call("train.py", "experiment=real_brain", "trainer.precision=32-true", *words, f"hydra.run.dir={folder}")
    return folder


def judged(folder: Path) -> dict:
    """The content of a run's evaluation.json; evaluated if it is not there."""
    if not (folder / "judged/evaluation.json").is_file():
        call("evaluate.py", f"ckpt={folder}", "num_samples=24", "metrics=quick", f"out={folder}/judged")
    return json.loads((folder / "judged/evaluation.json").read_text())


def rows(name: str, start: str, numbers: dict, folder: Path) -> list[list[str]]:
    """A row of the table for each contrast, and one for all together."""
    with open(folder / "metrics_validation.csv", newline="") as file:
        *_, last = csv.DictReader(file)
    found = []
    for row, scores in numbers["scores"].items():
        cells = []
        for key, digits in SHOWN.items():
            values = [(scores.get(key, {}).get(of) or {}).get("value") for of in ("samples", "floor")]
            cells.append("–" if None in values else f"{values[0]:.{digits}f} ({values[1]:.{digits}f})")
        flagged = sum(one["contrast"] == row or row == "pooled" for one in numbers["named"])
        found.append(
            [
                TITLES[name],
                start,
                row,
                *cells,
                str(flagged),
                f"{float(last['val/loss']):.4f}" if row == [*numbers["scores"]][-1] else "",
            ]
        )
    return found


def drawn(folder: Path, count: int = 3) -> dict[str, torch.Tensor]:
    """Some magnitudes [N, H, W] of each contrast that an evaluation drew."""
    (path,) = (folder / "judged").glob("samples-*.h5")
    with opened(path) as file:
        values, names = torch.from_numpy(file["images"][()]), [name.decode() for name in file["contrast"][()]]
    magnitude = Checkpoint.read(folder).spec().transform.magnitude(values)
    return {kind: magnitude[[index for index, name in enumerate(names) if name == kind][:count]] for kind in {*names}}


def main(root: str, target: str) -> None:
    out = Path(target).resolve()
    real = [f"data.root={Path(root).resolve()}", "data.site=source"]
    table = Table("people", "begins as", "images", *SHOWN, "flagged", "val/loss")
    for name, words in FIRST.items():
        run(out, name, words)
    pictures: dict[str, dict[str, torch.Tensor]] = {}
    for name, (first, words) in RUNS.items():
        for start, rate in STARTS.items():
            begin = [f"init={out / first}"] if start == "init" else []
            folder = run(out, f"{name}.{start}", [*real, *words, *begin, *rate])
            numbers = judged(folder)
            for row in rows(name, start, numbers, folder):
                table.add_row(*row)
            for kind, images in drawn(folder).items():
                pictures.setdefault(f"generated {kind}, {start}", {})[LABELS[name]] = images
    Console(width=200).print(table)
    order = sorted(pictures, key=lambda title: (-len(pictures[title]), title))  # FLAIR, which all have, names the rows
    grid({title: pictures[title] for title in order[:4]}).save(out / "few_people.png")


if __name__ == "__main__":
    main(*sys.argv[1:3])
