"""The order of the training slices: an endless stream that depends on the seed alone, divided between the processes."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import Sampler

from condiff.seeds import derive_seed

IndexStream = Callable[[int], int]  # position in the stream -> slice


class ShuffledPasses:
    """An endless sequence of shuffled passes over some items: ``passes[position]``."""

    def __init__(self, items: Sequence[int], *seed: int | str):
        self.items, self.seed = items, seed
        self._pass, self._order = -1, [0]

    def __getitem__(self, position: int) -> int:
        number, index = divmod(position, len(self.items))
        if number != self._pass:
            generator = torch.Generator().manual_seed(derive_seed("order", *self.seed, number))
            self._pass, self._order = number, torch.randperm(len(self.items), generator=generator).tolist()
        return self.items[self._order[index]]


def shuffled(contrasts: Sequence[str], seed: int) -> IndexStream:
    """Draws every slice equally often."""
    return ShuffledPasses(range(len(contrasts)), seed).__getitem__


def balanced(contrasts: Sequence[str], seed: int) -> IndexStream:
    """Draws every contrast equally often, and within it every slice; fastMRI has eleven T2 for each T1."""
    names = sorted(set(contrasts))
    passes = [ShuffledPasses([i for i, contrast in enumerate(contrasts) if contrast == name], seed, name) for name in names]
    turns = ShuffledPasses(range(len(names)), seed)

    def order(position: int) -> int:
        return passes[turns[position]][position // len(names)]

    return order


class StreamSampler(Sampler[int]):
    """A stream cut into epochs of ``length`` per process. A resumed run continues the stream of the interrupted one.

    Args:
        start: position in the stream where a resumed run begins; its first epoch ends where the interrupted one would have.
    """

    def __init__(self, stream: IndexStream, length: int, rank: int = 0, world_size: int = 1, start: int | None = None):
        self.stream, self.length, self.rank, self.world_size = stream, length, rank, world_size
        self.epoch, self.start = 0, start

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before every epoch. In a resumed run the first call comes after the loading processes began."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        start = self.epoch * self.length if self.start is None else self.start
        self.start = None
        for position in range(start, (start // self.length + 1) * self.length):
            yield self.stream(position * self.world_size + self.rank)
