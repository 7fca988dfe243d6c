"""What an image is to a model: made of which data, in which units, on which grid, and how its condition is laid out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from condiff.data.conditioning import Conditioning
from condiff.data.transforms import Transform

Read = Callable[
    [Path], tuple[Tensor, tuple[float, float]]
]  # path -> slices or k-space, and the size of its pixels or field of view


@dataclass(frozen=True)
class ImageSpec:
    """All that sampling needs to know of images. A checkpoint describes it, and the data module makes images of it.

    Attributes:
        read: from a file to what ``transform`` takes.
        transform: to images [C, H, W], and back to magnitudes.
        conditioning: the layout of the condition [D], with the ranges of the training set.
        merge: acquisition -> the contrast it counts as; others keep their name.
    """

    read: Read
    transform: Transform
    conditioning: Conditioning
    merge: Mapping[str, str] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """[C, H, W]."""
        return self.transform.shape

    @property
    def contrasts(self) -> tuple[str, ...]:
        """Those that can be asked for."""
        return self.conditioning.contrasts

    def contrast_of(self, acquisition: str) -> str:
        """The contrast that an acquisition counts as."""
        return self.merge.get(acquisition, acquisition)
