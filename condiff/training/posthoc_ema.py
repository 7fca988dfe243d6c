"""Averages of a run's weights, of any length and as of any step, made of those it stored."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from condiff.checkpoint import Checkpoint, run_folder
from condiff.diffusion.model import DiffusionModel
from condiff.errors import InputError
from condiff.files import torch_archive
from condiff.renamed import upgraded_weights
from condiff.training.ema import WIDEST, gamma, weights

NEAR = 0.1  # of a run: how far from the step asked for an average may have been stored
STEP = re.compile(r"step-0*[1-9]\d{0,11}")  # a file's name
FILES = 200  # of averages
WIDTHS = 16  # of averages in a file
NEEDED = {"state_dict", "hyper_parameters", "pytorch-lightning_version"}  # of a checkpoint; the rest is for going on


def averaged(ckpt: str | Path, std: float, step: int | None = None) -> tuple[dict[str, Any], int, float]:
    """A checkpoint's content with the weights averaged over a relative width ``std`` of the first ``step`` steps.

    Returns it with the step, and with what the stored averages could not make of that average, a share of it.

    Raises:
        InputError: no stored averages beside the checkpoint, or none as early as ``step``; a width out of reach.
    """
    wanted = gamma(std)
    content, steps = Checkpoint.read(ckpt).content, stored(ckpt)
    step = max(steps) if step is None else step
    before = [at for at in steps if at <= step]
    if not before:
        raise InputError(f"step={step}: no average was stored so early; there are those of steps {', '.join(map(str, steps))}")
    if len(before) > FILES:
        raise InputError(f"{ckpt}: {len(before)} files of averages lie beside it, at most {FILES} are mixed; delete some")
    profiles = [(at, gamma(width)) for at in before for width in _average(steps[at])["stds"]]
    shares, left = weights(profiles, (step, wanted))
    sums: dict[str, Tensor] = {}
    least: dict[str, Tensor] = {}
    for at in before:  # one file at a time: together they are many times the model
        file = _average(steps[at])
        own, shares = shares[: len(file["stds"])], shares[len(file["stds"]) :]
        for share, average in zip(own.tolist(), file["averages"], strict=True):
            _demand_same(average, sums or average, content["state_dict"], ckpt)
            sums = {name: sums.get(name, 0.0) + share * weight.float() for name, weight in average.items()}
            least |= {
                name: weight.minimum(least.get(name, weight)) for name, weight in average.items() if name.endswith("running_var")
            }
    sums |= {name: sums[name].maximum(weight.float()) for name, weight in least.items()}  # shares may be negative, variances not
    state = content["state_dict"] | sums | file["buffers"]
    kept = {key: value for key, value in content.items() if key in NEEDED or key.endswith("DataModule")}
    return kept | {"state_dict": state, "global_step": step}, step, left


def earlier(ckpt: str | Path, share: float, std: float, trust: Sequence[str] = ()) -> DiffusionModel:
    """The run's own model as it was after a share of its steps, to guide the finished one by.

    With a share of 1 it is the checkpoint as it stands, say a smaller model's.

    Raises:
        InputError: as `averaged` does, or a share that is none.
    """
    if not 0 < share <= 1:
        raise InputError(f"guidance.weaker.share={share}: give a share of the run, more than 0, at most 1")
    if share == 1:
        return Checkpoint.read(ckpt, trust).model()
    finished = Checkpoint.read(ckpt).content.get("global_step")
    if not isinstance(finished, int):
        raise InputError(f"{ckpt}: does not say after how many steps it was made; give RUN/checkpoints/last.ckpt")
    near = min(stored(ckpt), key=lambda step: abs(step - share * finished))
    if abs(near - share * finished) > NEAR * finished:
        raise InputError(
            f"guidance.weaker.share={share}: of the {finished} steps of {ckpt} no average was stored near step "
            f"{share * finished:.0f}, the nearest is of step {near}; give another share"
        )
    return Checkpoint(Path(ckpt), averaged(ckpt, std, near)[0], tuple(trust)).model()


def stored(ckpt: str | Path) -> dict[int, Path]:
    """The files that `StoredAverages` left beside a checkpoint, by step. Raises InputError for none."""
    folder = run_folder(ckpt) / "averages"
    files = {int(path.stem[5:]): path for path in sorted(folder.glob("step-*.pt")) if STEP.fullmatch(path.stem)}
    if not files:
        raise InputError(
            f"{folder}: no stored averages; they are made while training (callbacks.averages.times), give a checkpoint "
            "in the folder of a run that has them"
        )
    return files


def _average(path: Path) -> dict[str, Any]:
    """The content of such a file. Raises InputError where it is damaged or of another kind."""
    content = torch_archive.read(path)
    kinds: dict[str, Any] = {"stds": (list, tuple), "averages": list, "buffers": dict}
    whole = isinstance(content, dict) and all(isinstance(content.get(key), kind) for key, kind in kinds.items())
    states = [*content["averages"], content["buffers"]] if whole else [None]
    widths = [std for std in content["stds"] if isinstance(std, float)] if whole else []
    if not all(isinstance(one, dict) and all(isinstance(w, Tensor) for w in one.values()) for one in states) or not widths:
        raise InputError(f"{path}: holds no averages of weights; delete it")
    finite = all(weight.isfinite().all() for one in states for weight in (one or {}).values())
    if not finite or not all(0 < std < WIDEST for std in widths):
        raise InputError(f"{path}: its averages are not finite, or of an impossible width; delete it")
    if len(widths) > WIDTHS or not len(widths) == len(content["stds"]) == len(content["averages"]):
        raise InputError(f"{path}: holds {len(content['averages'])} averages of {len(content['stds'])} widths; delete it")
    averages = [upgraded_weights(average) for average in content["averages"]]
    return content | {"averages": averages, "buffers": upgraded_weights(content["buffers"])}


def _demand_same(average: dict[str, Tensor], other: dict[str, Tensor], state: dict[str, Tensor], ckpt: str | Path) -> None:
    """Raise InputError unless both averages are of the same of the checkpoint's weights."""
    for name in {**average, **other}:
        shapes = {getattr(one.get(name), "shape", None) for one in (average, other, state)}
        if len(shapes) > 1:
            raise InputError(f"{ckpt}: its weights {name[:100]} are not those of the averages beside it; they are another run's")
