"""One-line messages, with the remedy, for errors of Hydra and OmegaConf."""

import re
from collections.abc import Iterator
from typing import Any

from hydra.errors import InstantiationException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, InterpolationToMissingValueError, MissingMandatoryValue

from condiff.commands.hints import missing_choice, misspelt_option
from condiff.configuration import CONF
from condiff.errors import InputError, is_memory
from condiff.files.atomic import FULL


def explain(error: Exception, config_name: str, cfg: DictConfig | None = None) -> str:
    """Returns the error as one line with the remedy; arguments of functions in ``cfg`` become options."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        place = next((line.split(": ", 1)[1] for line in str(error).splitlines() if line.startswith("full_key")), "")
        if not isinstance(error.__cause__, InputError):
            return f"{place}: {error.__cause__}"
        return with_option(str(error.__cause__), cfg, _group(place))
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    if is_memory(error):
        return (
            f"memory is too small for this ({first[:200]}); set fewer images at once (batch_size, data.batch_size), a smaller "
            "network or coarser images, or use a larger machine"
        )
    of_resolver = "Missing mandatory value: " in first and isinstance(error, InterpolationResolutionError)
    if isinstance(error, MissingMandatoryValue | InterpolationToMissingValueError) or of_resolver:
        key = next((line.split(": ", 1)[1] for line in lines if line.startswith("full_key")), first)
        key = key if isinstance(error, MissingMandatoryValue) else first.rsplit(": ", 1)[-1]
        return f"{key} has no value; give one on the command line, {key}=...{_purpose(key)}"
    if isinstance(error, OSError) and error.errno in FULL:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; free some space, or choose a folder on another disk (out=, hydra.run.dir=, data.cache=)"
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if first.startswith("Could not override"):
        return misspelt_option(first.split("'")[1], config_name)
    if first.startswith("Ambiguous value for argument"):
        word = first.split("'", 1)[1].rstrip("'")
        key, _, value = word.partition("=")
        hint = f"a sweep needs -m, a list brackets, {key}=[{value}], and one value that has commas quotes, \"{key}='{value}'\""
        return f"{word}: {hint}"
    if "Available options in" in str(error):
        begin = next(i for i, line in enumerate(lines) if line.startswith("Available options")) + 1
        end = next((i for i, line in enumerate(lines) if line.startswith("Config search path")), len(lines))
        group, _, choice = re.findall("'([^']*)'", first)[-1].rpartition("/")
        return missing_choice(group.replace("/", "."), choice, lines[begin:end])
    return with_option(" ".join(lines), cfg) if isinstance(error, InputError) else first


def _purpose(key: str) -> str:
    """Returns the comment of an option in conf/, in brackets; empty without one."""
    group, _, name = key.rpartition(".")
    lines = (line for path in sorted((CONF / group).glob("*.yaml")) for line in path.read_text().splitlines())
    comments = (line.partition(" # ")[2] for line in lines if line.startswith(f"{name}: ???"))
    comment = next(filter(None, comments), "")
    return f" ({comment})" if comment else ""


def with_option(message: str, cfg: DictConfig | None, place: str = "") -> str:
    """Returns a message about an argument, ``scale=-1: …``, with the option that sets it, ``guidance.scale=-1: …``.

    That is the option at ``place``, else the only one of that name and value in the functions and classes of ``cfg``. Other
    messages do not change.
    """
    name, equals, rest = message.partition("=")
    if cfg is None or not equals or not name.isidentifier() or name in cfg:
        return message
    options = dict(_options(cfg, name))
    if len(options) > 1:
        matches = {option: value for option, value in options.items() if option == f"{place}.{name}"}
        options = matches or {option: value for option, value in options.items() if rest.startswith((f"{value}:", f"{value},"))}
    return f"{next(iter(options))}={rest}" if len(options) == 1 else message


def _options(cfg: DictConfig, name: str, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields every option of that name of a node with a ``_target_``, and its value."""
    for key in map(str, cfg):
        node: Any = cfg._get_node(key)
        if OmegaConf.is_dict(node) and not node._is_none() and not node._is_missing() and not node._is_interpolation():
            if "_target_" in node and name in node:
                yield f"{prefix}{key}.{name}", str(node._get_node(name))
            yield from _options(node, name, f"{prefix}{key}.")


def _group(place: str) -> str:
    """Returns the group, ``net``, of a key that an interpolation copies it to, ``model.denoiser.net``."""
    names = place.split(".")
    return next((".".join(names[i:]) for i in reversed(range(len(names))) if (CONF / names[i]).is_dir()), place)


def _unreadable(word: str) -> str:
    key, equals, value = word.partition("=")
    if not equals:
        return f"cannot read '{word}' on the command line; options look like key=value"
    return f"cannot read '{word}' on the command line; close its brackets, or put the value in quotes, \"{key}='{value}'\""
