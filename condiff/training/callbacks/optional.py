"""Parts of a training whose failure does not stop it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from condiff.errors import NotANumber

log = logging.getLogger(__name__)


@contextmanager
def optional(name: str, step: int) -> Iterator[None]:
    """Turns a diverged sampler, lack of memory or a full disk inside the block into a warning."""
    try:
        yield
    except (NotANumber, OSError, MemoryError, torch.OutOfMemoryError) as error:
        log.warning("no %s at step %d: %s", name, step, str(error).splitlines()[0] if str(error) else type(error).__name__)
