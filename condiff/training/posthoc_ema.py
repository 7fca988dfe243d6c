"""Post-hoc EMA (Karras et al. 2024): averages of any width and step, reconstructed from stored snapshots."""

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

MAX_SNAPSHOT_DISTANCE = 0.1  # between the requested step and that of a snapshot, as a share of the run
SNAPSHOT_NAME = re.compile(r"step-0*[1-9]\d{0,11}")  # name of a file
MAX_ERROR = 0.1  # of the weights, relative
MAX_FILES = 200
MAX_WIDTHS = 16  # per file
CHECKPOINT_KEYS = {
    "state_dict",
    "hyper_parameters",
    "pytorch-lightning_version",
}  # the other keys of a checkpoint serve to resume


def reconstruct_ema(ckpt: str | Path, std: float, step: int | None = None) -> tuple[dict[str, Any], int, float]:
    """Returns the content of a checkpoint with the EMA of relative width ``std`` at ``step`` (None: the last snapshot).

    Also returns the step, and the relative error of the reconstructed profile (`solve_posthoc_weights`).

    Raises:
        InputError: no snapshots beside the checkpoint, none as early as ``step``, an invalid width, or one that the snapshots
            reproduce with an error above `MAX_ERROR`.
    """
    exponent, checkpoint = gamma(std), Checkpoint.read(ckpt)
    ckpt, content, files = checkpoint.path, checkpoint.content, snapshot_files(checkpoint.path)
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
    if error > MAX_ERROR:
        raise InputError(
            f"std={std:g} step={step}: the stored averages reproduce it with an error of {error:.0%} in the weights, more than "
            f"{MAX_ERROR:.0%}; give a width near a stored one, and one of the steps {', '.join(map(str, files))}"
        )
    sums: dict[str, Tensor] = {}
    min_variances: dict[str, Tensor] = {}
    for t in earlier_steps:  # one file at a time, to save memory
        snapshot = _read_snapshot(files[t])
        file_weights, weights = weights[: len(snapshot["stds"])], weights[len(snapshot["stds"]) :]
        for weight, average in zip(file_weights.tolist(), snapshot["averages"], strict=True):
            _check_same_weights(average, sums or average, content["state_dict"], ckpt)
            sums = {name: sums.get(name, 0.0) + weight * tensor.float() for name, tensor in average.items()}
            variances = {name: tensor for name, tensor in average.items() if name.endswith("running_var")}
            min_variances |= {name: tensor.minimum(min_variances.get(name, tensor)) for name, tensor in variances.items()}
    sums |= {name: sums[name].maximum(tensor.float()) for name, tensor in min_variances.items()}  # weights may be negative
    state = content["state_dict"] | sums | snapshot["buffers"]
    fields = {key: value for key, value in content.items() if key in {*CHECKPOINT_KEYS, checkpoint.data_key}}
    return fields | {"state_dict": state, "global_step": step}, step, error


def earlier_snapshot(ckpt: str | Path, share: float, std: float, trust: Sequence[str] = ()) -> DiffusionModel:
    """Returns the model of a run after a share of its steps, for autoguidance of the final model.

    With a share of 1 it is the model of the checkpoint itself, for example a smaller one.

    Raises:
        InputError: as `reconstruct_ema` does, or an invalid share.
    """
    if not 0 < share <= 1:
        raise InputError(f"guidance.weaker.share={share}: give a share of the run, more than 0, at most 1")
    checkpoint = Checkpoint.read(ckpt, trust)
    if share == 1:
        return checkpoint.model()
    ckpt, total_steps = checkpoint.path, checkpoint.content.get("global_step")
    if not isinstance(total_steps, int):
        raise InputError(f"{ckpt}: does not record its number of steps; give RUN/checkpoints/last.ckpt")
    nearest = min(snapshot_files(ckpt), key=lambda step: abs(step - share * total_steps))
    if abs(nearest - share * total_steps) > MAX_SNAPSHOT_DISTANCE * total_steps:
        raise InputError(
            f"guidance.weaker.share={share}: of the {total_steps} steps of {ckpt} no average was stored near step "
            f"{share * total_steps:.0f}, the nearest is of step {nearest}; give another share"
        )
    return Checkpoint(ckpt, reconstruct_ema(ckpt, std, nearest)[0], tuple(trust)).model()


def snapshot_files(ckpt: str | Path) -> dict[int, Path]:
    """Returns the files of `PostHocEMASnapshots` beside a checkpoint, by step. Raises InputError if there are none."""
    folder = run_folder(ckpt) / "averages"
    files = {int(path.stem[5:]): path for path in sorted(folder.glob("step-*.pt")) if SNAPSHOT_NAME.fullmatch(path.stem)}
    if not files:
        raise InputError(
            f"{folder}: no stored averages; training stores them (callbacks.averages.times). Give a checkpoint in the "
            "folder of a run that has them"
        )
    return files


def _read_snapshot(path: Path) -> dict[str, Any]:
    """Returns the content of a snapshot. Raises InputError if it is damaged or of another kind."""
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
    """Raises InputError unless both averages have names and shapes of the weights of the checkpoint."""
    for name in {**average, **other}:
        shapes = {getattr(weights.get(name), "shape", None) for weights in (average, other, state)}
        if len(shapes) > 1:
            raise InputError(
                f"{ckpt}: its weights {name[:100]} are not those of the averages beside it, which belong to another run"
            )
