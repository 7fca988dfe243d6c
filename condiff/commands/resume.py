"""What a resumed run takes from its checkpoint: model, data selection, training mathematics and the state of the training.

Never a path that is written, a device count, a logger or a callback's folder. Those come from the command line of the run
that resumes; where its data lie, from the run's folder.
"""

import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, Quote, QuotedString
from hydra.errors import HydraException
from torch import Tensor

from condiff.checkpoint import Checkpoint
from condiff.checkpoint.checkpoint import LOCAL
from condiff.checkpoint.registry import LARGEST, WORD
from condiff.checkpoint.run import data_root
from condiff.errors import InputError, printable

PARTS = {"data", "net", "schedule", "parameterization", "sampler", "guidance", "clamp", "averaging", "codec", "model"}
CHOICES = PARTS | {"experiment", "data/transform", "data/conditioning", "data/maps"}  # groups of conf/
ALONE = {"seed", "name"}
TRAINER = {
    f"trainer.{name}"
    for name in (
        "max_epochs", "max_steps", "min_epochs", "min_steps", "precision", "accumulate_grad_batches", "gradient_clip_val",
        "gradient_clip_algorithm", "val_check_interval", "check_val_every_n_epoch", "limit_train_batches", "limit_val_batches",
        "log_every_n_steps",
    )
}  # fmt: skip
ELSEWHERE = {*LOCAL, "autoencoder", "weaker"}  # fields of those parts that belong to a machine, or are paths
STATE = {  # of Lightning's checkpoint, besides ours
    "epoch": int, "global_step": int, "pytorch-lightning_version": str, "state_dict": dict, "loops": dict, "callbacks": dict,
    "optimizer_states": list, "lr_schedulers": list, "hyper_parameters": dict, "current_model_state": dict,
    "averaging_state": dict, "MixedPrecision": dict,
}  # fmt: skip
OWN: Mapping[str, Mapping[str, type]] = {  # states of callbacks
    "EMA": {"latest_update_step": int},
    "StoredAverages": {"count": int, "averages": list},
    "Checkpoints": {"best_model_score": Tensor},
}
RATE = {"base_lrs": list, "last_epoch": int, "_step_count": int, "_last_lr": list, "_initial_step": int, "_is_initial": bool}
MOST, LONGEST = 100, 300  # words, and characters of one
PROGRESS = {"ready", "started", "processed", "completed"}  # of a loop
VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){1,3}((\.?(dev|post)|a|b|rc)\d{0,10})?")
log = logging.getLogger(__name__)


def command_line(arguments: Sequence[str]) -> list[str]:
    """The command line; before it, where it resumes a run, what that run takes from its checkpoint.

    Raises:
        InputError: no checkpoint, or stored words that no run of ``train.py`` stores.
    """
    path = next((word.partition("=")[2].strip("'\"") for word in arguments if word.startswith("resume=")), None)
    if path is None:
        return list(arguments)
    config = Checkpoint.read(path).config
    taken = overrides(config["overrides"], path)
    root = data_root(path)
    if root and not any(word.startswith(("data.root=", "+data.root=")) for word in arguments):
        taken.append(f"data.root={QuotedString(root, Quote.single).with_quotes()}")
    if config.get("init"):  # the network is the checkpoint's own, whatever its run began with
        taken.append(next(word.replace("resume=", "init=", 1) for word in arguments if word.startswith("resume=")))
    return list({word.split("=")[0].lstrip("+"): word for word in [*taken, *arguments]}.values())


def overrides(words: Iterable[Any], path: str | Path) -> list[str]:
    """Those of a checkpoint's words that a resumed run takes; the others are named in a warning.

    Raises:
        InputError: a word that could name code, leave conf/ or reach Hydra itself.
    """
    words, parser = list(words), OverridesParser.create()
    taken: list[str] = []
    left: list[str] = []
    if len(words) > MOST:
        raise InputError(f"{path}: was made with {len(words)} words; at most {MOST} are read")
    for word in words:
        try:
            parsed = parser.parse_override(word) if type(word) is str and len(word) <= LONGEST else None
        except (HydraException, ValueError, RecursionError):
            parsed = None
        if parsed is None or _hostile(parsed):
            raise InputError(
                f"{path}: was made with {str(word)[:200]}, which may name code; refused, give it on the command line instead"
            )
        (taken if _allowed(parsed) else left).append(word)
    if left:
        log.warning("resume: not taken from the checkpoint; give again what is wanted of it: %s", printable(" ".join(left)[:500]))
    return taken


def state(content: Mapping[str, Any], path: str | Path) -> dict[str, Any]:
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
    states = {key: (value, OWN.get(str(key).partition("{")[0])) for key, value in kept["callbacks"].items()}
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


def _hostile(parsed: Override) -> bool:
    """Whether a word could reach code: Hydra's own settings, a package, a target, an interpolation, a file outside of conf/."""
    key = str(parsed.key_or_group)
    odd = parsed.package is not None or parsed.is_sweep_override() or "hydra" in key.replace("/", ".").split(".")
    names = key.replace("/", ".").split(".")
    if odd or any(not WORD.fullmatch(name) or name.startswith("_") for name in names):
        return True
    if key in CHOICES and not _is_choice(parsed):
        return True
    return not _harmless(parsed.value())


def _harmless(value: Any) -> bool:
    if isinstance(value, dict):
        return all(WORD.fullmatch(str(key)) and not str(key).startswith("_") and _harmless(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_harmless, value))
    return not isinstance(value, str) or "${" not in value


def _is_choice(parsed: Override) -> bool:
    """Options of a group, or the fields of a part in braces."""
    value = parsed.value()
    return value is None or (isinstance(value, str | list | dict) and _of_words(value))


def _allowed(parsed: Override) -> bool:
    key = str(parsed.key_or_group)
    fields = key.split(".")
    known = key in CHOICES | ALONE | TRAINER or fields[0] in PARTS
    how_often = fields[0] == "callbacks" and parsed.type == OverrideType.CHANGE and isinstance(parsed.value(), int | float)
    kept = parsed.type != OverrideType.DEL and not ELSEWHERE & {*fields}
    return (known or how_often) and kept and _of_words(parsed.value(), math.inf if key == "seed" else LARGEST)


def _of_words(value: Any, largest: float = LARGEST) -> bool:
    """Whether all text in it is plain words, and no number is absurd."""
    if isinstance(value, dict):
        return all(_of_words(item) and key not in ELSEWHERE for key, item in value.items())
    if isinstance(value, list):
        return all(map(_of_words, value))
    if isinstance(value, int | float):
        return not isinstance(value, int) or abs(value) <= largest
    return not isinstance(value, str) or WORD.fullmatch(value) is not None
