"""conf/, the objects that it describes, and choosing from it by name outside of a command."""

from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from condiff.errors import InputError

CONF = Path(__file__).parents[1] / "conf"


def compose(command: str, words: list[str]) -> DictConfig:
    """The configuration of a command for the words of a command line; a command that is running keeps its own."""
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return hydra.compose(command, words)
    finally:
        if before is not None:
            GlobalHydra.instance().initialize(before)


def choices(group: str) -> list[str]:
    """The names of a group's files."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def chosen(group: str, name: str, command: str, *words: str) -> DictConfig:
    """What conf/<group>/<name>.yaml describes in the configuration of a command.

    Raises:
        InputError: there is no such file.
    """
    if name not in choices(group):
        raise InputError(f"{group}={name}: no such choice; there are {', '.join(choices(group))}")
    return compose(command, [f"{group}={name}", *words])[group]
