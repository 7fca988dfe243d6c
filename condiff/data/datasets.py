"""Data sets: slices of prepared volumes, each with its condition."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from condiff.data.cache import CachedVolume
from condiff.data.volume import Volume
from condiff.errors import counted


class Sample(NamedTuple):
    """An image [C, H, W] and its condition [D]; in a batch [B, C, H, W] and [B, D]."""

    image: Tensor
    cond: Tensor


class SliceDataset(Dataset[Sample]):
    """Slices of prepared volumes; each image is read from the disk on access.

    Args:
        stacks: the images of each volume.
        slice_ranges: which slices of each volume belong to the set.
        cond: conditions [N, D].

    Attributes:
        volume_index, slice_index: [N], of each item: its place in ``volumes``, and its slice of that volume.
    """

    def __init__(self, volumes: Sequence[Volume], stacks: Sequence[CachedVolume], slice_ranges: Sequence[range], cond: Tensor):
        self.volumes, self.stacks, self.slice_ranges, self.cond = list(volumes), list(stacks), list(slice_ranges), cond
        items = [(volume, index) for volume, indices in enumerate(slice_ranges) for index in indices]
        self.volume_index, self.slice_index = torch.tensor(items, dtype=torch.long).reshape(-1, 2).unbind(dim=1)

    def __len__(self) -> int:
        return len(self.volume_index)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.stacks[self.volume_index[index]][int(self.slice_index[index])], self.cond[index])

    @property
    def summary(self) -> str:
        """The numbers of volumes, patients and slices, in words."""
        patients = counted(len({volume.patient for volume in self.volumes}), "patient")
        return f"{counted(len(self.volumes), 'volume')} of {patients}, {counted(len(self), 'slice')}"

    @property
    def contrasts(self) -> list[str]:
        """The contrast of each slice."""
        return [self.volumes[index].contrast for index in self.volume_index.tolist()]

    def images(self, indices: Tensor | None = None) -> Tensor:
        """The images at ``indices`` [n], or all, [n, C, H, W]."""
        places = range(len(self)) if indices is None else indices.tolist()
        if not len(places):
            return torch.empty(0, *(self.stacks[0].shape[1:] if self.stacks else ()))
        return torch.stack([self[index].image for index in places])

    def spread_examples(self, contrast: str | None, n: int) -> Tensor:
        """At most n images of a contrast (None: of any), spread evenly over the set, [n, C, H, W]."""
        of_contrast = torch.tensor([contrast in (None, volume.contrast) for volume in self.volumes], dtype=torch.bool)
        indices = of_contrast[self.volume_index].nonzero()[:, 0] if len(self) else torch.empty(0)
        return self.images(indices[torch.linspace(0, len(indices) - 1, min(n, len(indices))).round().long()])
