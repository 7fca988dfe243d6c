"""Averages of a run's weights, of any length and as of any step, made of those it stored."""

import pickle
from pathlib import Path
from typing import Any

import torch

from condiff import checkpoint
from condiff.averaging import gamma, weights
from condiff.errors import InputError
from condiff.systems import DiffusionSystem

NEAR = 0.1  # of a run: how far from the step asked for an average may have been stored
NEEDED = {"state_dict", "hyper_parameters", "pytorch-lightning_version"}  # of a checkpoint; the rest is for going on


def averaged(ckpt: str | Path, std: float, step: int | None = None) -> tuple[dict[str, Any], int, float]:
    """A checkpoint's content with the weights averaged over a relative width ``std`` of the first ``step`` steps.

    Returns it with the step, and with what the stored averages could not make of that average, a share of it.

    Raises:
        InputError: no stored averages beside the checkpoint, or none as early as ``step``; a width out of reach.
    """
    wanted = gamma(std)
    content, found = checkpoint.read(ckpt), stored(ckpt)
    step = max(file["step"] for file in found) if step is None else step
    before = [file for file in found if file["step"] <= step]
    if not before:
        steps = ", ".join(str(file["step"]) for file in found)
        raise InputError(f"step={step}: no average was stored so early; there are those of steps {steps}")
    parts = [
        (file["step"], gamma(width), state)
        for file in before
        for width, state in zip(file["stds"], file["averages"], strict=True)
    ]
    shares, left = weights([(at, exponent) for at, exponent, _ in parts], (step, wanted))
    state = dict(content["state_dict"])
    for name in parts[0][2]:
        if name not in state or any(name not in other for *_, other in parts):
            raise InputError(f"{ckpt}: has no weights {name}, the averages beside it do; they are another run's")
        state[name] = sum(float(share) * other[name].float() for share, (*_, other) in zip(shares, parts, strict=True))
        if name.endswith("running_var"):  # shares may be negative, variances may not
            state[name] = state[name].maximum(torch.stack([other[name].float() for *_, other in parts]).amin(dim=0))
    state |= before[-1]["buffers"]
    kept = {key: value for key, value in content.items() if key in NEEDED or key.endswith("DataModule")}
    return kept | {"state_dict": state, "global_step": step}, step, left


def earlier(ckpt: str | Path, share: float, std: float) -> DiffusionSystem:
    """The run's own model as it was after a share of its steps, to guide the finished one by.

    With a share of 1 it is the checkpoint as it stands, say a smaller model's.

    Raises:
        InputError: as `averaged` does, or a share that is none.
    """
    if not 0 < share <= 1:
        raise InputError(f"guidance.weaker.share={share}: give a share of the run, more than 0, at most 1")
    if share == 1:
        return checkpoint.load(ckpt)
    finished = checkpoint.read(ckpt)["global_step"]
    near = min((file["step"] for file in stored(ckpt)), key=lambda step: abs(step - share * finished))
    if abs(near - share * finished) > NEAR * finished:
        raise InputError(
            f"guidance.weaker.share={share}: of the {finished} steps of {ckpt} no average was stored near step "
            f"{share * finished:.0f}, the nearest is of step {near}; give another share"
        )
    return checkpoint.assemble(averaged(ckpt, std, near)[0], ckpt)


def stored(ckpt: str | Path) -> list[dict[str, Any]]:
    """What `condiff.callbacks.StoredAverages` left beside a checkpoint, in order. Raises InputError where that is nothing."""
    folder = checkpoint.run_of(ckpt) / "averages"
    files = sorted(folder.glob("step-*.pt"))
    if not files:
        raise InputError(
            f"{folder}: no stored averages; they are made while training (callbacks.averages.times), give a checkpoint "
            "in the folder of a run that has them"
        )
    try:
        return [torch.load(path, map_location="cpu", weights_only=True, mmap=True) for path in files]
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise InputError(f"{folder}: holds a file that cannot be read ({error}); delete it") from None
