"""The overrides that a resumed run takes from its checkpoint: model, data selection, training mathematics.

Paths, devices, loggers and folders of callbacks are never taken. They come from the command line of the resuming run; the data
folder comes from the folder of the run.
"""

import copy
import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from condiff.checkpoint import Checkpoint, registry
from condiff.checkpoint.checkpoint import LOCAL
from condiff.checkpoint.registry import MAX_INTEGER, WORD
from condiff.checkpoint.run import data_fields
from condiff.commands.from_checkpoint import set_field
from condiff.commands.options import check_command
from condiff.errors import InputError, printable

MISSING = object()
TRAINED_SETTINGS = (
    "model.optimizer", "data.phantom", "data.volumes_per_contrast", "data.held_out_per_contrast", "data.steps_per_epoch",
)  # fmt: skip
GROUPS = {"data", "net", "schedule", "parameterization", "sampler", "guidance", "clamp", "averaging", "codec", "model"}
CHOICES = GROUPS | {"experiment", "model/optimizer", "data/transform", "data/conditioning", "data/maps"}  # groups of conf/
SINGLE_OPTIONS = {"seed", "name"}
TRAINER_OPTIONS = {
    f"trainer.{name}"
    for name in (
        "max_epochs", "max_steps", "min_epochs", "min_steps", "precision", "accumulate_grad_batches", "gradient_clip_val",
        "gradient_clip_algorithm", "val_check_interval", "check_val_every_n_epoch", "limit_train_batches", "limit_val_batches",
        "log_every_n_steps",
    )
}  # fmt: skip
MACHINE_FIELDS = {*LOCAL, "autoencoder", "weaker"}  # fields of these groups that belong to a machine, or are paths
MAX_WORDS, MAX_WORD_LENGTH = 100, 300
log = logging.getLogger(__name__)


def command_line(arguments: Sequence[str]) -> list[str]:
    """Returns the command line, after the overrides that a resumed run takes from its checkpoint.

    Raises:
        InputError: an invalid checkpoint, or stored words that ``train.py`` would not store.
    """
    option = next((word for word in arguments if word.startswith("resume=")), None)
    if option is None:
        return list(arguments)
    given = option.partition("=")[2].strip("'\"")
    checkpoint = Checkpoint.read(given)
    path, config = checkpoint.path, checkpoint.config
    file = option if Path(given) == path else f"resume={QuotedString(str(path), Quote.single).with_quotes()}"  # of a folder
    words = overrides(config["overrides"], path)
    stored = [word for word in words if word.split("=")[0].lstrip("+") != "data.steps_per_epoch"]  # the run may have shortened it
    for name, value in data_fields(path).items():
        if not any(word.startswith((f"data.{name}=", f"+data.{name}=")) for word in arguments):
            stored.append(f"data.{name}={_literal(value)}")
    if config.get("init"):  # the network is that of the checkpoint, whatever init= was
        stored.append(file.replace("resume=", "init=", 1))
    arguments = [file if word.startswith("resume=") else word for word in arguments]
    return list({word.split("=")[0].lstrip("+"): word for word in [*stored, *arguments]}.values())


def _literal(value: str | dict[str, str]) -> str:
    """Returns a text, or texts by name, in Hydra's grammar."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_literal(text)}" for name, text in value.items()) + "}"
    return str(QuotedString(value, Quote.single).with_quotes())


def setting(config: Any, key: str, default: Any = None) -> Any:
    """Returns a setting of the configuration of a checkpoint; ``default`` if missing."""
    for name in key.split("."):
        if not isinstance(config, dict) or name not in config:
            return default
        config = config[name]
    return config


def with_trained_settings(cfg: DictConfig, checkpoint: Checkpoint | None, words: Sequence[Override]) -> DictConfig:
    """Returns the configuration of a resumed run with optimizer, patients and epochs of its checkpoint, unless words set them.

    The defaults may have changed since.

    Raises:
        InputError: settings that the registry or the rules of the options do not admit, or options that do not fit them.
    """
    if checkpoint is None:
        return cfg
    cfg = copy.deepcopy(cfg)
    options = [override for override in words if not override.is_delete()]
    chosen = {override.key_or_group.replace("/", ".") for override in options}
    for key in TRAINED_SETTINGS:
        parent, _, name = key.rpartition(".")
        trained = setting(checkpoint.config, key, MISSING)
        if trained is MISSING or name not in cfg[parent] or key in chosen:
            continue
        if OmegaConf.is_dict(cfg[parent][name]) and not (isinstance(trained, dict) and "_target_" in trained):
            raise InputError(f"{checkpoint.path}: describes no {name}; made by another version, or edited")
        registry.check(name, trained, checkpoint.path, checkpoint.trust)
        OmegaConf.update(cfg, key, trained, merge=False)
        for override in options:
            if override.key_or_group.startswith(f"{key}."):
                set_field(cfg, name, override.key_or_group, override.value())
    check_command(cfg, "train")
    return cfg


def overrides(words: Iterable[Any], path: str | Path) -> list[str]:
    """Returns the words of a checkpoint that a resumed run takes; a warning names the others.

    Raises:
        InputError: a word that could name code, leave conf/ or set options of Hydra itself.
    """
    words, parser = list(words), OverridesParser.create()
    accepted: list[str] = []
    ignored: list[str] = []
    if len(words) > MAX_WORDS:
        raise InputError(f"{path}: was made with {len(words)} words; at most {MAX_WORDS} are read")
    for word in words:
        try:
            parsed = parser.parse_override(word) if type(word) is str and len(word) <= MAX_WORD_LENGTH else None
        except (HydraException, ValueError, RecursionError):
            parsed = None
        if parsed is None or _hostile(parsed):
            raise InputError(
                f"{path}: was made with {str(word)[:200]}, which may name code; refused, give it on the command line instead"
            )
        (accepted if _allowed(parsed) else ignored).append(word)
    if ignored:
        words_ignored = printable(" ".join(ignored)[:500])
        log.warning("resume: not taken from the checkpoint; give again if needed: %s", words_ignored)
    return accepted


def _hostile(parsed: Override) -> bool:
    """Whether a word could reach code: Hydra's settings, a package, a target, an interpolation, a file outside of conf/."""
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
    """Whether a value is a choice of a group, or its fields in braces."""
    value = parsed.value()
    return value is None or (isinstance(value, str | list | dict) and _of_words(value))


def _allowed(parsed: Override) -> bool:
    key = str(parsed.key_or_group)
    fields = key.split(".")
    is_known = key in CHOICES | SINGLE_OPTIONS | TRAINER_OPTIONS or fields[0] in GROUPS
    is_frequency = fields[0] == "callbacks" and parsed.type == OverrideType.CHANGE and isinstance(parsed.value(), int | float)
    is_portable = parsed.type != OverrideType.DEL and not MACHINE_FIELDS & {*fields}
    return (is_known or is_frequency) and is_portable and _of_words(parsed.value(), math.inf if key == "seed" else MAX_INTEGER)


def _of_words(value: Any, largest: float = MAX_INTEGER) -> bool:
    """Whether all text in a value is plain words, and all integers are plausible."""
    if isinstance(value, dict):
        return all(_of_words(item) and key not in MACHINE_FIELDS for key, item in value.items())
    if isinstance(value, list):
        return all(map(_of_words, value))
    if isinstance(value, int | float):
        return not isinstance(value, int) or abs(value) <= largest
    return not isinstance(value, str) or WORD.fullmatch(value) is not None
