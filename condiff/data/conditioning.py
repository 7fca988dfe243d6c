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

from condiff.data.metadata import SEQUENCES, plain_words, volume_metadata
from condiff.data.ranges import NEVER, PARAMETERS, WHOLE, Ranges, Spans, check_ranges, hull, measured, widened
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

    def with_ranges_of(self, volumes: Iterable[Volume], slices: Sequence[float] = WHOLE) -> "Conditioning": ...

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

    def with_ranges_of(self, volumes: Iterable[Volume], slices: Sequence[float] = WHOLE) -> "ContrastCondition":
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
NAMES = ("agent", "sequence", "site", *PARAMETERS)
Features = Callable[[float], Tensor]  # a parameter's value, scaled to [-1, 1] -> [F]


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
        scales: parameter -> the range that is encoded as -1 to 1, of a model that began with another's weights.
        features: `piecewise_linear`, or `periodic` in older checkpoints.
        sites: of the training volumes; None before `with_ranges_of`. Empty in older checkpoints, and if none is known.
    """

    def __init__(
        self,
        contrasts: Sequence[str],
        ranges: Ranges | None = None,
        features: Features = periodic,
        sites: Sequence[str] | None = (),
        scales: Spans | None = None,
    ):
        for spans in (ranges or {}, {"scales": scales or {}}):
            check_ranges(spans)
        self.contrasts, self.ranges, self.features = tuple(contrasts), ranges, features
        self.sites, self.scales = None if sites is None else tuple(sites), scales or {}

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

    def with_ranges_of(self, volumes: Iterable[Volume], slices: Sequence[float] = WHOLE) -> "AcquisitionCondition":
        """A condition with the sites and ranges of some volumes, and of the ``slices`` used; itself if it has ranges already."""
        if self.ranges is not None:
            return self
        volumes = list(volumes)
        sites = tuple(sorted({volume.site for volume in volumes} - {""})) if self.sites is None else self.sites
        ranges = measured(self.contrasts, volumes, slices)
        return AcquisitionCondition(self.contrasts, ranges, self.features, sites, widened(self.scales, ranges))

    def scale(self, name: str) -> tuple[float, float]:
        """What is encoded as -1 and as 1."""
        if name == "slice":
            return WHOLE
        low, high = self.scales.get(name) or hull(name, (self.ranges or {}).values())
        return low, high

    def range_of(self, name: str, contrast: str | None) -> tuple[float, float]:
        """Lowest and highest value of a parameter in training, of a contrast or of all (None); 1 and 0 without any."""
        assert self.ranges is not None, "with_ranges_of() comes first"
        owners = self.contrasts if contrast is None else (contrast,)
        found = hull(name, [self.ranges.get(owner, {}) for owner in owners])
        return WHOLE if name == "slice" and found == NEVER else found  # older checkpoints record no slices

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
                lowest, highest = map(scale, self.scale(name))
                middle, half = (lowest + highest) / 2, (highest - lowest) / 2
                parts[-1] = self.features((scale(known[name]) - middle) / half if half else 0.0)
        site, sites = known.get("site"), self.sites or ()  # as it is in the training set, or in the table that it was read from
        return torch.cat([*parts, one_hot("site", site if not site or site in sites else plain_words(site), sites)])

    def _check(self, name: str, value: Any, contrast: str | None, extrapolate: bool) -> None:
        number = isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) < inf
        if not number or (value == 0 and PARAMETERS[name] is log):
            raise InputError(f"{name}={value}: give a number, in ms, degrees, T or, of the slice, from 0 to 1")
        lowest, highest = self.range_of(name, contrast)
        of = f" of {contrast}" if contrast else ""
        if not self._was_trained(name) or (lowest > highest and not extrapolate):
            raise InputError(f"{name}={value}: no training image{of} has one; leave it out")
        everywhere = self.range_of(name, None)
        if everywhere[0] == everywhere[1] != value:
            raise InputError(
                f"{name}={value}: all training images have {lowest:g}, so nothing was learned of other values; leave it out"
            )
        if not (extrapolate or lowest * (1 - 1e-6) <= value <= highest * (1 + 1e-6)):
            span = f"{lowest:g} to {highest:g}" if lowest < highest else f"{lowest:g}"
            others = [
                owner for owner in self.contrasts if self.range_of(name, owner)[0] <= value <= self.range_of(name, owner)[1]
            ]
            other = f" give contrast={others[0]}," if others else ""
            raise InputError(f"{name}={value}: the training images{of} have {span}; stay within,{other} or set extrapolate=true")

    def _was_trained(self, name: str) -> bool:
        lowest, highest = self.range_of(name, None)
        return lowest <= highest


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
