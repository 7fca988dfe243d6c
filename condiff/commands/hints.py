"""Suggestions for misspelt options and choices."""

import difflib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from condiff.commands.command_line import group_folder
from condiff.commands.help import own_options
from condiff.configuration import CONF, choices_with
from condiff.errors import command

SYNONYMS = {  # words of other programs -> the last part of an option
    "learning_rate": "lr", "bs": "batch_size", "gpus": "devices", "checkpoint": "ckpt", "output": "out", "n": "num_samples",
    "r": "acceleration", "cfg": "scale", "dir": "root", "path": "root", "data_dir": "root",
}  # fmt: skip
SIMILAR = 0.7  # of difflib, from 0 to 1
AS_GOOD = 0.1  # options this much less similar than the best are suggested, too
MOST = 3


def misspelt_option(key: str, config_name: str) -> str:
    """Returns the message for an option that does not exist: the group it belongs to, similar options, or all of the command."""
    groups = [word for word in sys.argv[1:] if "=" in word and group_folder(word).is_dir()]
    GlobalHydra.instance().clear()  # the program ends after this
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose(config_name, groups)
    group, _, field = key.partition(".")
    if group in config and field and (owners := choices_with(group, field)):
        return f"{key} {_belongs(group, field, owners)}"
    if names := similar_options(key, list(_keys(config))):
        return f"{key}: no such option; did you mean {' or '.join(names)}?"
    last = SYNONYMS.get(key.lower(), key)
    for group in (name for name in map(str, config) if (CONF / name).is_dir()):
        if owners := choices_with(group, last):
            return f"{key}: no such option; {group}.{last} {_belongs(group, last, owners)}"
    own = ", ".join(name for name, *_ in own_options(config_name))
    return f"{key}: no such option; there are {own}, and the fields of groups, see {command(config_name)} --help"


def similar_options(key: str, options: Sequence[str]) -> list[str]:
    """Returns at most three options that ``key`` may mean, the best first.

    Those of the same last part, ``lr`` for ``model.optimizer.lr``; else those that begin or end with it, ``epochs`` for
    ``trainer.max_epochs``; else those whose whole name or last part is spelt similarly.
    """
    words = [SYNONYMS.get(word, word) for word in key.lower().split(".")]
    name, last = ".".join(words), words[-1]
    same_group = [option for option in options if len(words) > 1 and option.startswith(f"{words[0]}.")]
    by_depth = sorted(same_group or options, key=lambda option: option.count("."))
    lasts = {option: option.rpartition(".")[2] for option in by_depth}
    matches = [option for option in by_depth if f".{option}".endswith(f".{name}")]
    matches = matches or [option for option in by_depth if lasts[option] == last]
    if not matches and len(last) > 2:
        matches = [option for option in by_depth if lasts[option].startswith(last) or lasts[option].endswith(f"_{last}")]
    if matches:
        return matches[:MOST]
    scores = {option: max(_ratio(name, option), _ratio(last, lasts[option]) - AS_GOOD / 2) for option in by_depth}
    best = max(scores.values(), default=0)
    ranked = sorted(scores, key=lambda option: -scores[option])
    return [option for option in ranked if scores[option] >= max(SIMILAR, best - AS_GOOD)][:MOST]


def missing_choice(group: str, choice: str, names: Sequence[str]) -> str:
    """Returns the message for a choice that does not exist, ``sampler=heum``."""
    similar = difflib.get_close_matches(choice, names, n=2)
    hint = f"did you mean {' or '.join(similar)}? There" if similar else "there"
    return f"{group}={choice}: no such choice; {hint} are {', '.join(names)}"


def _belongs(group: str, field: str, owners: Sequence[str]) -> str:
    choice = owners[0] if len(owners) == 1 else "..."
    return f"belongs to {group}={' or '.join(owners)}; write {group}={choice} {group}.{field}=..."


def _ratio(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b).ratio()


def _keys(config: DictConfig, prefix: str = "") -> Iterator[str]:
    """Yields the full names of all options; those that are copied from others, and Hydra's ``_target_``, are left out."""
    for key in map(str, config):
        node: Any = config._get_node(key)
        if not key.startswith("_"):
            yield f"{prefix}{key}"
        if OmegaConf.is_dict(node) and not (node._is_none() or node._is_missing() or node._is_interpolation()):
            yield from _keys(node, f"{prefix}{key}.")
