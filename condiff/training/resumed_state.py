"""Validation of the training state in a checkpoint that a resumed run restores: counts, averages, optimizer, scheduler."""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from condiff.checkpoint import Checkpoint
from condiff.errors import InputError
from condiff.renamed import CALLBACKS

STATE_TYPES = {  # of the keys of Lightning's checkpoints
    "epoch": int, "global_step": int, "pytorch-lightning_version": str, "state_dict": dict, "loops": dict, "callbacks": dict,
    "optimizer_states": list, "lr_schedulers": list, "hyper_parameters": dict, "current_model_state": dict,
    "averaging_state": dict, "MixedPrecision": dict,
}  # fmt: skip
CALLBACK_STATE_TYPES: Mapping[str, Mapping[str, type]] = {
    "EMA": {"latest_update_step": int},
    "PostHocEMASnapshots": {"count": int, "averages": list},
    "Throughput": {"seconds": float},
    "Checkpoints": {"best_model_score": Tensor},
}
SCHEDULER_STATE_TYPES = {
    "base_lrs": list, "last_epoch": int, "_step_count": int, "_last_lr": list, "_initial_step": int, "_is_initial": bool,
}  # fmt: skip
PROGRESS_KEYS = {"ready", "started", "processed", "completed"}  # of a loop
VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){1,3}((\.?(dev|post)|a|b|rc)\d{0,10})?")


def epochs_done(content: Mapping[str, Any]) -> int:
    """Returns the number of epochs that the run of a checkpoint has finished."""
    loops = content.get("loops", {}).get("fit_loop", {})
    epochs = loops.get("epoch_progress", {}).get("current", {"started": 0, "processed": content["epoch"] + 1})
    trained = loops.get("epoch_loop.batch_progress", {}).get("is_last_batch", False) and epochs["started"] > epochs["processed"]
    return int(epochs["processed"]) + trained


def read_state(checkpoint: Checkpoint) -> dict[str, Any]:
    """Returns the content of a checkpoint as Lightning restores it, without the paths of `ModelCheckpoint`.

    Raises:
        InputError: a state of an unexpected type.
    """
    content, path = checkpoint.content, checkpoint.path
    state = {key: content[key] for key in (*STATE_TYPES, checkpoint.data_key) if content.get(key) is not None}
    for key in ("epoch", "global_step", "loops", "callbacks", "optimizer_states", "lr_schedulers", "pytorch-lightning_version"):
        if key not in state:
            raise InputError(
                f"{path}: has no {key}, so it cannot be resumed; give RUN/checkpoints/last.ckpt, or start a new run, init="
            )
    for key, value in state.items():
        if type(value) is not STATE_TYPES.get(key, dict):
            raise InputError(f"{path}: its {key} is a {type(value).__name__}; was it edited?")
    if not VERSION.fullmatch(state["pytorch-lightning_version"]) or state["epoch"] < 0 or state["global_step"] < 0:
        raise InputError(f"{path}: its epoch, global_step or pytorch-lightning_version is impossible; was it edited?")
    counts_of_averages = [
        state.get("averaging_state", {}).get("n_averaged"),
        *(value.get("latest_update_step") for value in state["callbacks"].values() if isinstance(value, dict)),
    ]
    if not all(count is None or 0 <= _number(count) <= state["global_step"] for count in counts_of_averages):
        raise InputError(f"{path}: its averages count more steps than the training; was it edited?")
    callbacks = {CALLBACKS.get(str(key), key): value for key, value in state["callbacks"].items()}
    states = {key: (value, CALLBACK_STATE_TYPES.get(str(key).partition("{")[0])) for key, value in callbacks.items()}
    state["callbacks"] = {
        key: {name: value[name] for name in kinds} for key, (value, kinds) in states.items() if kinds and _has_types(value, kinds)
    }
    for key in ("optimizer_states", "lr_schedulers"):
        if not all(isinstance(entry, dict) for entry in state[key]) or not _all_numbers(state[key]):
            raise InputError(f"{path}: its {key} hold more than numbers; was it edited?")
    state["lr_schedulers"] = [
        {name: entry[name] for name, kind in SCHEDULER_STATE_TYPES.items() if type(entry.get(name)) is kind}
        | {"lr_lambdas": [None] * len(entry.get("base_lrs") or ())}
        for entry in state["lr_schedulers"]
    ]
    fit = state["loops"].get("fit_loop")
    progress = [fit.get(key) for key in ("epoch_progress", "epoch_loop.batch_progress")] if isinstance(fit, dict) else [None]
    counts = [entry.get("current") if isinstance(entry, dict) else None for entry in progress]
    if not all(map(_is_progress, counts)) or not _all_counts(state["loops"]):
        raise InputError(f"{path}: its loops are not the counts of a training; was it edited?")
    return state


def _number(value: Any) -> float:
    """Returns a single number as float; NaN for other values."""
    single = isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == 1)
    return float(value) if single else math.nan


def _has_types(value: Any, kinds: Mapping[str, type]) -> bool:
    single = isinstance(value, dict) and all(item.numel() == 1 for item in value.values() if isinstance(item, Tensor))
    return single and all(type(value.get(name)) is kind for name, kind in kinds.items())


def _all_counts(value: Any) -> bool:
    """Whether nested dictionaries hold only counts and booleans."""
    return all(map(_all_counts, value.values())) if isinstance(value, dict) else _is_count(value)


def _is_progress(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() >= PROGRESS_KEYS and all(map(_is_count, value.values()))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def _all_numbers(value: Any) -> bool:
    """Whether nested containers hold only numbers, booleans, None and tensors."""
    if isinstance(value, dict | list | tuple):
        return all(map(_all_numbers, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int | float | Tensor | None)
