"""Sampling masks of accelerated scans: functions from a shape to a random mask.

All take ``shape`` (rows, columns; rows are the readout), the acceleration R to aim at, ``center_fraction``, the share of columns
(of each side, where the mask is two-dimensional) about the center that is sampled without gaps, and a generator. They return a
boolean mask [rows, columns], whose true R `acceleration` computes.
"""

import torch
from torch import Tensor

from condiff.errors import InputError

BISECTIONS = 12  # of the slope of the Poisson disc's radius


def acceleration(mask: Tensor) -> float:
    """Returns the true R: the number of positions over the number of samples."""
    return mask.numel() / int(mask.sum())


def random(shape: tuple[int, int], acceleration: float, center_fraction: float, generator: torch.Generator) -> Tensor:
    """Columns of equal probability, as fastMRI's RandomMaskFunc (Zbontar et al. 2018, section 4.9): R holds on average."""
    cols, middle = shape[1], _center(shape[1], center_fraction, acceleration)
    share = _share(cols, acceleration, int(middle.sum()))
    return _columns(shape, middle | (torch.rand(cols, generator=generator) < share))


def equispaced(shape: tuple[int, int], acceleration: float, center_fraction: float, generator: torch.Generator) -> Tensor:
    """Every R-th column from a random first, plus the center: the true R is smaller (fastMRI's EquiSpacedMaskFunc)."""
    middle = _center(shape[1], center_fraction, acceleration)
    first = int(torch.randint(round(acceleration), (1,), generator=generator))
    return _columns(shape, middle | _every(shape[1], round(acceleration), first))


def equispaced_fraction(
    shape: tuple[int, int], acceleration: float, center_fraction: float, generator: torch.Generator
) -> Tensor:
    """Columns evenly spaced such that with the center the true R is ``acceleration`` (fastMRI's EquispacedMaskFractionFunc)."""
    cols, middle = shape[1], _center(shape[1], center_fraction, acceleration)
    spacing = 1 / _share(cols, acceleration, int(middle.sum()))
    first = float(torch.rand(1, generator=generator)) * spacing
    return _columns(shape, middle | _every(cols, spacing, first))


def gaussian1d(shape: tuple[int, int], acceleration: float, center_fraction: float, generator: torch.Generator) -> Tensor:
    """Columns drawn without replacement, with Gaussian density: its standard deviation is a sixth of the width."""
    cols, middle = shape[1], _center(shape[1], center_fraction, acceleration)
    number = max(round(cols / acceleration) - int(middle.sum()), 1)
    position = (torch.arange(cols) - cols // 2) / (cols / 6)
    density = (-position.square() / 2).exp() * ~middle
    middle[torch.multinomial(density, number, generator=generator)] = True
    return _columns(shape, middle)


def poisson(shape: tuple[int, int], acceleration: float, center_fraction: float, generator: torch.Generator) -> Tensor:
    """A Poisson disc in both directions whose radius grows away from the centre (Bridson 2007; Vasanawala et al. 2011).

    Points come in random order; one is taken if no other lies within its radius, which grows linearly with the distance from
    the centre. Bisection finds the slope that gives R. For 3D scans: it needs two phase-encoding directions.
    """
    _check(shape[1], center_fraction, acceleration)
    rows, cols = (torch.linspace(-1, 1, n) for n in shape)
    distance = (rows[:, None].square() + cols.square()).sqrt().clamp(max=1)
    rate = acceleration**0.5  # along each side
    middle = _center(shape[0], center_fraction, rate)[:, None] & _center(shape[1], center_fraction, rate)
    order = torch.randperm(distance.numel(), generator=generator)
    target = distance.numel() / acceleration
    low, high = 0.0, float(max(shape))
    best = torch.ones(shape, dtype=torch.bool)
    for _ in range(BISECTIONS):
        slope = (low + high) / 2
        mask = _disc(0.5 + slope * distance, order) | middle
        low, high = (slope, high) if mask.sum() > target else (low, slope)
        if abs(float(mask.sum()) - target) < abs(float(best.sum()) - target):
            best = mask
    return best


def acs_size(mask: Tensor) -> tuple[int, int]:
    """Returns rows and columns of the ACS: the block about the centre without gaps, as square as possible; (0, 0) if none."""
    sides = [1, 1]
    if not mask[mask.shape[0] // 2, mask.shape[1] // 2]:
        return 0, 0
    going = [True, True]
    while any(going):
        for axis in (0, 1):
            if going[axis]:
                wider = [side + (axis == i) for i, side in enumerate(sides)]
                begins = [n // 2 - side // 2 for n, side in zip(mask.shape, wider, strict=True)]
                block = mask[begins[0] : begins[0] + wider[0], begins[1] : begins[1] + wider[1]]
                going[axis] = wider[axis] <= mask.shape[axis] and bool(block.all())
                sides = wider if going[axis] else sides
    return sides[0], sides[1]


def _disc(radius: Tensor, order: Tensor) -> Tensor:
    """Returns a mask of the points, in ``order``, that have no earlier one within their ``radius`` [rows, cols]."""
    rows, cols = radius.shape
    free = torch.ones(rows, cols, dtype=torch.bool).numpy()
    points = torch.zeros(rows, cols, dtype=torch.bool).numpy()
    reach = radius.ceil().int().numpy()
    squared_radius = radius.square().numpy()
    offsets = {}
    for place in order.tolist():
        i, j = divmod(place, cols)
        if not free[i, j]:
            continue
        points[i, j] = True
        size = int(reach[i, j])
        if size not in offsets:
            axis = torch.arange(-size, size + 1)
            offsets[size] = (axis[:, None] ** 2 + axis**2).numpy()
        top, left = max(i - size, 0), max(j - size, 0)
        bottom, right = min(i + size + 1, rows), min(j + size + 1, cols)
        part = offsets[size][top - i + size : bottom - i + size, left - j + size : right - j + size]
        free[top:bottom, left:right] &= part >= squared_radius[i, j]
    return torch.from_numpy(points)


def _check(n: int, share: float, acceleration: float) -> None:
    """Raises InputError for an acceleration or a share that a mask of n lines cannot have."""
    if not isinstance(acceleration, int | float) or not 1 <= acceleration <= n:
        raise InputError(f"acceleration={acceleration}: give a number from 1 to the number of lines, {n}")
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise InputError(f"center_fraction={share}: give the share that is sampled without gaps, from 0 to 1")


def _center(n: int, share: float, acceleration: float) -> Tensor:
    """Returns the middle ``share`` of n lines [n], as in fastMRI's masks. Raises InputError if it is invalid or R allows less."""
    _check(n, share, acceleration)
    number = round(n * share)
    if number >= n / acceleration and acceleration > 1:
        raise InputError(
            f"center_fraction={share}: {number} of {n} lines, and R = {acceleration:g} allows {n / acceleration:.0f}; "
            "give a smaller one, or a smaller acceleration"
        )
    position, begin = torch.arange(n), (n - number + 1) // 2
    return (position >= begin) & (position < begin + number)


def _share(n: int, acceleration: float, centre: int) -> float:
    """Returns the share of the n - centre other lines that is sampled."""
    return (n / acceleration - centre) / (n - centre) if centre < n else 1.0


def _every(n: int, spacing: float, first: float) -> Tensor:
    mask = torch.zeros(n, dtype=torch.bool)
    places = torch.arange(first, n, spacing).floor().long()
    mask[places[places < n]] = True
    return mask


def _columns(shape: tuple[int, int], columns: Tensor) -> Tensor:
    return columns.expand(shape).clone()
