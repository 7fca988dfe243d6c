"""Hostile folders of runs: what lies beside a checkpoint, and links and pipes in the place of files."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.faults.attacks.names import COMMAND, RUN
from benchmarks.faults.attacks.table import Aim, Reduced, filled

FolderAttack = Callable[[Path, Aim], None]  # the folder of a good run, to be changed
FOLDERS: dict[str, FolderAttack] = {}
LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)  # fmt: skip
TEXTS = {
    "code": f"!!python/object/apply:os.system ['touch PWN/x']\nmodel: {{_target_: {RUN}, command: touch PWN/x}}\n",
    "laughs": LAUGHS,
    "interpolation": "data: ${oc.env:HOME}\nrun: ${oc.create:{_target_:os.getcwd}}\n",
    "paths": "run: VICTIM/run\ndata: {root: VICTIM, cache: VICTIM/cache}\n",
}


def text(name: str, content: str) -> FolderAttack:
    def attack(run: Path, aim: Aim) -> None:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(filled(content, aim))

    return attack


for label, content in TEXTS.items():
    for name in ("config.yaml", ".hydra/config.yaml", ".hydra/overrides.yaml", "splits.csv"):
        FOLDERS[f"{label}_in_{name}"] = text(name, content)


def link(name: str, target: str) -> FolderAttack:
    """A link in the place of a file or folder."""

    def attack(run: Path, aim: Aim) -> None:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(filled(target, aim))

    return attack


def pipe(name: str) -> FolderAttack:
    def attack(run: Path, aim: Aim) -> None:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return attack


FOLDERS |= {
    "checkpoint_is_endless": link("checkpoints/last.ckpt", "/dev/zero"),
    "checkpoint_is_a_pipe": pipe("checkpoints/last.ckpt"),
    "checkpoint_is_a_text": link("checkpoints/last.ckpt", "VICTIM/thesis.txt"),
    "checkpoint_is_itself": link("checkpoints/last.ckpt", "last.ckpt"),
    "average_is_a_text": link("averages/step-0000001.pt", "VICTIM/thesis.txt"),
    "average_is_a_pipe": pipe("averages/step-0000001.pt"),
    "average_is_endless": link("averages/step-0000001.pt", "/dev/zero"),
    "average_has_a_name": text("averages/step-x.pt", "x"),
    "results_are_elsewhere": link("likelihood", "VICTIM"),
    "reconstructions_are_elsewhere": link("reconstruction", "VICTIM"),
}


def huge(run: Path, aim: Aim) -> None:
    """A checkpoint of a terabyte that takes no space."""
    (run / "checkpoints/last.ckpt").unlink()
    with (run / "checkpoints/last.ckpt").open("wb") as file:
        file.truncate(2**40)


FOLDERS["checkpoint_is_a_terabyte"] = huge
AVERAGES: dict[str, Any] = {
    "code": {"x": Reduced(os.system, ("exit 3",))},
    "nothing": None,
    "empty": {},
    "list": [1],
    "step_far": {"step": 10**400},
    "step_text": {"step": "VICTIM"},
    "step_nan": {"step": float("nan")},
    "stds_none": {"stds": None},
    "stds_zero": {"stds": (0.0, -1.0)},
    "stds_wide": {"stds": (0.5, 0.6)},
    "buffers_nan": {"buffers": {"x": torch.tensor(float("nan"))}},
    "stds_many": {"stds": [0.1] * 10**6},
    "averages_text": {"averages": "x"},
    "averages_huge": {"averages": [{"x": torch.zeros(1).expand(10**6, 10**6)}] * 2},
    "averages_empty": {"averages": []},
    "averages_targets": {"averages": [COMMAND, COMMAND]},
    "buffers_text": {"buffers": "x"},
    "buffers_new": {"buffers": {"x" * 10**6: torch.zeros(1)}},
}


def average(change: object) -> FolderAttack:
    """A change of every stored average, or another object in its place."""

    def attack(run: Path, aim: Aim) -> None:
        for path in run.glob("averages/*.pt"):
            good = torch.load(path, weights_only=True)
            torch.save(good | filled(change, aim) if isinstance(change, dict) and change else change, path)

    return attack


FOLDERS |= {f"average_{label}": average(change) for label, change in AVERAGES.items()}
