"""The state of a training as a checkpoint holds it, which a resumed run restores: counts, averages, optimizer, learning rate."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from condiff.errors import InputError

STATE = {  # of Lightning's checkpoint, besides ours
    "epoch": int, "global_step": int, "pytorch-lightning_version": str, "state_dict": dict, "loops": dict, "callbacks": dict,
    "optimizer_states": list, "lr_schedulers": list, "hyper_parameters": dict, "current_model_state": dict,
    "averaging_state": dict, "MixedPrecision": dict,
}  # fmt: skip
OWN: Mapping[str, Mapping[str, type]] = {  # states of callbacks
    "EMA": {"latest_update_step": int},
    "PostHocEMASnapshots": {"count": int, "averages": list},
    "Throughput": {"seconds": float},
    "Checkpoints": {"best_model_score": Tensor},
}
RENAMED = {"StoredAverages": "PostHocEMASnapshots"}  # callbacks of version 0.1
RATE = {"base_lrs": list, "last_epoch": int, "_step_count": int, "_last_lr": list, "_initial_step": int, "_is_initial": bool}
PROGRESS = {"ready", "started", "processed", "completed"}  # of a loop
VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){1,3}((\.?(dev|post)|a|b|rc)\d{0,10})?")


def epochs_done(content: Mapping[str, Any]) -> int:
    """How many epochs a checkpoint's run has finished; one that was stored within an epoch has not finished that."""
    loops = content.get("loops", {}).get("fit_loop", {})
    epochs = loops.get("epoch_progress", {}).get("current", {"started": 0, "processed": content["epoch"] + 1})
    trained = loops.get("epoch_loop.batch_progress", {}).get("is_last_batch", False) and epochs["started"] > epochs["processed"]
    return int(epochs["processed"]) + trained


def read_state(content: Mapping[str, Any], path: str | Path) -> dict[str, Any]:
    """A checkpoint's content as Lightning restores it: states of known kinds, without the paths of `ModelCheckpoint`.

    Raises:
        InputError: a state of another kind.
    """
    own = {key: value for key, value in content.items() if key.endswith("DataModule") and isinstance(value, dict)}
    kept = own | {key: content[key] for key in STATE if content.get(key) is not None}
    for key in ("epoch", "global_step", "loops", "callbacks", "optimizer_states", "lr_schedulers", "pytorch-lightning_version"):
        if key not in kept:
            raise InputError(
                f"{path}: has no {key}, so it cannot be resumed; give RUN/checkpoints/last.ckpt, or begin with it, init="
            )
    for key, value in kept.items():
        if type(value) is not STATE.get(key, dict):
            raise InputError(f"{path}: its {key} is a {type(value).__name__}; was it edited?")
    if not VERSION.fullmatch(kept["pytorch-lightning_version"]) or kept["epoch"] < 0 or kept["global_step"] < 0:
        raise InputError(f"{path}: its epoch, global_step or pytorch-lightning_version is impossible; was it edited?")
    averaged = [
        kept.get("averaging_state", {}).get("n_averaged"),
        *(value.get("latest_update_step") for value in kept["callbacks"].values() if isinstance(value, dict)),
    ]
    if not all(count is None or 0 <= _number(count) <= kept["global_step"] for count in averaged):
        raise InputError(f"{path}: its averages count more steps than the training; was it edited?")
    callbacks = {RENAMED.get(str(key), key): value for key, value in kept["callbacks"].items()}
    states = {key: (value, OWN.get(str(key).partition("{")[0])) for key, value in callbacks.items()}
    kept["callbacks"] = {
        key: {name: value[name] for name in kinds} for key, (value, kinds) in states.items() if kinds and _is_of(value, kinds)
    }
    for key in ("optimizer_states", "lr_schedulers"):
        if not all(isinstance(one, dict) for one in kept[key]) or not _numbers(kept[key]):
            raise InputError(f"{path}: its {key} hold more than numbers; was it edited?")
    kept["lr_schedulers"] = [
        {name: one[name] for name, kind in RATE.items() if type(one.get(name)) is kind}
        | {"lr_lambdas": [None] * len(one.get("base_lrs") or ())}
        for one in kept["lr_schedulers"]
    ]
    fit = kept["loops"].get("fit_loop")
    progress = [fit.get(key) for key in ("epoch_progress", "epoch_loop.batch_progress")] if isinstance(fit, dict) else [None]
    counts = [one.get("current") if isinstance(one, dict) else None for one in progress]
    plain = all(isinstance(one, dict) and one.keys() >= PROGRESS and all(map(_is_count, one.values())) for one in counts)
    if not plain or not _counts(kept["loops"]):
        raise InputError(f"{path}: its loops are not the counts of a training; was it edited?")
    return kept


def _number(value: Any) -> float:
    """NaN for what is no single number."""
    single = isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == 1)
    return float(value) if single else math.nan


def _is_of(value: Any, kinds: Mapping[str, type]) -> bool:
    single = isinstance(value, dict) and all(one.numel() == 1 for one in value.values() if isinstance(one, Tensor))
    return single and all(type(value.get(name)) is kind for name, kind in kinds.items())


def _counts(value: Any) -> bool:
    """Whether nested dictionaries hold nothing but counts and switches."""
    return all(map(_counts, value.values())) if isinstance(value, dict) else _is_count(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def _numbers(value: Any) -> bool:
    """Whether nested containers hold nothing but numbers, switches and tensors."""
    if isinstance(value, dict | list | tuple):
        return all(map(_numbers, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int | float | Tensor | None)
