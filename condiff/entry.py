"""What every entry point shares: Hydra in front, and bad input told in one line.

Set CONDIFF_TRACEBACK=1 to see where an error came from.
"""

import difflib
import functools
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import hydra
from hydra.errors import HydraException, InstantiationException
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from condiff.errors import InputError

CONF = Path(__file__).parent.parent / "conf"
QUIET = ("does not have many workers", "Checkpoint directory .* exists", "Experiment logs directory", "The .*srun.* command")


def entry(config_name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Decorator: compose ``conf/<config_name>.yaml`` with the command line, run, exit with 1 on bad input."""

    def decorate(main: Callable[[DictConfig], None]) -> Callable[[], None]:
        @functools.wraps(main)
        def run() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra would print errors itself, and at length
            for message in QUIET:
                warnings.filterwarnings("ignore", f".*{message}")
            try:
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(main)()
            except (InputError, HydraException, OmegaConfBaseException, MisconfigurationException) as error:
                if os.environ.get("CONDIFF_TRACEBACK") == "1":
                    raise
                if os.environ.get("LOCAL_RANK", "0") == "0":
                    print(f"error: {explain(error, config_name)}", file=sys.stderr)
                sys.exit(1)

        return run

    return decorate


def explain(error: Exception, config_name: str) -> str:
    """The error in one line, with the remedy."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        place = next((line.split(": ", 1)[1] for line in str(error).splitlines() if line.startswith("full_key")), "")
        return explain(error.__cause__, config_name) if isinstance(error.__cause__, InputError) else f"{place}: {error.__cause__}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    if isinstance(error, MissingMandatoryValue):
        key = next((line.split(": ", 1)[1] for line in lines if line.startswith("full_key")), first)
        return f"{key} has no value; give one on the command line, {key}=..."
    if first.startswith("Could not override"):
        return _misspelt(first.split("'")[1], config_name)
    if "Available options in" in str(error):
        options = lines[lines.index(next(line for line in lines if line.startswith("Available"))) + 1 :]
        return f"{first.split(': ', 1)[-1]}; there are {', '.join(o for o in options if not o.startswith('Config'))}"
    return " ".join(lines) if isinstance(error, InputError) else first


def _misspelt(key: str, config_name: str) -> str:
    groups = [word for word in sys.argv[1:] if (CONF / word.split("=")[0]).is_dir()]
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
