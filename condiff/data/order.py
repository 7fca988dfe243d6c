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
    """An order cut into epochs of ``length`` per process; a run resumed at any epoch sees what it would have seen."""

    def __init__(self, order: Order, length: int, rank: int = 0, world_size: int = 1):
        self.order, self.length, self.rank, self.world_size = order, length, rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls it before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        begin = self.epoch * self.length * self.world_size
        for position in range(begin + self.rank, begin + self.length * self.world_size, self.world_size):
            yield self.order(position)
