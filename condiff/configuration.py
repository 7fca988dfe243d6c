"""The folder conf/, the resolvers of its files (`${cache_folder:}` …), and composition outside of a command."""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from condiff.errors import InputError, check_number, check_whole

_PACKAGE = Path(__file__).parent
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"  # installed; in a checkout
PLACES = ("patterns", "patient", "site")  # of files of a data set
EARLIER = "CONDIFF_EARLIER_JOBS"  # of the study that a sweep continues; read by every process of it


def cache_folder() -> Path:
    """Returns the folder of prepared data: CONDIFF_CACHE, or condiff in XDG_CACHE_HOME, or ~/.cache/condiff."""
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("CONDIFF_CACHE") or f"{caches}/condiff").expanduser()


def folder_name(text: str, longest: int = 150) -> str:
    """Returns the overrides of a job as a folder name, without slashes and short enough for file systems."""
    name = re.sub(r"[^\w.,=\[\]-]", "-", text)
    return name if len(name) <= longest else f"{name[: longest - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def job_number(number: int) -> int:
    """Returns the number of a job, after those of the study that its sweep continues."""
    return number + int(os.environ.get(EARLIER, 0))


def stored_overrides() -> list[str]:
    """Returns the overrides that a resumed run takes again: all but ``resume`` and ``trust``."""
    from hydra.core.hydra_config import HydraConfig

    return [word for word in HydraConfig.get().overrides.task if not word.startswith(("resume=", "trust="))]


def contrasts_of(patterns: Any) -> list[str]:
    """Returns the contrasts that ``data.patterns`` names; without patterns those that are known by themselves."""
    if patterns is None:
        return ["T1w", "ceT1w", "T2w", "FLAIR"]
    return [str(name) for name in patterns] if OmegaConf.is_dict(patterns) else []


def flips_in(plane: Any) -> float:
    """Returns the share of training slices whose columns are flipped: left and right; none of sagittal ones, back and front."""
    return 0.0 if plane == "sagittal" else 0.5


OmegaConf.register_new_resolver("contrasts_of", contrasts_of, replace=True)
OmegaConf.register_new_resolver("cache_folder", lambda: str(cache_folder()), replace=True)
OmegaConf.register_new_resolver("flips_in", flips_in, replace=True)
OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
OmegaConf.register_new_resolver("job_number", job_number, replace=True)
OmegaConf.register_new_resolver("overrides", stored_overrides, replace=True)


def plain(node: Any) -> Any:
    """Returns a configuration as plain, resolved values; other objects unchanged."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def instantiate_group(group: DictConfig) -> list[Any]:
    """Returns the objects of a group; entries without ``_target_``, which an experiment may add, are ignored."""
    from hydra.utils import instantiate

    return [instantiate(part) for part in group.values() if "_target_" in part]


def compose(command: str, words: list[str]) -> DictConfig:
    """Returns the configuration of a command for the words of a command line; that of a running command is kept."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return hydra.compose(command, words)
    finally:
        if running is not None:
            GlobalHydra.instance().initialize(running)


def choices(group: str) -> list[str]:
    """Returns the names of the files of a group."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def chosen(group: str, name: str, command: str, *words: str) -> DictConfig:
    """Returns the configuration of a command with conf/<group>/<name>.yaml. Raises InputError if the file does not exist."""
    if name not in choices(group):
        raise InputError(f"{group}={name}: no such choice; there are {', '.join(choices(group))}")
    return compose(command, [f"{group}={name}", *words])


def with_options(method: DictConfig, name: str, options: Mapping[str, Any]) -> DictConfig:
    """The configuration of a method with other values of its function's options.

    Raises:
        InputError: unknown options, or text for a number.
    """
    if not isinstance(options, Mapping):
        raise InputError(f"options={options!r}: give a dictionary, as {{'prior_weight': 2.0}}")
    known = [key for key in method.fn if not key.startswith("_")]
    for key in options:
        if key not in known:
            raise InputError(f"options: method={name} has no {key}; it has {', '.join(known) or 'none'}")
        if isinstance(method.fn[key], int) and not isinstance(method.fn[key], bool):
            check_whole(f"options: {key}", options[key], at_least=None)
        elif isinstance(method.fn[key], float):
            check_number(f"options: {key}", options[key])
    values = {key: value.item() if hasattr(value, "item") else value for key, value in options.items()}  # numpy's numbers
    return OmegaConf.merge(method, {"fn": values})  # type: ignore[return-value]


def without_paths(config: Any) -> Any:
    """Returns a configuration without paths and patterns of them; ``init`` becomes whether it was given.

    Text with a slash is left out, and so are the fields of data sets in `PLACES`.
    """
    if isinstance(config, list):
        return [without_paths(value) for value in config if not _is_path(value)]
    if not isinstance(config, dict):
        return config
    fields = {key: without_paths(value) for key, value in config.items() if key not in PLACES and not _is_path(value)}
    return fields | ({"init": bool(config["init"])} if "init" in config else {})


def _is_path(value: Any) -> bool:
    options = tuple(f"data.{name}=" for name in PLACES)
    return isinstance(value, str) and ("/" in value or "\\" in value or value.lstrip("+").startswith(options))


def choices_with(group: str, field: str) -> list[str]:
    """Returns the choices of a group that have a field, of their own or of a choice that they begin with."""
    files: dict[str, Any] = {path.stem: OmegaConf.load(path) for path in sorted((CONF / group).glob("*.yaml"))}

    def has_field(name: str) -> bool:
        begun_with = [begin for begin in files[name].get("defaults", ()) if isinstance(begin, str) and begin in files]
        return _has(files[name], field.split(".")) or any(map(has_field, begun_with))

    return [name for name in files if has_field(name)]


def _has(config: Any, names: list[str]) -> bool:
    if not names or not OmegaConf.is_dict(config):
        return not names
    return names[0] in config.keys() and _has(config._get_node(names[0]), names[1:])  # noqa: SIM118, a missing value is not a member
