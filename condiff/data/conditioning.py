"""Conditioning: what is known of an image as a float vector [D]. Nothing known is the zero vector."""

from collections.abc import Sequence

import torch
from torch import Tensor

from condiff.errors import InputError


class ContrastCondition:
    """The contrast, one-hot in the order of ``contrasts``."""

    def __init__(self, contrasts: Sequence[str]):
        self.contrasts = tuple(contrasts)

    @property
    def fields(self) -> tuple[int, ...]:
        """How many numbers say each of the things known; the vector is these, one after the other."""
        return (len(self.contrasts),)

    @property
    def dim(self) -> int:
        return sum(self.fields)

    def encode(self, contrast: str | None) -> Tensor:
        """[D]; None is nothing known. Raises InputError for a contrast that is not one of ``contrasts``."""
        if contrast is None:
            return torch.zeros(self.dim)
        if contrast not in self.contrasts:
            raise InputError(f"contrast={contrast}: unknown to this model; it has {', '.join(self.contrasts)}")
        return torch.eye(self.dim)[self.contrasts.index(contrast)]
