"""The order in which slices come: an endless stream that depends on the seed alone, shared by the processes."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import Sampler

from condiff.seeds import derive_seed

Order = Callable[[int], int]  # position in the stream -> slice


class Passes:
    """Shuffled passes over some items, one after the other: ``passes[position]``."""

    def __init__(self, items: Sequence[int], *seed: int | str):
        self.items, self.seed = items, seed
        self._turn, self._order = -1, [0]

    def __getitem__(self, position: int) -> int:
        turn, index = divmod(position, len(self.items))
        if turn != self._turn:
            generator = torch.Generator().manual_seed(derive_seed("order", *self.seed, turn))
            self._turn, self._order = turn, torch.randperm(len(self.items), generator=generator).tolist()
        return self.items[self._order[index]]


def shuffled(contrasts: Sequence[str], seed: int) -> Order:
    """Every slice equally often."""
    return Passes(range(len(contrasts)), seed).__getitem__


def balanced(contrasts: Sequence[str], seed: int) -> Order:
    """Every contrast equally often, and within it every slice: fastMRI has eleven T2 for a T1."""
    names = sorted(set(contrasts))
    passes = [Passes([i for i, contrast in enumerate(contrasts) if contrast == name], seed, name) for name in names]
    turns = Passes(range(len(names)), seed)

    def order(position: int) -> int:
        return passes[turns[position]][position // len(names)]

    return order


class Stream(Sampler[int]):
    """An order cut into epochs of ``length`` per process; a run resumed anywhere sees what it would have seen.

    Args:
        start: how much of the stream a resumed run has seen: the first pass begins there, and ends with that epoch.
    """

    def __init__(self, order: Order, length: int, rank: int = 0, world_size: int = 1, start: int | None = None):
        self.order, self.length, self.rank, self.world_size = order, length, rank, world_size
        self.epoch, self.start = 0, start

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls it before every epoch, but a resumed run's first only after processes that load have begun it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        start = self.epoch * self.length if self.start is None else self.start
        self.start = None
        for position in range(start, (start // self.length + 1) * self.length):
            yield self.order(position * self.world_size + self.rank)
