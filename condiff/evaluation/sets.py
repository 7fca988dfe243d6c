"""Sets of images: who is compared with whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

POOLED = "pooled"
FLIPS = range(4)  # ways to mirror an image: 1 left-right, 2 front-back, 3 both
Rows = Mapping[str, int | None]  # title -> contrast, None: all


@dataclass(frozen=True)
class Images:
    """Images [N, H, W], magnitudes or complex, whose white is 1; of which contrast and which patient each is, indices [N]."""

    values: Tensor
    contrast: Tensor
    patient: Tensor

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def pixels(self) -> Tensor:
        """Magnitudes [N, H, W]."""
        return self.values.abs() if self.values.is_complex() else self.values

    def __getitem__(self, index: Tensor | slice) -> Images:
        """Those chosen by indices, a mask or a slice."""
        return Images(self.values[index], self.contrast[index], self.patient[index])

    def __add__(self, other: Images) -> Images:
        pairs = (self.values, other.values), (self.contrast, other.contrast), (self.patient, other.patient)
        return Images(*map(torch.cat, pairs))

    def of_contrast(self, contrast: int | None) -> Tensor:
        """Mask [N] of the images of a contrast, None: of all."""
        return torch.ones(len(self), dtype=torch.bool) if contrast is None else self.contrast == contrast


@dataclass(frozen=True)
class ImageSets:
    """Samples, real images of patients the model never saw, and those it learned from.

    Args:
        samples: each a patient of its own; of contrast -1 where the model knows none.
        contrasts: names of the contrasts, in the order of their indices.
        conditional: whether the samples were drawn by contrast.
    """

    samples: Images
    held_out: Images
    training: Images
    contrasts: Sequence[str]
    conditional: bool

    @cached_property
    def real(self) -> Images:
        """Held-out images, then training images."""
        return self.held_out + self.training

    @property
    def contrast_rows(self) -> Rows:
        """Each contrast, or all together where the model knows none."""
        return {name: index for index, name in enumerate(self.contrasts)} if self.conditional else {POOLED: None}

    @property
    def rows(self) -> Rows:
        """Of a table: each contrast, then all together where that is something else."""
        return {**self.contrast_rows, POOLED: None} if len(self.contrast_rows) > 1 else self.contrast_rows


def mirror(pixels: Tensor, flip: int) -> Tensor:
    """Images [..., H, W] mirrored by one of `FLIPS`, which is its own inverse."""
    return pixels.flip([axis for axis, bit in ((-1, 1), (-2, 2)) if flip & bit])
