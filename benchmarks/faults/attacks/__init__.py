"""Hostile checkpoints: ``ATTACKS`` maps a name to a function (content of a good checkpoint, `Aim`) -> content, or a whole file.

Importing this touches nothing. The first word of a name is its family: foreign, harmful, wrong, spelling, directive and
interpolation are names of code; shadowed, overrides, value, key, content and shared are containers; number, shape, call and
weights are work without an end; words and path are what a run was made with; deletes, garbage, absent, leaves and what follows
are states; file, archive and stream are the file itself.
"""

import copy
import os
from pathlib import Path

import torch

from benchmarks.faults.attacks import archives, containers, names, states, weights, words, work
from benchmarks.faults.attacks.names import RUN
from benchmarks.faults.attacks.table import Aim, Attack, Content

ATTACKS: dict[str, Attack] = {}
for module in (names, containers, work, weights, words, states, archives):
    ATTACKS |= module.ATTACKS


def write(name: str, content: Content, aim: Aim, path: Path) -> Path:
    """Write the hostile checkpoint of that name, made from a copy of a good one's content."""
    made = ATTACKS[name](copy.deepcopy(content), aim)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # a new file is written sooner than an old one is overwritten
    if isinstance(made, bytes):
        path.write_bytes(made)
    else:
        torch.save(made, path)
    return path


def arrange(aim: Aim) -> None:
    """Make both folders: one with a hostile configuration and module, and a home with files that would be missed."""
    for folder, name, text in (
        (aim.pwn, "evil.yaml", f"# @package _global_\ncallbacks: {{x: {{_target_: {RUN}, command: touch {aim.pwn}/x}}}}\n"),
        (aim.pwn, "evil.py", f"import os\nos.system('touch {aim.pwn}/x')\n"),
        (aim.victim, "photos/a/1.jpg", "x" * 100),
        (aim.victim, "other_run/step-0000100.pt", "average"),
        (aim.victim, "thesis.txt", "years of work"),
        (aim.victim, "bashrc", "alias ll='ls -l'\n"),
        (aim.victim, "metrics.csv", "loss\n"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    if not (aim.victim / "fifo").exists():
        os.mkfifo(aim.victim / "fifo")


def snapshot(aim: Aim) -> dict[str, str]:
    """What both folders hold; after an attack it should be as before."""
    found = {}
    for folder in aim:
        for path in sorted(folder.rglob("*")):
            found[f"{folder.name}/{path.relative_to(folder)}"] = path.read_bytes().hex() if path.is_file() else "folder"
    return found
