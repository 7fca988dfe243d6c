"""The entry point of every command: Hydra, validation of options, and one-line errors.

CONDIFF_TRACEBACK=1 shows tracebacks.
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
IGNORED_WARNINGS = (  # of Lightning, about intended settings
    "does not have many workers",
    "Checkpoint directory .* exists",
    "Experiment logs directory",
    "You're resuming from a checkpoint that ended before the epoch ended",  # index_sampler.StreamSampler continues in place
    "The .*srun.* command",
    "isinstance.treespec",
    "smaller than the logging interval",
    "The dirpath has changed",
    "It is recommended to use .self.log..quality",  # measured by one process
)


def entry(config_name: str, arguments: Callable[[list[str]], list[str]] = list) -> Callable[[Main], Callable[[], None]]:
    """Decorator: composes ``conf/<config_name>.yaml`` with the command line, runs ``main``, exits with 1 on invalid input.

    A sweeper minimises the value that ``main`` returns. ``arguments`` rewrites the command line before Hydra reads it.
    """

    def decorate(main: Main) -> Callable[[], None]:
        @functools.wraps(main)
        def task(cfg: DictConfig) -> float | None:
            with continue_sweep(), one_line_errors(config_name, cfg):  # also here, before Hydra prints the error itself
                with no_folder_if_refused():
                    check_options(cfg, config_name)
                return main(cfg)

        @functools.wraps(main)
        def run() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints and exits itself
            logging.raiseExceptions = False  # a full disk under a log file is no error
            if not is_first_process():
                logging.disable(logging.WARNING)  # the first process logs
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
    """Returns ``out``; in a sweep its subfolder for this job, named by number and overrides."""
    hydra_ = HydraConfig.get()
    if hydra_.mode != RunMode.MULTIRUN:
        return Path(out)
    return Path(out) / folder_name(f"{hydra_.job.num}_{hydra_.job.override_dirname.replace('+', '')}".rstrip("_"))


@contextmanager
def one_line_errors(config_name: str, cfg: DictConfig | None = None) -> Iterator[None]:
    """Ends the program with one line and exit code 1 on invalid input inside the block, with 130 on an interruption."""
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
    """Lets the other jobs of a sweep continue if one has invalid input."""
    try:
        yield
    except SystemExit as ended:
        if ended.code != 1 or HydraConfig.get().mode != RunMode.MULTIRUN or "sweep" not in (HydraConfig.get().callbacks or ()):
            raise
        raise JobFailed from None


@contextmanager
def no_folder_if_refused() -> Iterator[None]:
    """Removes the folder that Hydra has made if the options are refused."""
    try:
        yield
    except InputError:
        folder = Path(HydraConfig.get().runtime.output_dir)
        if folder.resolve() != Path.cwd() and is_first_process():
            remove_traces(folder)
        raise


def check_options(cfg: DictConfig, config_name: str) -> None:
    """Raises InputError for the first option that breaks one of the three rules of `condiff.commands.options`."""
    words = HydraConfig.get().overrides.task
    check_kinds(defaults(config_name, *(word for word in words if "=" in word and group_folder(word).is_dir())))
    check_command(cfg, config_name)


@functools.cache
def defaults(config_name: str, *chosen: str) -> DictConfig:
    """Returns the configuration of a command with choices of groups alone."""
    return hydra.compose(config_name, list(chosen))


def check_kinds(defaults: DictConfig) -> None:
    """Raises InputError for the first option of the command line whose type differs from its default."""
    for override in overrides():
        key = override.key_or_group
        if not (override.is_delete() or group_folder(key).is_dir()):
            check_kind(key, _default(defaults, key), override.value())


def _default(defaults: DictConfig, key: str) -> Any:
    try:
        return plain(OmegaConf.select(defaults, key))
    except OmegaConfBaseException:  # it depends on a missing value
        return None


def overrides() -> list[Override]:
    """Returns the parsed overrides of the command line, without Hydra's own options."""
    return OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
