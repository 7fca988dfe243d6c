"""ImageSpec: the units and the grid of an image, how it is made from data, and the layout of its condition."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from condiff.data.conditioning import Conditioning
from condiff.data.transforms import Transform

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

    def contrast_of(self, acquisition: str) -> str:
        """The contrast that an acquisition counts as."""
        return self.merge.get(acquisition, acquisition)
