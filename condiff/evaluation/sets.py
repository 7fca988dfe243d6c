"""Sets of images to compare: samples, held-out and training images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

POOLED = "pooled"
FLIPS = range(4)  # ways to mirror an image: 1 left-right, 2 front-back, 3 both
Rows = Mapping[str, int | None]  # title -> index of the contrast; None: all


@dataclass(frozen=True)
class ImageSet:
    """Images with the contrast and the patient of each.

    Attributes:
        values: [N, H, W], magnitudes or complex, white 1.
        contrast: index [N], -1 without a contrast.
        patient: number [N].
    """

    values: Tensor
    contrast: Tensor
    patient: Tensor

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def pixels(self) -> Tensor:
        """Magnitudes [N, H, W]."""
        return self.values.abs() if self.values.is_complex() else self.values

    def __getitem__(self, index: Tensor | slice) -> ImageSet:
        """Return the images at indices, of a mask or of a slice."""
        return ImageSet(self.values[index], self.contrast[index], self.patient[index])

    def __add__(self, other: ImageSet) -> ImageSet:
        pairs = (self.values, other.values), (self.contrast, other.contrast), (self.patient, other.patient)
        return ImageSet(*map(torch.cat, pairs))

    def of_contrast(self, contrast: int | None) -> Tensor:
        """Return the mask [N] of the images of a contrast (None: of all)."""
        return torch.ones(len(self), dtype=torch.bool) if contrast is None else self.contrast == contrast


@dataclass(frozen=True)
class ImageSets:
    """The three sets of an evaluation.

    Attributes:
        samples: generated images; each counts as a patient.
        held_out: real images of patients that the model was not trained on.
        training: real images of training patients.
        contrasts: names, in the order of their indices.
        conditional: whether the samples were drawn by contrast.
        kind: of the held-out and training images, as pictures call them: "real", or "simulated" for the phantom.
    """

    samples: ImageSet
    held_out: ImageSet
    training: ImageSet
    contrasts: Sequence[str]
    conditional: bool
    kind: str = "real"

    def of_real(self, measure: Callable[[ImageSet], Tensor]) -> Tensor:
        """Return what is measured of the held-out, then of the training images; these are not copied."""
        return torch.cat([measure(self.held_out), measure(self.training)])

    @property
    def contrast_rows(self) -> Rows:
        """Each contrast; for an unconditional model all together."""
        return {name: index for index, name in enumerate(self.contrasts)} if self.conditional else {POOLED: None}

    @property
    def rows(self) -> Rows:
        """Rows of the table: each contrast, then all together unless there is only one."""
        return {**self.contrast_rows, POOLED: None} if len(self.contrast_rows) > 1 else self.contrast_rows


def mirror(pixels: Tensor, flip: int) -> Tensor:
    """Return images [..., H, W] mirrored by one of `FLIPS`; a second call undoes it."""
    return pixels.flip([axis for axis, bit in ((-1, 1), (-2, 2)) if flip & bit])
