"""The help of a command, read from the text of conf/: its purpose, groups with their choices, options with their comments."""

import re
import shutil
import textwrap
from collections.abc import Iterator

from condiff.configuration import CONF
from condiff.errors import command

GROUP = re.compile(r"  - /?([\w/]+): (\w+)(?: # (.*))?$")  # a line of a list of defaults
OPTION = re.compile(r"(\w+): ?(.*?)(?: ?# (.*))?$")
COLUMN = 26  # where comments begin
FIELDS = "Every field of a group can be set: {group}.FIELD=VALUE. The groups and their fields stand in {conf}"
HYDRA = "-m: a sweep over values that commas separate; --cfg job: print the configuration; --hydra-help: Hydra's own options"


def help_text(name: str) -> str:
    """The help of a command, at most as wide as the terminal, and as 130 columns."""
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
    """The choices of a group and of the groups inside it, those with a comment each in a line of its own."""
    files = sorted((CONF / name).glob("*.yaml"), key=lambda file: (file.stem != default, file.stem))
    choices = "  ".join(f"[{file.stem}]" if file.stem == default else file.stem for file in files)
    yield _line(name.replace("/", "."), choices + (f" # {comment}" if comment else ""))
    for file in files:
        if purpose := _comment(file.read_text()):
            yield _line(f"  {file.stem}", purpose, shorten=True)
    for folder in sorted((CONF / name).glob("*/")):
        if default != "null":  # where the checkpoint has chosen, these cannot be
            yield from _group(f"{name}/{folder.name}", _default(name, default, folder.name), "")


def _default(group: str, choice: str, inner: str) -> str:
    """What a choice of a group chooses in a group inside it; where it does not, what the others choose."""
    files = [CONF / group / f"{choice}.yaml", *sorted((CONF / group).rglob("*.yaml"))]
    lines = (line for file in files for line in file.read_text().splitlines())
    matches = (match for match in map(GROUP.match, lines) if match and match[1] in (inner, f"{group}/{inner}"))
    return next((match[2] for match in matches), "null")


def _options(text: str, groups: set[str]) -> Iterator[str]:
    """The keys at the top level, but for groups, and for what is Hydra's."""
    for match in filter(None, map(OPTION.match, text.splitlines())):
        if match[1] not in (*groups, "hydra"):
            yield _line(f"{match[1]}={textwrap.shorten(match[2], 40, placeholder=' …')}", match[3] or "")


def _comment(text: str) -> str:
    """The comment that a file begins with; ``# @package`` is Hydra's."""
    lines = [line for line in text.splitlines() if not line.startswith("# @package")]
    end = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:end])


def _line(name: str, text: str, shorten: bool = False) -> str:
    width = min(130, shutil.get_terminal_size((130, 24)).columns)
    if shorten:
        text = textwrap.shorten(text, width - COLUMN, placeholder=" …")
    wrapped = textwrap.wrap(f"  {name:<{COLUMN - 4}}  {text}", width, subsequent_indent=" " * COLUMN, break_on_hyphens=False)
    return "\n".join(wrapped)
