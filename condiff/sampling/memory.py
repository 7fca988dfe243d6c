"""Work in batches that become smaller when memory runs out."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from condiff.errors import check_whole, is_memory

T = TypeVar("T")
R = TypeVar("R")


class Batches:
    """Splits items into batches; halves the batches, also those of later calls, when memory runs out.

    Attributes:
        size: items at once.
    """

    def __init__(self, size: int):
        check_whole("batch_size", size)
        self.size = size

    def map(self, work: Callable[[Sequence[T]], R], items: Sequence[T]) -> Iterator[R]:
        """Yields ``work(batch)`` of one batch after the other.

        Raises:
            MemoryError, torch.OutOfMemoryError: one item alone does not fit.
        """
        begin = 0
        while begin < len(items):
            batch = items[begin : begin + self.size]
            done = _attempt(work, batch)
            if done:
                yield done[0]
                begin += len(batch)
            else:
                torch.cuda.empty_cache()
                self.size = len(batch) // 2


def _attempt(work: Callable[[Sequence[T]], R], batch: Sequence[T]) -> list[R]:
    """Returns the result, or nothing if memory runs out. A function of its own: the traceback would hold all activations."""
    try:
        return [work(batch)]
    except (MemoryError, RuntimeError) as error:
        if len(batch) == 1 or not is_memory(error):
            raise
        return []
