"""What every entry point shares: Hydra in front, and bad input told in one line.

Set CONDIFF_TRACEBACK=1 to see where an error came from.
"""

import difflib
import functools
import hashlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, MissingMandatoryValue, OmegaConfBaseException

from condiff.commandline import CONF, choices, flags_first, readable
from condiff.errors import InputError
from condiff.options import OPTIONS, check, check_kind, whole

Main = Callable[[DictConfig], float | None]
BAD_INPUT = (InputError, HydraException, OmegaConfBaseException, MisconfigurationException, OSError)
QUIET = (  # what Lightning says of choices that were made on purpose
    "does not have many workers",
    "Checkpoint directory .* exists",
    "Experiment logs directory",
    "The .*srun.* command",
    "isinstance.treespec",
    "smaller than the logging interval",
    "The dirpath has changed",
    "It is recommended to use .self.log..quality",  # one process measures it
)


def entry(config_name: str, arguments: Callable[[list[str]], list[str]] = list) -> Callable[[Main], Callable[[], None]]:
    """Decorator: compose ``conf/<config_name>.yaml`` with the command line, run, exit with 1 on bad input.

    What ``main`` returns is what a sweeper minimises. ``arguments`` may rewrite the command line before Hydra reads it.
    """

    def decorate(main: Main) -> Callable[[], None]:
        @functools.wraps(main)
        def task(cfg: DictConfig) -> float | None:
            with told(config_name):  # here too, before Hydra adds lines of its own
                check_options(cfg, config_name)
                return main(cfg)

        @functools.wraps(main)
        def run() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra would print errors itself, and at length
            if not first_process():
                logging.disable(logging.WARNING)  # the first process says it
            for message in QUIET:
                warnings.filterwarnings("ignore", f".*{message}")
            with told(config_name):
                sys.argv[1:] = flags_first(arguments(readable(sys.argv[1:])))
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(task)()

        return run

    return decorate


def first_process() -> bool:
    """Of those that Lightning, torchrun or a cluster (srun) started for this command."""
    return getattr(rank_zero_only, "rank", 0) == 0


def folder_name(text: str, longest: int = 150) -> str:
    """The overrides of a job as a name for its folder: no slashes, and not longer than file systems take."""
    name = re.sub(r"[^\w.,=\[\]-]", "-", text)
    return name if len(name) <= longest else f"{name[: longest - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def cache_folder() -> str:
    """The default of data.cache: CONDIFF_CACHE, or else condiff in XDG_CACHE_HOME, or else in ~/.cache."""
    return os.environ.get("CONDIFF_CACHE") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/condiff"


OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
OmegaConf.register_new_resolver("cache_folder", cache_folder, replace=True)


@contextmanager
def told(config_name: str) -> Iterator[None]:
    """Bad input ends the program with one line and exit code 1, an interruption with 130."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted; what is on the disk is whole", file=sys.stderr)
        sys.exit(130)
    except BAD_INPUT as error:
        if os.environ.get("CONDIFF_TRACEBACK") == "1":
            raise
        if first_process():
            print(f"error: {explain(error, config_name)}", file=sys.stderr)
        sys.exit(1)


def check_options(cfg: DictConfig, config_name: str) -> None:
    """Raise InputError for the first option that is not of its default's kind, or out of its range (`condiff.options`)."""
    words = HydraConfig.get().overrides.task
    check_kinds(defaults(config_name, *(word for word in words if "=" in word and _group(word).is_dir())))
    check(cfg, OPTIONS[config_name])


@functools.cache
def defaults(config_name: str, *chosen: str) -> DictConfig:
    """The configuration of a command line that chooses from groups alone."""
    return hydra.compose(config_name, list(chosen))


def check_kinds(defaults: DictConfig) -> None:
    """Raise InputError for the first option on the command line that is of another kind than its default."""
    for override in overrides():
        key = override.key_or_group
        if not (override.is_delete() or _group(key).is_dir()):
            check_kind(key, _default(defaults, key), override.value())


def _default(defaults: DictConfig, key: str) -> Any:
    try:
        return plain(OmegaConf.select(defaults, key))
    except OmegaConfBaseException:  # it depends on what has no value yet
        return None


def overrides() -> list[Override]:
    """What the command line sets, parsed; without Hydra's own options."""
    return OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))


def own_or_other(cfg: DictConfig, own: Mapping[str, Any]) -> dict[str, Any]:
    """What the command line says of the data. They are split as in training unless data.seed is among it.

    Raises:
        InputError: a field is of another kind than the checkpoint's ``own``.
    """
    requested = plain(cfg.get("data")) or {}
    if "_target_" not in requested:
        check_kinds(OmegaConf.create({"data": dict(own)}))
    if "data.seed" not in {override.key_or_group for override in overrides()}:
        requested.pop("seed", None)
    return requested


def plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def as_trained(cfg: DictConfig, own: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Take over ``keys`` from a checkpoint's configuration, and set in them the fields that the command line gives.

    One that the command line chooses, guidance=none, stays as it is.

    Raises:
        InputError: a field that the checkpoint's own object lacks, or a value of another kind or out of its range.
    """
    given = overrides()
    chosen = {override.key_or_group for override in given}
    for key in keys:
        if key in own and key not in chosen:
            cfg[key] = own[key]
            for override in given:
                if override.key_or_group.startswith(f"{key}."):
                    _set(cfg, key, override.key_or_group, override.value())
    check(cfg, OPTIONS[cast(str, HydraConfig.get().job.config_name)])


def _set(cfg: DictConfig, group: str, key: str, value: Any) -> None:
    parent, _, name = key.rpartition(".")
    fields = plain(OmegaConf.select(cfg, parent))
    if not isinstance(fields, dict) or name not in fields:
        has = ", ".join(f"{parent}.{field}" for field in fields or () if not str(field).startswith("_")) or "no fields"
        others = choices(group, key.removeprefix(f"{group}."))
        remedy = f"; {key} belongs to {group}={' or '.join(others)}, choose one" if others else ""
        raise InputError(f"{key}: the {group} that this checkpoint was trained with has {has}{remedy}")
    check_kind(key, fields[name], value)
    OmegaConf.update(cfg, key, value)


def check_clamp(cfg: DictConfig, channels: int, latent: bool) -> None:
    """Raise InputError for a clamp that is not made for images of so many channels, or for codes."""
    name = str(cfg.clamp.get("_target_", "")).rsplit(".", 1)[-1]
    if latent and name != "unguided":
        raise InputError("clamp: limits images, and this model's are codes; use clamp=none")
    if channels == 2 and name in ("static_clamp", "dynamic_clamp"):
        raise InputError(
            "clamp: static and dynamic cut from air at -1, and air is 0 in complex images; use clamp=magnitude or none"
        )
    if channels == 1 and name == "magnitude_clamp":
        raise InputError("clamp=magnitude: is for complex images; use clamp=static, dynamic or none")


def require_positive(cfg: DictConfig, *keys: str) -> None:
    """Raise InputError that names the first of ``keys`` which is no whole number of at least 1."""
    check(cfg, dict.fromkeys(keys, whole()))


def explain(error: Exception, config_name: str) -> str:
    """The error in one line, with the remedy."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        place = next((line.split(": ", 1)[1] for line in str(error).splitlines() if line.startswith("full_key")), "")
        return explain(error.__cause__, config_name) if isinstance(error.__cause__, InputError) else f"{place}: {error.__cause__}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    if isinstance(error, MissingMandatoryValue | InterpolationToMissingValueError):
        key = next((line.split(": ", 1)[1] for line in lines if line.startswith("full_key")), first)
        key = first.rsplit(": ", 1)[-1] if isinstance(error, InterpolationToMissingValueError) else key
        return f"{key} has no value; give one on the command line, {key}=..."
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if first.startswith("Could not override"):
        return _misspelt(first.split("'")[1], config_name)
    if first.startswith("Ambiguous value for argument"):
        word = first.split("'", 1)[1].rstrip("'")
        key, _, value = word.partition("=")
        hint = f"a sweep needs -m, a list brackets, {key}=[{value}], and one value that has commas quotes, \"{key}='{value}'\""
        return f"{word}: {hint}"
    if "Available options in" in str(error):
        begin = next(i for i, line in enumerate(lines) if line.startswith("Available options")) + 1
        end = next((i for i, line in enumerate(lines) if line.startswith("Config search path")), len(lines))
        group, _, choice = re.findall("'([^']*)'", first)[-1].rpartition("/")
        return f"{group.replace('/', '.')}={choice}: no such choice; there are {', '.join(lines[begin:end])}"
    return " ".join(lines) if isinstance(error, InputError) else first


def _unreadable(word: str) -> str:
    key, equals, value = word.partition("=")
    if not equals:
        return f"cannot read '{word}' on the command line; options look like key=value"
    return f"cannot read '{word}' on the command line; close its brackets, or put the value in quotes, \"{key}='{value}'\""


def _group(word: str) -> Path:
    """The folder of choices that a word may name: data=phantom, experiment=smoke, data/transform=complex."""
    return CONF / word.partition("=")[0].lstrip("+")


def _misspelt(key: str, config_name: str) -> str:
    group, _, field = key.partition(".")
    if others := choices(group, field):
        choice = others[0] if len(others) == 1 else "..."
        return f"{key} belongs to {group}={' or '.join(others)}; write {group}={choice} {key}=..."
    groups = [word for word in sys.argv[1:] if "=" in word and _group(word).is_dir()]
    GlobalHydra.instance().clear()  # the program ends
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        known = list(_keys(hydra.compose(config_name, groups)))
    near = difflib.get_close_matches(key, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"see conf/{config_name}.yaml for what there is"
    return f"{key}: no such option; {hint}"


def _keys(config: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in map(str, config):
        yield f"{prefix}{key}"
        if OmegaConf.is_dict(config._get_node(key)) and not OmegaConf.is_missing(config, key) and config[key] is not None:
            yield from _keys(config[key], f"{prefix}{key}.")
