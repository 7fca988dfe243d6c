"""Data sets: the slices of some volumes, ready on the disk, with what is known of each."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from condiff.data.cache import Stack
from condiff.data.volume import Volume


class Sample(NamedTuple):
    """An image [C, H, W] and what is known of it [D]; in a batch [B, C, H, W] and [B, D]."""

    image: Tensor
    cond: Tensor


class Slices(Dataset[Sample]):
    """The slices of some volumes, ready on the disk, one read at a time.

    Args:
        stacks: the volumes' images.
        chosen: which slices of each.
        cond: [N, D].

    Attributes:
        volume, slice: [N], index into ``volumes`` and into the volume of each.
    """

    def __init__(self, volumes: list[Volume], stacks: list[Stack], chosen: list[range], cond: Tensor):
        self.volumes, self.stacks, self.chosen, self.cond = volumes, stacks, chosen, cond
        self.volume = torch.tensor([i for i, some in enumerate(chosen) for _ in some], dtype=torch.long)
        self.slice = torch.tensor([j for some in chosen for j in some], dtype=torch.long)

    def __len__(self) -> int:
        return len(self.volume)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.stacks[self.volume[index]][int(self.slice[index])], self.cond[index])

    @property
    def contrasts(self) -> list[str]:
        """Of every slice."""
        return [self.volumes[index].contrast for index in self.volume.tolist()]

    def images(self, chosen: Tensor | None = None) -> Tensor:
        """Those images, or all, [n, C, H, W]."""
        indices = range(len(self)) if chosen is None else chosen.tolist()
        if not len(indices):
            return torch.empty(0, *(self.stacks[0].shape[1:] if self.stacks else ()))
        return torch.stack([self[index].image for index in indices])

    def examples(self, contrast: str | None, n: int) -> Tensor:
        """At most n images of a contrast (None: of any), spread evenly over the set, [n, C, H, W]."""
        mine = torch.tensor([contrast in (None, volume.contrast) for volume in self.volumes], dtype=torch.bool)
        there = mine[self.volume].nonzero()[:, 0] if len(self) else torch.empty(0)
        return self.images(there[torch.linspace(0, len(there) - 1, min(n, len(there))).round().long()])
