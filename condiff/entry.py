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
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, MissingMandatoryValue, OmegaConfBaseException

from condiff.errors import InputError

Main = Callable[[DictConfig], float | None]
CONF = Path(__file__).parent.parent / "conf"
LARGEST_SEED = 2**62  # samples count up from it, and torch takes 63 bits
BAD_INPUT = (InputError, HydraException, OmegaConfBaseException, MisconfigurationException, OSError)
QUIET = (  # what Lightning says of choices that were made on purpose
    "does not have many workers",
    "Checkpoint directory .* exists",
    "Experiment logs directory",
    "You're resuming from a checkpoint that ended before the epoch ended",  # condiff.data.order.Stream knows where
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
                return main(cfg)

        @functools.wraps(main)
        def run() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra would print errors itself, and at length
            if os.environ.get("LOCAL_RANK", "0") != "0":
                logging.disable(logging.WARNING)  # the first process says it
            for message in QUIET:
                warnings.filterwarnings("ignore", f".*{message}")
            with told(config_name):
                sys.argv[1:] = arguments([grouped(word) for word in sys.argv[1:]])
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(task)()

        return run

    return decorate


def folder_name(text: str, longest: int = 150) -> str:
    """The overrides of a job as a name for its folder: no slashes, and not longer than file systems take."""
    name = re.sub(r"[^\w.,=\[\]-]", "-", text)
    return name if len(name) <= longest else f"{name[: longest - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)


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
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"error: {explain(error, config_name)}", file=sys.stderr)
        sys.exit(1)


def grouped(argument: str) -> str:
    """data.transform=complex chooses data/transform/complex.yaml: what is a group to Hydra is a field to people."""
    key, equals, value = argument.partition("=")
    group = key.replace(".", "/")
    return f"{group}={value}" if equals and "." in key and (CONF / group).is_dir() else argument


def reach(arguments: list[str]) -> list[str]:
    """Fields of the checkpoint's own data can be overridden, though conf/ does not hold them for this entry point."""
    other = any(word.startswith("data=") for word in arguments)
    return [f"+{word}" if word.startswith("data.") and not other else word for word in arguments]


def own_or_other(cfg: DictConfig) -> dict[str, Any]:
    """What the command line says of the data. They are split as in training unless data.seed is among it."""
    asked = plain(cfg.get("data")) or {}
    if not any(word.lstrip("+").startswith("data.seed=") for word in HydraConfig.get().overrides.task):
        asked.pop("seed", None)
    return asked


def plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def as_trained(cfg: DictConfig, own: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Take over those of ``keys`` from a checkpoint's configuration of which the command line says nothing."""
    said = {re.split(r"[.=]", word.lstrip("+~"))[0] for word in HydraConfig.get().overrides.task}
    for key in keys:
        if key not in said and key in own:
            cfg[key] = own[key]


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
    for key in keys:
        value = OmegaConf.select(cfg, key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"{key}={value}: give a whole number, at least 1")


def require_seeds(cfg: DictConfig, *keys: str) -> None:
    """Raise InputError that names the first of ``keys`` which is no seed: a whole number from 0 to `LARGEST_SEED`."""
    for key in keys:
        value = OmegaConf.select(cfg, key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST_SEED:
            raise InputError(f"{key}={value}: give a whole number from 0 to {LARGEST_SEED}")


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
    if first.startswith("Could not override"):
        return _misspelt(first.split("'")[1], config_name)
    if "Available options in" in str(error):
        begin = next(i for i, line in enumerate(lines) if line.startswith("Available options")) + 1
        end = next((i for i, line in enumerate(lines) if line.startswith("Config search path")), len(lines))
        return f"{first.split(': ', 1)[-1]}; there are {', '.join(lines[begin:end])}"
    return " ".join(lines) if isinstance(error, InputError) else first


def _misspelt(key: str, config_name: str) -> str:
    groups = [word for word in sys.argv[1:] if (CONF / word.split("=")[0]).is_dir()]
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
