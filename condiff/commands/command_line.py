"""Translation of a command line to Hydra's grammar: paths are quoted, lists get brackets."""

import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf

from condiff.commands.options import is_number
from condiff.configuration import CONF
from condiff.errors import InputError, command
from condiff.files.atomic import check_links_stay_inside
from condiff.progress import is_first_process
from condiff.renamed import upgraded_word

TEXT_OPTIONS = {  # options that take a path or a name, which may contain = ( and ,
    "ckpt", "resume", "init", "teacher", "out", "cache", "data.root", "data.cache", "model.autoencoder", "guidance.weaker.ckpt",
    "hydra.run.dir", "hydra.sweep.dir", "name", "objective", "source", "maps",
}  # fmt: skip
LIST_OPTIONS = {"data.contrasts", "slices", "init_slices", "trust"}  # a single value is a list, too
LIST_ITEMS = re.compile(r"\s*-?[\w.]+\s*(,\s*-?[\w.]+\s*)*")
MULTIRUN = {"-m", "--multirun"}


def quote_for_hydra(words: Sequence[str]) -> list[str]:
    """Returns the command line in Hydra's grammar.

    Values of `TEXT_OPTIONS` are quoted if Hydra would parse them differently. A list without brackets, contrast=A,B, gets them,
    unless it is a sweep (-m). data.transform=complex chooses data/transform/complex.yaml. Names of version 0.1 become the
    present ones, with a line on the standard error.

    Raises:
        InputError: an option with dashes, or the folder of a run given to --config-path or --config-dir.
    """
    words, sweep = [_upgraded(word) for word in words], not MULTIRUN.isdisjoint(words)
    _check_flags(words)
    return [_quote_word(word, sweep) if "=" in word and not word.startswith("-") else word for word in words]


def flags_first(words: Sequence[str]) -> list[str]:
    """Returns the command line with Hydra's flags before all options, the order that Hydra needs."""
    flags, unknown = get_args_parser().parse_known_args(list(words))
    options = [*flags.overrides, *unknown]
    return [word for word in words if word not in options] + [word for word in words if word in options]


def check_choices(words: Sequence[str]) -> None:
    """Raises InputError for a choice that is no text, such as model=null or sampler=2."""
    for word in words:
        group = group_folder(word.lstrip("~"))
        if "=" not in word or not group.is_dir():
            continue
        try:
            value = OverridesParser.create().parse_override(word).value()
        except HydraException:
            continue  # Hydra reports it
        for choice in value.list if isinstance(value, ChoiceSweep) else [value]:
            if not isinstance(choice, str | list | QuotedString):
                names = ", ".join(path.stem for path in sorted(group.glob("*.yaml")))
                fields = [f"{group.name}.{field}" for field in _number_fields(group)] if is_number(choice) else []
                hint = f"; a number is for {' or '.join(fields)}" if 0 < len(fields) <= 2 else ""
                raise InputError(f"{word}: no such choice; there are {names}, or leave it out{hint}")


def check_folders(words: Sequence[str]) -> None:
    """Raises InputError if the given folder of a run holds links out of it; called before Hydra writes there."""
    for word in words:
        if word.startswith(("hydra.run.dir=", "hydra.sweep.dir=")):
            folder = Path(str(OverridesParser.create().parse_override(word).value()))
            if folder.is_dir():
                check_links_stay_inside(folder, folder)


def allow_checkpoint_fields(*groups: str) -> Callable[[list[str]], list[str]]:
    """Returns a rewriting of the command line: fields of ``groups``, unless chosen there, may exist in the checkpoint alone."""

    def rewrite(words: list[str]) -> list[str]:
        open_ = {group for group in groups if not any(word.startswith(f"{group}=") for word in words)}
        return [f"++{word}" if word.split(".")[0] in open_ and "=" in word else word for word in words]

    return rewrite


def group_folder(word: str) -> Path:
    """Returns the folder of choices of a word such as data=phantom or data/transform=complex; it need not exist."""
    return CONF / word.partition("=")[0].lstrip("+")


def _number_fields(group: Path) -> list[str]:
    """Returns the names of the fields of a group's files that are numbers."""
    files: list[Any] = [OmegaConf.to_container(OmegaConf.load(path)) for path in sorted(group.glob("*.yaml"))]
    return sorted({str(name) for fields in files for name, value in fields.items() if is_number(value)})


def _upgraded(word: str) -> str:
    present = upgraded_word(word)
    if present != word and is_first_process():
        old, new = word.partition("=")[0], present.partition("=")[0]
        print(f"note: {old} is now {new}" if old != new else f"note: {word} is now {present}", file=sys.stderr)
    return present


def _quote_word(word: str, sweep: bool) -> str:
    key, _, value = word.partition("=")
    name, group = key.lstrip("+"), key.replace(".", "/")
    if name in TEXT_OPTIONS:
        return f"{key}={_quoted(value, sweep)}"
    if LIST_ITEMS.fullmatch(value) and value != "null":
        if name in LIST_OPTIONS:
            return f"{key}={','.join(f'[{item}]' for item in value.split(','))}" if sweep else f"{key}=[{value}]"
        if name == "contrast" and "," in value and not sweep:
            return f"{key}=[{value}]"
    return f"{group}={value}" if "." in key and (CONF / group).is_dir() else word


def _quoted(value: str, sweep: bool) -> str:
    """Returns the value unchanged if Hydra parses it as that text, else in quotes; ``\\=`` and ~/ are resolved."""
    if value in ("", "null") or "${" in value:
        return value
    try:
        override = OverridesParser.create().parse_override(f"x={value}")
    except HydraException:
        if sweep and "," in value:
            return ",".join(_quoted(item, sweep) for item in value.split(","))
        return _in_quotes(os.path.expanduser(value))
    if value[0] in "'\"" or (sweep and override.is_sweep_override()):
        return value
    text = str(override.value()) if "\\" in value and not override.is_sweep_override() else value
    return value if override.value() == value else _in_quotes(text)


def _in_quotes(text: str) -> str:
    return QuotedString(text, Quote.single).with_quotes()


def _check_flags(words: Sequence[str]) -> None:
    flags, unknown = get_args_parser().parse_known_args(list(words))
    for word in unknown:
        if word.startswith("-"):
            option = word.lstrip("-")
            raise InputError(f"{word}: options have no dashes; write {option if '=' in option else f'{option}=...'}")
    folder = flags.config_path or flags.config_dir
    path = Path(folder or ".", f"{(flags.config_name or 'config').removesuffix('.yaml')}.yaml")
    if folder and path.is_file() and "overrides" in (config := OmegaConf.load(path)):
        words = shlex.join([str(word) for word in config.overrides])
        raise InputError(f"{folder}: is a run, not a folder of configurations; to repeat it: {command('train')} {words}")
