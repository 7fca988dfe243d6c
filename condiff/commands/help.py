"""The help of a command, from the text of conf/: purpose, options with their comments, groups with their choices."""

import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from condiff.configuration import CONF, cache_folder, choices_with
from condiff.errors import command

GROUP = re.compile(r"  - /?([\w/]+): (\w+)(?: # (.*))?$")  # a line of a list of defaults
OPTION = re.compile(r" *(\w+): ?(.*?)(?: ?# (.*))?$")
FIRST = {  # fields of groups that stand above the options of a command
    "train": ("data.root", "data.contrasts", "data.volumes_per_contrast", "data.batch_size", "data.steps_per_epoch",
              "trainer.max_epochs", "trainer.devices", "model.optimizer.lr"),
    "prepare": ("data.root", "data.contrasts", "data.volumes_per_contrast", "data.shard", "data.workers"),
}  # fmt: skip
COLUMN = 26  # where comments begin
FIELDS = "Every field of a group can be set: {group}.FIELD=VALUE. The groups and their fields are in {conf}"
HYDRA = "-m: a sweep over values that commas separate; --cfg job: print the configuration; --hydra-help: Hydra's own options"


def help_text(name: str) -> str:
    """Returns the help of a command, as wide as the terminal, at most 130 columns."""
    purpose, _, body = (CONF / f"{name}.yaml").read_text().partition("defaults:\n")
    groups = [match.groups("") for line in body.partition("\n\n")[0].splitlines() if (match := GROUP.match(line))]
    lines = [_comment(purpose).replace(f"python {name}.py", command(name)), "", "Options, KEY=VALUE; the default is shown"]
    lines += [_field(field, {group: choice for group, choice, _ in groups}) for field in FIRST.get(name, ())]
    lines += [_option(*option) for option in own_options(name)]
    if groups:
        lines += ["", "Groups, GROUP=CHOICE; the default in brackets"]
        lines += [line for group in groups for line in _group(*group)]
    lines += [""]
    if groups:
        lines += [FIELDS.format(group=groups[0][0], conf=CONF)]
    return "\n".join([*lines, HYDRA])


def own_options(name: str) -> Iterator[tuple[str, str, str]]:
    """Yields name, default and comment of the options of a command, without groups and what the program itself sets."""
    defaults, _, text = (CONF / f"{name}.yaml").read_text().partition("defaults:\n")[2].partition("\n\n")
    groups = {match[1] for line in defaults.splitlines() if (match := GROUP.match(line))}
    for match in map(OPTION.fullmatch, text.splitlines()):
        if match and not match[0].startswith(" ") and match[1] not in (*groups, "hydra"):
            key, value, comment = match.groups("")
            if inner := re.match(r"{(\w+): ([^,}]*)", value):  # data: {root: null}
                key, value = f"{key}.{inner[1]}", inner[2]
            if not comment.startswith("internal"):
                yield key, value, comment


def _field(name: str, chosen: dict[str, str]) -> str:
    """Returns the line of a field such as data.root: of the chosen file of its group, else of another that has the field."""
    group, *keys = name.split(".")
    choice = chosen[group]
    while (CONF / group / keys[0]).is_dir():
        choice, group = _default(group, choice, keys[0]), f"{group}/{keys.pop(0)}"
    for file in [CONF / group / f"{choice}.yaml", *sorted((CONF / group).glob("*.yaml"))]:
        if match := _line_of(file, keys):
            with_choice = "" if file.stem == choice else f"with {group}={'|'.join(choices_with(group, '.'.join(keys)))}: "
            return _option(name, match[2], with_choice + (match[3] or ""))
    raise KeyError(name)


def _line_of(file: Path, keys: Sequence[str]) -> re.Match[str] | None:
    """Returns the line of a yaml file that sets a field; None if it does not."""
    node, text = yaml.compose(file.read_text()), file.read_text().splitlines()
    for key in keys:
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        found = next(((name, value) for name, value in pairs if name.value == key), None)
        if found is None:
            return None
        line, node = text[found[0].start_mark.line], found[1]
    return OPTION.fullmatch(line)


def _option(name: str, value: str, comment: str) -> str:
    """Returns the line of an option; its default in words or, if that is another option's, with the other's name."""
    value = value.replace("${cache_folder:}", str(cache_folder())).replace("???", "DIR")
    value = re.sub(r"\$\{([\w.]+)\}", r"\1", re.sub(r"\$\{now:[^}]*\}", "TIME", value))
    return _line(f"{name}={textwrap.shorten(value, 50, placeholder=' …')}", comment)


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
