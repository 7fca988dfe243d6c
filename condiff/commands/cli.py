"""What every command shares: Hydra in front, and one line for bad input.

Set CONDIFF_TRACEBACK=1 to see where an error came from.
"""

import functools
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from condiff.commands.command_line import check_choices, check_folders, flags_first, group_folder, quote_for_hydra
from condiff.commands.explain import explain
from condiff.commands.options import check_command, check_kind
from condiff.commands.run_folder import remove_traces
from condiff.commands.sweep import JobFailed
from condiff.configuration import CONF, folder_name, plain
from condiff.errors import InputError, is_memory
from condiff.progress import is_first_process

Main = Callable[[DictConfig], float | None]
INPUT_ERRORS = (InputError, HydraException, OmegaConfBaseException, MisconfigurationException, OSError)
IGNORED_WARNINGS = (  # what Lightning says of choices that were made on purpose
    "does not have many workers",
    "Checkpoint directory .* exists",
    "Experiment logs directory",
    "You're resuming from a checkpoint that ended before the epoch ended",  # condiff.data.index_sampler.Stream knows where
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
            with continue_sweep(), one_line_errors(config_name, cfg):  # here too, before Hydra adds lines of its own
                with no_folder_if_refused():
                    check_options(cfg, config_name)
                return main(cfg)

        @functools.wraps(main)
        def run() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra would print errors itself, and at length
            logging.raiseExceptions = False  # a log that cannot be written ends nothing, and is no traceback
            if not is_first_process():
                logging.disable(logging.WARNING)  # the first process says it
            for message in IGNORED_WARNINGS:
                warnings.filterwarnings("ignore", f".*{message}")
            with one_line_errors(config_name):
                sys.argv[1:] = flags_first(arguments(quote_for_hydra(sys.argv[1:])))
                check_choices(sys.argv[1:])
                check_folders(sys.argv[1:])
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(task)()

        return run

    return decorate


def job_folder(out: str | Path) -> Path:
    """``out``; in a sweep the folder of this job in it, named by its number and what it sets."""
    hydra_ = HydraConfig.get()
    if hydra_.mode != RunMode.MULTIRUN:
        return Path(out)
    return Path(out) / folder_name(f"{hydra_.job.num}_{hydra_.job.override_dirname.replace('+', '')}".rstrip("_"))


@contextmanager
def one_line_errors(config_name: str, cfg: DictConfig | None = None) -> Iterator[None]:
    """Bad input ends the program with one line and exit code 1, an interruption with 130."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted; files on disk are intact", file=sys.stderr)
        sys.exit(130)
    except (*INPUT_ERRORS, MemoryError, RuntimeError) as error:
        if not isinstance(error, INPUT_ERRORS) and not is_memory(error):
            raise
        if os.environ.get("CONDIFF_TRACEBACK") == "1":
            raise
        if is_first_process():
            print(f"error: {explain(error, config_name, cfg)}", file=sys.stderr)
        sys.exit(1)


@contextmanager
def continue_sweep() -> Iterator[None]:
    """Let the other jobs of a sweep with a table go on where one has bad input."""
    try:
        yield
    except SystemExit as ended:
        if ended.code != 1 or HydraConfig.get().mode != RunMode.MULTIRUN or "sweep" not in (HydraConfig.get().callbacks or ()):
            raise
        raise JobFailed from None


@contextmanager
def no_folder_if_refused() -> Iterator[None]:
    """A command that is refused leaves no folder, though Hydra has made it."""
    try:
        yield
    except InputError:
        folder = Path(HydraConfig.get().runtime.output_dir)
        if folder.resolve() != Path.cwd() and is_first_process():
            remove_traces(folder)
        raise


def check_options(cfg: DictConfig, config_name: str) -> None:
    """Raise InputError for the first option that breaks one of the three rules of `condiff.commands.options`."""
    words = HydraConfig.get().overrides.task
    check_kinds(defaults(config_name, *(word for word in words if "=" in word and group_folder(word).is_dir())))
    check_command(cfg, config_name)


@functools.cache
def defaults(config_name: str, *chosen: str) -> DictConfig:
    """The configuration of a command line that chooses from groups alone."""
    return hydra.compose(config_name, list(chosen))


def check_kinds(defaults: DictConfig) -> None:
    """Raise InputError for the first option on the command line that is of another kind than its default."""
    for override in overrides():
        key = override.key_or_group
        if not (override.is_delete() or group_folder(key).is_dir()):
            check_kind(key, _default(defaults, key), override.value())


def _default(defaults: DictConfig, key: str) -> Any:
    try:
        return plain(OmegaConf.select(defaults, key))
    except OmegaConfBaseException:  # it depends on what has no value yet
        return None


def overrides() -> list[Override]:
    """What the command line sets, parsed; without Hydra's own options."""
    return OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
