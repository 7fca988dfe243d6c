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
from condiff.training.ema import MAX_STD, gamma, solve_posthoc_weights

MAX_SNAPSHOT_DISTANCE = 0.1  # of a run: how far from the step asked for an average may have been stored
SNAPSHOT_NAME = re.compile(r"step-0*[1-9]\d{0,11}")  # a file's name
MAX_FILES = 200  # of averages
MAX_WIDTHS = 16  # of averages in a file
CHECKPOINT_KEYS = {"state_dict", "hyper_parameters", "pytorch-lightning_version"}  # of a checkpoint; the rest is for going on


def reconstruct_ema(ckpt: str | Path, std: float, step: int | None = None) -> tuple[dict[str, Any], int, float]:
    """A checkpoint's content with the weights averaged over a relative width ``std`` of the first ``step`` steps.

    Returns it with the step, and with what the stored averages could not make of that average, a share of it.

    Raises:
        InputError: no stored averages beside the checkpoint, or none as early as ``step``; a width out of reach.
    """
    exponent = gamma(std)
    content, files = Checkpoint.read(ckpt).content, snapshot_files(ckpt)
    step = max(files) if step is None else step
    earlier_steps = [t for t in files if t <= step]
    if not earlier_steps:
        raise InputError(f"step={step}: no average was stored so early; there are those of steps {', '.join(map(str, files))}")
    if len(earlier_steps) > MAX_FILES:
        raise InputError(
            f"{ckpt}: {len(earlier_steps)} files of averages lie beside it, at most {MAX_FILES} are mixed; delete some"
        )
    profiles = [(t, gamma(width)) for t in earlier_steps for width in _read_snapshot(files[t])["stds"]]
    weights, error = solve_posthoc_weights(profiles, (step, exponent))
    sums: dict[str, Tensor] = {}
    min_variances: dict[str, Tensor] = {}
    for t in earlier_steps:  # one file at a time: together they are many times the model
        snapshot = _read_snapshot(files[t])
        file_weights, weights = weights[: len(snapshot["stds"])], weights[len(snapshot["stds"]) :]
        for weight, average in zip(file_weights.tolist(), snapshot["averages"], strict=True):
            _check_same_weights(average, sums or average, content["state_dict"], ckpt)
            sums = {name: sums.get(name, 0.0) + weight * tensor.float() for name, tensor in average.items()}
            variances = {name: tensor for name, tensor in average.items() if name.endswith("running_var")}
            min_variances |= {name: tensor.minimum(min_variances.get(name, tensor)) for name, tensor in variances.items()}
    sums |= {name: sums[name].maximum(tensor.float()) for name, tensor in min_variances.items()}  # weights may be negative
    state = content["state_dict"] | sums | snapshot["buffers"]
    fields = {key: value for key, value in content.items() if key in CHECKPOINT_KEYS or key.endswith("DataModule")}
    return fields | {"state_dict": state, "global_step": step}, step, error


def earlier_snapshot(ckpt: str | Path, share: float, std: float, trust: Sequence[str] = ()) -> DiffusionModel:
    """The run's own model as it was after a share of its steps, to guide the finished one by.

    With a share of 1 it is the checkpoint as it stands, say a smaller model's.

    Raises:
        InputError: as `averaged` does, or a share that is none.
    """
    if not 0 < share <= 1:
        raise InputError(f"guidance.weaker.share={share}: give a share of the run, more than 0, at most 1")
    if share == 1:
        return Checkpoint.read(ckpt, trust).model()
    total_steps = Checkpoint.read(ckpt).content.get("global_step")
    if not isinstance(total_steps, int):
        raise InputError(f"{ckpt}: does not say after how many steps it was made; give RUN/checkpoints/last.ckpt")
    nearest = min(snapshot_files(ckpt), key=lambda step: abs(step - share * total_steps))
    if abs(nearest - share * total_steps) > MAX_SNAPSHOT_DISTANCE * total_steps:
        raise InputError(
            f"guidance.weaker.share={share}: of the {total_steps} steps of {ckpt} no average was stored near step "
            f"{share * total_steps:.0f}, the nearest is of step {nearest}; give another share"
        )
    return Checkpoint(Path(ckpt), reconstruct_ema(ckpt, std, nearest)[0], tuple(trust)).model()


def snapshot_files(ckpt: str | Path) -> dict[int, Path]:
    """The files that `PostHocEMASnapshots` left beside a checkpoint, by step. Raises InputError for none."""
    folder = run_folder(ckpt) / "averages"
    files = {int(path.stem[5:]): path for path in sorted(folder.glob("step-*.pt")) if SNAPSHOT_NAME.fullmatch(path.stem)}
    if not files:
        raise InputError(
            f"{folder}: no stored averages; they are made while training (callbacks.averages.times), give a checkpoint "
            "in the folder of a run that has them"
        )
    return files


def _read_snapshot(path: Path) -> dict[str, Any]:
    """The content of such a file. Raises InputError where it is damaged or of another kind."""
    content = torch_archive.read(path)
    types: dict[str, Any] = {"stds": (list, tuple), "averages": list, "buffers": dict}
    is_complete = isinstance(content, dict) and all(isinstance(content.get(key), type_) for key, type_ in types.items())
    states = [*content["averages"], content["buffers"]] if is_complete else [None]
    widths = [std for std in content["stds"] if isinstance(std, float)] if is_complete else []
    if not all(isinstance(state, dict) and all(isinstance(w, Tensor) for w in state.values()) for state in states) or not widths:
        raise InputError(f"{path}: holds no averages of weights; delete it")
    finite = all(weight.isfinite().all() for state in states for weight in (state or {}).values())
    if not finite or not all(0 < std < MAX_STD for std in widths):
        raise InputError(f"{path}: its averages are not finite, or of an impossible width; delete it")
    if len(widths) > MAX_WIDTHS or not len(widths) == len(content["stds"]) == len(content["averages"]):
        raise InputError(f"{path}: holds {len(content['averages'])} averages of {len(content['stds'])} widths; delete it")
    averages = [upgraded_weights(average) for average in content["averages"]]
    return content | {"averages": averages, "buffers": upgraded_weights(content["buffers"])}


def _check_same_weights(average: dict[str, Tensor], other: dict[str, Tensor], state: dict[str, Tensor], ckpt: str | Path) -> None:
    """Raise InputError unless both averages are of the same of the checkpoint's weights."""
    for name in {**average, **other}:
        shapes = {getattr(weights.get(name), "shape", None) for weights in (average, other, state)}
        if len(shapes) > 1:
            raise InputError(f"{ckpt}: its weights {name[:100]} are not those of the averages beside it; they are another run's")
