"""Sets of images, and which of them are looked at together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

POOLED = "pooled"
Rows = Mapping[str, int | None]  # title -> contrast, None: all


def rows(contrasts: Sequence[str], conditional: bool) -> Rows:
    """Each contrast, where the model knows them, and all together."""
    return ({name: index for index, name in enumerate(contrasts)} if conditional else {}) | {POOLED: None}


def kinds(table: Rows) -> Rows:
    """The contrasts among the rows, or all together where they are not known."""
    return {name: index for name, index in table.items() if index is not None} or table


@dataclass(frozen=True)
class Images:
    """Magnitudes [N, H, W] whose white is 1; of which contrast [N] and which patient [N] each is, as indices."""

    pixels: Tensor
    contrast: Tensor
    patient: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, chosen: Tensor | slice) -> Images:
        """Those chosen by indices, a mask or a slice."""
        return Images(self.pixels[chosen], self.contrast[chosen], self.patient[chosen])

    def __add__(self, other: Images) -> Images:
        pairs = (self.pixels, other.pixels), (self.contrast, other.contrast), (self.patient, other.patient)
        return Images(*map(torch.cat, pairs))

    def of(self, contrast: int | None) -> Tensor:
        """Mask [N] of the images of a contrast, None: of all."""
        return torch.ones(len(self), dtype=torch.bool) if contrast is None else self.contrast == contrast
