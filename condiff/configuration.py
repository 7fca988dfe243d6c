"""conf/, and choosing from it by name outside of a command."""

from pathlib import Path

from omegaconf import DictConfig

from condiff.errors import InputError

_PACKAGE = Path(__file__).parent
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"  # installed; in a checkout


def compose(command: str, words: list[str]) -> DictConfig:
    """The configuration of a command for the words of a command line; a command that is running keeps its own."""
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
    """The names of a group's files."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def chosen(group: str, name: str, command: str, *words: str) -> DictConfig:
    """The configuration of a command with conf/<group>/<name>.yaml. Raises InputError where there is no such file."""
    if name not in choices(group):
        raise InputError(f"{group}={name}: no such choice; there are {', '.join(choices(group))}")
    return compose(command, [f"{group}={name}", *words])
