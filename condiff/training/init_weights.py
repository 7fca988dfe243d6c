"""Weights of a model for another condition: columns are matched by name."""

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from condiff.data.conditioning import Conditioning

WHOLE = re.compile(r"\bnet\.(cond|cond1\.0|cond2\.0)\.weight$")  # matrices that multiply the condition
FIELD = re.compile(r"\bnet\.tokens\.values\.(\d+)\.weight$")  # or one of its fields


def with_condition(state: Mapping[str, Tensor], known: Conditioning, wanted: Conditioning) -> dict[str, Tensor]:
    """The weights of a model of the condition ``known``, for ``wanted``.

    The matrices that multiply the condition, or one field of it, get the columns of the same names; those of new names are 0, so
    that a new contrast begins as no contrast. All other weights stay.
    """
    fields = [*zip(_by_field(known), _by_field(wanted), strict=False)]
    adapted = dict(state)
    for name, weight in state.items():
        if WHOLE.search(name):
            adapted[name] = _columns(weight, known.columns, wanted.columns)
        elif (match := FIELD.search(name)) and int(match[1]) < len(fields):
            adapted[name] = _columns(weight, *fields[int(match[1])])
    return adapted


def dropped(known: Conditioning, wanted: Conditioning) -> list[str]:
    """Names of what the condition ``known`` says and ``wanted`` does not: contrasts, acquisition parameters, sites."""
    lost = [column.split(" ") for column in known.columns if column not in wanted.columns]
    return [*dict.fromkeys(kind if kind not in ("contrast", "site") else " ".join([kind, *rest]) for kind, *rest in lost)]


def _by_field(conditioning: Conditioning) -> list[Sequence[str]]:
    """The names of the columns of each field."""
    ends = accumulate(conditioning.fields)
    return [conditioning.columns[end - size : end] for end, size in zip(ends, conditioning.fields, strict=True)]


def _columns(weight: Tensor, known: Sequence[str], wanted: Sequence[str]) -> Tensor:
    place = {name: index for index, name in enumerate(known)}
    zero = torch.zeros_like(weight[:, 0])
    return torch.stack([weight[:, place[name]] if name in place else zero for name in wanted], dim=1)
