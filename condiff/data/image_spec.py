"""ImageSpec: the units and the grid of an image, how it is made from data, and the layout of its condition."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from condiff.data.conditioning import Conditioning
from condiff.data.transforms import Transform
from condiff.files.place import ALIGNED, ENDS, SLICE_MM, Place

# files of a volume -> slices or k-space, and the size of its pixels or its field of view in mm
Read = Callable[..., tuple[Tensor, tuple[float, float]]]


@dataclass(frozen=True)
class ImageSpec:
    """What an image is. Checkpoints store it, the data module makes images of it, and sampling needs nothing else of the data.

    Attributes:
        read: reads from the files of a volume what ``transform`` takes.
        transform: makes images [C, H, W] of it, and turns them back into magnitudes.
        conditioning: the layout of the condition [D], with the ranges of the training set.
        merge: acquisition -> the contrast it counts as; the rest keep their names.
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
        """The contrasts that the model can generate."""
        return self.conditioning.contrasts

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel, mm."""
        return self.transform.fov_mm / self.shape[-1]

    @property
    def reading(self) -> Mapping[str, Any]:
        """Plane, thickness and voxel size by which scans were read; empty for k-space and images of fastMRI's layout."""
        return getattr(self.read, "keywords", {})

    @property
    def slice_ends(self) -> tuple[str, str]:
        """Where the first and the last slice of a volume lie."""
        return ENDS[self.reading.get("plane", "axial")]

    def place(self, count: int) -> Place:
        """The place of ``count`` slices without a place of their own: of scans by their plane, else of unknown orientation."""
        shape, pixel_mm, reading = (count, *self.shape[1:]), (self.pixel_mm, self.pixel_mm), self.reading
        if "plane" not in reading:
            return Place.nominal(shape, pixel_mm)
        return Place.nominal(shape, pixel_mm, reading["slice_mm"] or SLICE_MM, reading["plane"], ALIGNED)

    def contrast_of(self, acquisition: str) -> str:
        """The contrast that an acquisition counts as."""
        return self.merge.get(acquisition, acquisition)
