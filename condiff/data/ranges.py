"""Ranges of the acquisition parameters in the training images."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf, log
from typing import Any

from condiff.data.metadata import header_parameters
from condiff.data.volume import Volume
from condiff.errors import InputError

PARAMETERS: dict[str, Callable[[float], float]] = {  # parameter -> the scale on which it is encoded
    "slice": float, "tr": log, "te": log, "ti": log, "flip": float, "field": float,
}  # fmt: skip
Spans = Mapping[str, Sequence[float]]  # parameter -> lowest, highest
Ranges = Mapping[str, Spans]  # contrast -> those of its training images
WHOLE = (0.0, 1.0)  # of a volume, along its slices
NEVER = (1.0, 0.0)  # the range of what no image has


def measured(contrasts: Sequence[str], volumes: Iterable[Volume], slices: Sequence[float]) -> dict[str, dict[str, list[float]]]:
    """The ranges in the volumes of each contrast, of which ``slices``, from 0 to 1, are used."""
    ranges = {contrast: {"slice": [*slices]} for contrast in contrasts}
    for volume in volumes:
        for name, value in header_parameters(volume).items():
            lowest, highest = ranges[volume.contrast].get(name, (value, value))
            ranges[volume.contrast][name] = [min(lowest, value), max(highest, value)]
    return ranges


def check_ranges(ranges: Ranges) -> None:
    """Raises InputError for an unknown parameter, or anything but its lowest and highest value."""
    for contrast, spans in ranges.items():
        for name, span in spans.items():
            numbers = len(span) == 2 and all(isinstance(end, int | float) and 0 <= end < inf for end in span)
            if name not in PARAMETERS or not numbers or (PARAMETERS[name] is log and min(span) == 0):
                raise InputError(f"ranges: {name} of {contrast} is {list(span)}; lowest and highest of a parameter expected")


def hull(name: str, several: Iterable[Spans]) -> tuple[float, float]:
    """The lowest and the highest value of a parameter; `NEVER` where none has it."""
    spans = [spans[name] for spans in several if name in spans]
    return min((low for low, _ in spans), default=NEVER[0]), max((high for _, high in spans), default=NEVER[1])


def widened(scales: Spans, ranges: Ranges) -> dict[str, Sequence[float]]:
    """The scales; one is widened to hold the ranges of its parameter if these would be encoded below -2 or above 2."""
    result = dict(scales)
    for name, (low, high) in scales.items():
        lowest, highest = found = hull(name, ranges.values())
        if found == NEVER:
            continue
        begin, end, first, last = map(PARAMETERS[name], (low, high, lowest, highest))
        half = (end - begin) / 2
        if first < begin - half or last > end + half:
            result[name] = [min(low, lowest), max(high, highest)]
    return result


def scales_of(stored: Mapping[str, Any]) -> dict[str, list[float]]:
    """The scales for a model that begins with another's weights, of whose condition ``stored`` is the configuration.

    A parameter of which that model saw a single value has none.
    """
    ranges, scales = stored.get("ranges") or {}, stored.get("scales") or {}
    hulls = {name: [*hull(name, ranges.values())] for name in PARAMETERS if name != "slice"}
    return {name: [low, high] for name, (low, high) in (hulls | scales).items() if low < high}
