"""The help of a command, from the text of conf/: purpose, groups with their choices, options with their comments."""

import re
import shutil
import textwrap
from collections.abc import Iterator

from condiff.configuration import CONF
from condiff.errors import command

GROUP = re.compile(r"  - /?([\w/]+): (\w+)(?: # (.*))?$")  # a line of a list of defaults
OPTION = re.compile(r"(\w+): ?(.*?)(?: ?# (.*))?$")
COLUMN = 26  # where comments begin
FIELDS = "Every field of a group can be set: {group}.FIELD=VALUE. The groups and their fields are in {conf}"
HYDRA = "-m: a sweep over values that commas separate; --cfg job: print the configuration; --hydra-help: Hydra's own options"


def help_text(name: str) -> str:
    """Returns the help of a command, as wide as the terminal, at most 130 columns."""
    purpose, _, body = (CONF / f"{name}.yaml").read_text().partition("defaults:\n")
    defaults, _, options = body.partition("\n\n")
    groups = [match.groups("") for line in defaults.splitlines() if (match := GROUP.match(line))]
    lines = [_comment(purpose).replace(f"python {name}.py", command(name))]
    if groups:
        lines += ["", "Groups, GROUP=CHOICE; the default in brackets"]
        lines += [line for group in groups for line in _group(*group)]
    lines += ["", "Options, KEY=VALUE; the default is shown"]
    lines += [*_options(options, {group for group, *_ in groups}), ""]
    if groups:
        lines += [FIELDS.format(group=groups[0][0], conf=CONF)]
    return "\n".join([*lines, HYDRA])


def _group(name: str, default: str, comment: str) -> Iterator[str]:
    """Yields lines for the choices of a group and its subgroups; choices with a comment have a line each."""
    files = sorted((CONF / name).glob("*.yaml"), key=lambda file: (file.stem != default, file.stem))
    choices = "  ".join(f"[{file.stem}]" if file.stem == default else file.stem for file in files)
    yield _line(name.replace("/", "."), choices + (f" # {comment}" if comment else ""))
    for file in files:
        if purpose := _comment(file.read_text()):
            yield _line(f"  {file.stem}", purpose, shorten=True)
    for folder in sorted((CONF / name).glob("*/")):
        if default != "null":  # null: the checkpoint decides
            yield from _group(f"{name}/{folder.name}", _default(name, default, folder.name), "")


def _default(group: str, choice: str, inner: str) -> str:
    """Returns the choice of a subgroup that a choice of the group makes; if it makes none, that of the other choices."""
    files = [CONF / group / f"{choice}.yaml", *sorted((CONF / group).rglob("*.yaml"))]
    lines = (line for file in files for line in file.read_text().splitlines())
    matches = (match for match in map(GROUP.match, lines) if match and match[1] in (inner, f"{group}/{inner}"))
    return next((match[2] for match in matches), "null")


def _options(text: str, groups: set[str]) -> Iterator[str]:
    """Yields lines for the top-level keys, without groups and Hydra's own."""
    for match in filter(None, map(OPTION.match, text.splitlines())):
        if match[1] not in (*groups, "hydra"):
            yield _line(f"{match[1]}={textwrap.shorten(match[2], 40, placeholder=' …')}", match[3] or "")


def _comment(text: str) -> str:
    """Returns the comment at the beginning of a file, without Hydra's ``# @package``."""
    lines = [line for line in text.splitlines() if not line.startswith("# @package")]
    end = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:end])


def _line(name: str, text: str, shorten: bool = False) -> str:
    width = min(130, shutil.get_terminal_size((130, 24)).columns)
    if shorten:
        text = textwrap.shorten(text, width - COLUMN, placeholder=" …")
    wrapped = textwrap.wrap(f"  {name:<{COLUMN - 4}}  {text}", width, subsequent_indent=" " * COLUMN, break_on_hyphens=False)
    return "\n".join(wrapped)
