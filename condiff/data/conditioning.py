"""Conditioning: the condition of an image, a float vector [D].

It consists of fields, one after the other. An unknown field is zero, so the zero vector is the unconditional case.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf, log, pi
from numbers import Real
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor

from condiff.data.metadata import SEQUENCES, header_parameters, plain_words, volume_metadata
from condiff.data.volume import Volume
from condiff.errors import InputError

Known = Mapping[str, Any]  # parameter -> value
NOTHING: Known = MappingProxyType({})


class Conditioning(Protocol):
    """The layout of the condition.

    Attributes:
        contrasts: those of the training images.
        fields: lengths of the fields.
        columns: names of the D numbers.
        ranges: of the parameters in training, where there are any.
    """

    contrasts: tuple[str, ...]
    ranges: "Ranges | None"

    @property
    def fields(self) -> tuple[int, ...]: ...

    @property
    def dim(self) -> int: ...

    @property
    def columns(self) -> tuple[str, ...]: ...

    def with_ranges_of(self, volumes: Iterable[Volume]) -> "Conditioning": ...

    def encode_slices(self, volume: Volume, slices: Sequence[int]) -> Tensor: ...

    def encode(self, contrast: str | None, known: Known = NOTHING, extrapolate: bool = False) -> Tensor: ...


class ContrastCondition:
    """The contrast, one-hot in the order of ``contrasts``."""

    ranges = None

    def __init__(self, contrasts: Sequence[str]):
        self.contrasts = tuple(contrasts)

    @property
    def fields(self) -> tuple[int, ...]:
        return (len(self.contrasts),)

    @property
    def dim(self) -> int:
        return sum(self.fields)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"contrast {contrast}" for contrast in self.contrasts)

    def with_ranges_of(self, volumes: Iterable[Volume]) -> "ContrastCondition":
        """Itself: a contrast has no range."""
        return self

    def encode_slices(self, volume: Volume, slices: Sequence[int]) -> Tensor:
        """The conditions [S, D] of some slices of a volume."""
        return self.encode(volume.contrast).expand(len(slices), -1)

    def encode(self, contrast: str | None, known: Known = NOTHING, extrapolate: bool = False) -> Tensor:
        """The condition [D]; unconditional for None. Raises InputError for an unknown contrast, or for parameters."""
        check_names(known)
        if known:
            raise InputError(f"{next(iter(known))}: this model knows contrasts alone; train one with model=acquisition")
        return one_hot("contrast", contrast, self.contrasts)


AGENT = ("without", "with")  # contrast agent
PARAMETERS: dict[str, Callable[[float], float]] = {  # parameter -> the scale on which it is encoded
    "slice": float, "tr": log, "te": log, "ti": log, "flip": float, "field": float,
}  # fmt: skip
NAMES = ("agent", "sequence", "site", *PARAMETERS)
Features = Callable[[float], Tensor]  # a parameter's value, scaled to [-1, 1] -> [F]
Ranges = Mapping[str, Mapping[str, Sequence[float]]]  # contrast -> parameter -> lowest, highest


def piecewise_linear(value: float) -> Tensor:
    """Features [6] of a value: the value, 1, and its position in each quarter of [-1, 1], from -1 to 1 and constant outside it.

    The piecewise linear encoding of Gorishniy et al. 2022, eq. 1. Each contrast covers a small part of the total range, which
    the quarters stretch. The more two values differ, the more their features do; outside the range only the first one changes.
    """
    quarters = (4 * (value - torch.tensor([-0.75, -0.25, 0.25, 0.75]))).clamp(-1, 1)
    return torch.cat([torch.tensor([value, 1.0]), quarters])


def periodic(value: float) -> Tensor:
    """Features [6] of older checkpoints: the value, 1, and its sines and cosines of periods 2 and 1.

    They do not tell one end of the range from the other; `piecewise_linear` does.
    """
    phase = pi * value * torch.tensor([1.0, 2.0])
    return torch.cat([torch.tensor([value, 1.0]), phase.sin(), phase.cos()])


class AcquisitionCondition:
    """The contrast, the contrast agent, the sequence, the ``features`` of every parameter's value, and the site.

    Parameters: slice (position in the volume, 0 at the skull's base, 1 at the vertex), tr, te, ti (ms; ti of inversion
    recoveries only), flip (degrees), field (T). Values are scaled to [-1, 1] over their range in training.

    Args:
        ranges: of the parameters in training; None before `with_ranges_of`.
        features: `piecewise_linear`, or `periodic` in older checkpoints.
        sites: of the training volumes; None before `with_ranges_of`. Empty in older checkpoints, and if none is known.
    """

    def __init__(
        self,
        contrasts: Sequence[str],
        ranges: Ranges | None = None,
        features: Features = periodic,
        sites: Sequence[str] | None = (),
    ):
        for contrast, spans in (ranges or {}).items():
            for name, span in spans.items():
                numbers = len(span) == 2 and all(isinstance(end, int | float) and 0 <= end < inf for end in span)
                if name not in PARAMETERS or not numbers or (PARAMETERS[name] is log and min(span) == 0):
                    raise InputError(f"ranges: {name} of {contrast} is {list(span)}; lowest and highest of a parameter expected")
        self.contrasts, self.ranges, self.features = tuple(contrasts), ranges, features
        self.sites = None if sites is None else tuple(sites)

    @property
    def fields(self) -> tuple[int, ...]:
        of_parameters = (len(self.features(0.0)) for _ in PARAMETERS)
        return len(self.contrasts), len(AGENT), len(SEQUENCES), *of_parameters, *([len(self.sites)] if self.sites else [])

    @property
    def dim(self) -> int:
        return sum(self.fields)

    @property
    def columns(self) -> tuple[str, ...]:
        names = {"contrast": self.contrasts, "agent": AGENT, "sequence": SEQUENCES}
        one_hot_names = [f"{label} {name}" for label, entries in names.items() for name in entries]
        of_parameters = (f"{name} {index}" for name in PARAMETERS for index in range(len(self.features(0.0))))
        return *one_hot_names, *of_parameters, *(f"site {site}" for site in self.sites or ())

    def with_ranges_of(self, volumes: Iterable[Volume]) -> "AcquisitionCondition":
        """A condition with the sites and ranges of some volumes, except of contrasts whose ranges it has already."""
        volumes, known = list(volumes), self.ranges or {}
        sites = tuple(sorted({volume.site for volume in volumes} - {""})) if self.sites is None else self.sites
        ranges: dict[str, dict[str, list[float]]] = {contrast: {} for contrast in self.contrasts if contrast not in known}
        for volume in volumes:
            if volume.contrast in ranges:
                for name, value in header_parameters(volume).items():
                    lowest, highest = ranges[volume.contrast].get(name, (value, value))
                    ranges[volume.contrast][name] = [min(lowest, value), max(highest, value)]
        is_same = not ranges and sites == self.sites
        return self if is_same else AcquisitionCondition(self.contrasts, {**known, **ranges}, self.features, sites)

    def encode_slices(self, volume: Volume, slices: Sequence[int]) -> Tensor:
        """The conditions [S, D] of some slices of a volume."""
        metadata = volume_metadata(volume).items()
        known = {name: value for name, value in metadata if name not in PARAMETERS or self._was_trained(name)}
        known["site"] = known["site"] if known["site"] in (self.sites or ()) else None
        positions = [index / max(volume.slices - 1, 1) for index in slices]
        return torch.stack([self._encoded(volume.contrast, known | {"slice": at}) for at in positions])

    def encode(self, contrast: str | None, known: Known = NOTHING, extrapolate: bool = False) -> Tensor:
        """The condition [D].

        Raises:
            InputError: an unknown contrast, parameter, sequence or agent, or a value outside the range seen in training
                (of that contrast, where one is given) without ``extrapolate``.
        """
        check_names(known)
        for name in PARAMETERS:
            if known.get(name) is not None:
                self._check(name, known[name], contrast, extrapolate)
        return self._encoded(contrast, known)

    def _encoded(self, contrast: str | None, known: Known) -> Tensor:
        parts = [one_hot("contrast", contrast, self.contrasts)]
        parts += [one_hot(name, known.get(name), names) for name, names in (("agent", AGENT), ("sequence", SEQUENCES))]
        for name, scale in PARAMETERS.items():
            parts.append(torch.zeros_like(self.features(0.0)))
            if known.get(name) is not None:
                lowest, highest = map(scale, self._range(name, None))
                middle, half = (lowest + highest) / 2, (highest - lowest) / 2
                parts[-1] = self.features((scale(known[name]) - middle) / half if half else 0.0)
        site, sites = known.get("site"), self.sites or ()  # as it is in the training set, or in the table that it was read from
        return torch.cat([*parts, one_hot("site", site if not site or site in sites else plain_words(site), sites)])

    def _check(self, name: str, value: Any, contrast: str | None, extrapolate: bool) -> None:
        number = isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) < inf
        if not number or (value == 0 and PARAMETERS[name] is log):
            raise InputError(f"{name}={value}: give a number, in ms, degrees, T or, of the slice, from 0 to 1")
        lowest, highest = self._range(name, contrast)
        of = f" of {contrast}" if contrast else ""
        if not self._was_trained(name) or (lowest > highest and not extrapolate):
            raise InputError(f"{name}={value}: no training image{of} has one; leave it out")
        everywhere = self._range(name, None)
        if everywhere[0] == everywhere[1] != value:
            raise InputError(
                f"{name}={value}: all training images have {lowest:g}, so nothing was learned of other values; leave it out"
            )
        if not (extrapolate or lowest * (1 - 1e-6) <= value <= highest * (1 + 1e-6)):
            span = f"{lowest:g} to {highest:g}" if lowest < highest else f"{lowest:g}"
            others = [owner for owner in self.ranges or () if self._range(name, owner)[0] <= value <= self._range(name, owner)[1]]
            other = f" give contrast={others[0]}," if others else ""
            raise InputError(f"{name}={value}: the training images{of} have {span}; stay within,{other} or set extrapolate=true")

    def _was_trained(self, name: str) -> bool:
        lowest, highest = self._range(name, None)
        return lowest <= highest

    def _range(self, name: str, contrast: str | None) -> tuple[float, float]:
        """Lowest and highest value in training, of a contrast or of all (None)."""
        if name == "slice":
            return 0.0, 1.0
        assert self.ranges is not None, "with_ranges_of() comes first"
        spans = [ranges[name] for owner, ranges in self.ranges.items() if name in ranges and contrast in (None, owner)]
        return min((low for low, _ in spans), default=1.0), max((high for _, high in spans), default=0.0)


def check_names(known: Known) -> None:
    """Raises InputError for a name that is not in `NAMES`."""
    for name in known:
        if name not in NAMES:
            raise InputError(f"{name}: is no argument, and no parameter of the acquisition: those are {', '.join(NAMES)}")


def one_hot(label: str, name: str | None, names: Sequence[str]) -> Tensor:
    """One-hot encoding of a name; zero where it is None. Raises InputError where it is not among ``names``."""
    if name is None:
        return torch.zeros(len(names))
    if name not in names:
        raise InputError(f"{label}={name}: unknown to this model; it has {', '.join(names) or 'none'}")
    return torch.eye(len(names))[names.index(name)]
