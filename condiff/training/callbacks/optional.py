"""What a training can do without."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from condiff.errors import NotANumber

log = logging.getLogger(__name__)


@contextmanager
def optional(name: str, step: int) -> Iterator[None]:
    """A warning where a sampler diverges on a young network, memory is short or the disk is full: no reason to stop training."""
    try:
        yield
    except (NotANumber, OSError, MemoryError, torch.OutOfMemoryError) as error:
        log.warning("no %s at step %d: %s", name, step, str(error).splitlines()[0] if str(error) else type(error).__name__)
