"""The reader of DICOM series: one volume of magnitudes, as slices of a plane."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from torch import Tensor

from condiff.data.dicom.frames import Frames, decoding, groups, opened, read_frames
from condiff.data.planes import Stack, averaged, head, stack_of
from condiff.errors import DataFault, printable
from condiff.files import foreign
from condiff.files.place import LPS


def read_slices(
    *paths: Path,
    plane: str = "axial",
    slice_mm: float | None = None,
    voxel_mm: Sequence[float] | None = None,
    resample_mm: float | None = None,
) -> tuple[Tensor, tuple[float, float]]:
    """Slices of the head [S, H, W] of a series' files, rescaled, and the pixel size along H and W in mm.

    Arguments and errors are those of `condiff.data.nifti.reader.read_slices`.
    """
    stack = averaged(head(read_stack(paths, plane, voxel_mm, resample_mm), plane), slice_mm)
    return stack.values, stack.voxel_mm[1:]


def read_stack(
    paths: Sequence[Path], plane: str = "axial", voxel_mm: Sequence[float] | None = None, resample_mm: float | None = None
) -> Stack:
    """All slices of a series, in a plane. Raises DataFault for a file that cannot be read, or another grid than the first's."""
    images: list[tuple[float, np.ndarray, np.ndarray]] = []
    first = read_frames(paths[0])
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    foreign.check_memory(8 * first.size[0] * first.size[1] * len(first.positions) * len(paths))
    for path in paths:
        frames = read_frames(path)
        if frames.size != first.size or not np.allclose(frames.orientation, first.orientation, atol=0.01):
            raise DataFault(f"{printable(path)}: lies on another grid than {paths[0].name}; give one series")
        for position, values in zip(frames.positions, _values(path), strict=True):
            images.append((float(normal @ np.array(position)), np.array(position), values))
    images.sort(key=lambda image: image[0])
    volume = np.stack([values.T for _, _, values in images], axis=-1)  # columns, rows, slices
    return stack_of(volume, affine(first, images[0][1], images[-1][1], len(images)), plane, voxel_mm, resample_mm)


def affine(frames: Frames, first: np.ndarray, last: np.ndarray, count: int) -> np.ndarray:
    """[4, 4], indices (column, row, slice) -> mm to the right, to the front and up (PS3.3 C.7.6.2.1.1)."""
    along_row, along_column = np.array(frames.orientation[:3]), np.array(frames.orientation[3:])
    step = (last - first) / max(count - 1, 1)
    columns = np.stack([along_row * frames.spacing[1], along_column * frames.spacing[0], step, first], axis=1)
    return np.vstack([LPS @ columns, [0, 0, 0, 1]])


def _values(path: Path) -> np.ndarray:
    """The rescaled values [F, rows, columns] of a file."""
    data = opened(path)
    try:
        pixels = np.asarray(data.pixel_array, dtype=np.float32)
    except Exception as error:  # pydicom has many, of missing decoders too
        syntax = data.file_meta.get("TransferSyntaxUID")
        remedy = "pip install pylibjpeg[all], or decompress it" if syntax and syntax.is_compressed else "copy it again"
        raise DataFault(f"{path.name}: its pixels {foreign.UNREADABLE} ({printable(error)[:200]}); {remedy}") from None
    with decoding():
        pixels = pixels if pixels.ndim == 3 else pixels[None]
        slopes, intercepts = np.array(_rescaling(data, len(pixels)), dtype=np.float32).T[:, :, None, None]
        return pixels * slopes + intercepts


def _rescaling(data: Dataset, count: int) -> list[tuple[float, float]]:
    """Slope and intercept of each frame."""
    if data.get("PerFrameFunctionalGroupsSequence"):
        found = []
        for frame in groups(data):
            items = [
                group["PixelValueTransformationSequence"][0] for group in frame if group.get("PixelValueTransformationSequence")
            ]
            item = items[0] if items else Dataset()
            found.append((float(item.get("RescaleSlope", 1)), float(item.get("RescaleIntercept", 0))))
        return found
    return [(float(data.get("RescaleSlope") or 1), float(data.get("RescaleIntercept") or 0))] * count
