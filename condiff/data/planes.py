"""Slices of a volume in a plane: checked, oriented by the affine, thin ones averaged, cut to the head."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np
import torch
from nibabel.processing import resample_to_output
from torch import Tensor

from condiff.data.header import FOV_MM, PIXEL_MM
from condiff.data.transforms import overlap
from condiff.errors import DataFault, InputError, counted
from condiff.files import foreign
from condiff.files.place import PLANES, SCANNER, Place

AXES = {name: [*map(int, np.argmax(directions, axis=1)[::-1])] for name, directions in PLANES.items()}  # slices, rows, columns
BRIGHT = 0.15  # of the 99 % quantile; air and most background is darker
HEAD_SHARE = 0.05  # of the bright pixels of the fullest slice, that a slice through the head has
HEAD_MM = 80.0, 350.0  # width and height of a head in a slice
COVERED_MM = 40.0  # by the slices of a volume, at least
SKULL_MM = 170.0  # from the vertex to the base of the skull, at most; axial slices further down show the neck
STRAIGHT = 0.01  # radians between an array's axis and the scanner's, at most
MIN_SLICES = 4
NEGATIVE = 0.05  # share of the voxels, at most: magnitudes have none, interpolation makes a few
THICK_MM = 3.0  # of a slice; thicker ones are no images from the side, unless pixels are half as large
WRONG_SIZE = "If the file has a wrong voxel size, give the true one, data.voxel_mm=[x,y,z]"


@dataclass(frozen=True)
class Stack:
    """Slices [S, H, W] of magnitudes, and where they lie.

    Attributes:
        affine: [4, 4], indices (column, row, slice) -> mm to the right, to the front and up.
        code: of `Place`.
    """

    values: Tensor
    affine: np.ndarray
    code: int = SCANNER

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        """Size of a voxel along slices, rows and columns, mm."""
        columns, rows, slices = (float(size) for size in nib.affines.voxel_sizes(self.affine))
        return slices, rows, columns

    @property
    def place(self) -> Place:
        return Place(self.affine, self.code)

    def part(self, first: int, last: int) -> "Stack":
        """The slices from ``first`` to ``last``, both included."""
        return replace(self, values=self.values[first : last + 1], affine=_moved(self.affine, slice_=first))


def stack_of(
    values: np.ndarray, affine: np.ndarray, plane: str, voxel_mm: Sequence[float] | None, resample_mm: float | None
) -> Stack:
    """The slices of an array in a plane, checked; options as of `condiff.data.nifti.reader.read_slices`.

    Raises:
        DataFault: values that are no magnitudes, slices seen from the side, or pixels that no image of a head has.
    """
    values, affine = cleaned(values), scaled(affine, voxel_mm)
    check_sides(voxel_of(affine), plane)
    stack = oriented(*straightened(values, affine, resample_mm), plane)
    check_pixels(stack)
    return stack


def oriented(values: np.ndarray, affine: np.ndarray, plane: str) -> Stack:
    """The slices of an array in the anatomical plane that is closest to one of its own; nothing is interpolated.

    Axial slices lie from the neck up, coronal ones from back to front, sagittal ones from left to right; rows lie from back to
    front or from below up, columns from left to right or from back to front.

    Raises:
        InputError: another plane.
        DataFault: an affine without three directions.
    """
    if plane not in PLANES:
        raise InputError(f"data.plane={plane}: there are {', '.join(PLANES)}")
    orientation = nib.io_orientation(affine) if np.isfinite(affine).all() else affine
    if not np.isfinite(orientation).all():
        raise DataFault(f"its affine {np.round(affine[:3], 3).tolist()} has no three directions; write sform or qform")
    ras = nib.orientations.apply_orientation(values, orientation)
    affine = affine @ nib.orientations.inv_ornt_aff(orientation, values.shape)
    slices, rows, columns = AXES[plane]
    return Stack(torch.from_numpy(np.ascontiguousarray(ras.transpose(AXES[plane]))), affine[:, [columns, rows, slices, 3]])


def cleaned(values: np.ndarray) -> np.ndarray:
    """Magnitudes: not a number becomes 0, and so do negative values. Raises DataFault for what makes no magnitudes."""
    values = np.nan_to_num(values, copy=True, nan=0.0, posinf=np.inf, neginf=-np.inf)
    if not np.isfinite(values).all() or values.max() <= 0:
        raise DataFault("is empty or not finite; give one volume of magnitudes")
    negative = float((values < 0).mean())
    if negative > NEGATIVE:
        raise DataFault(f"has {negative:.0%} negative values, as phase or normalised images do; give one volume of magnitudes")
    return values.clip(min=0)


def scaled(affine: np.ndarray, voxel_mm: Sequence[float] | None) -> np.ndarray:
    """The affine with other voxel sizes along the array's axes; itself for None."""
    if voxel_mm is None:
        return affine
    if len(voxel_mm) != 3 or not all(size > 0 for size in voxel_mm):
        raise InputError(f"data.voxel_mm={list(voxel_mm)}: give three sizes in mm, along the file's own axes")
    return affine @ np.diag([*(np.array(voxel_mm) / nib.affines.voxel_sizes(affine)), 1.0])


def straightened(values: np.ndarray, affine: np.ndarray, resample_mm: float | None) -> tuple[np.ndarray, np.ndarray]:
    """An oblique array resampled to cubes of ``resample_mm`` along the scanner's axes, by linear interpolation, and its affine.

    Straight arrays stay as they are, as all do for None.

    Raises:
        InputError: a size that is not positive, or more cubes than memory holds.
    """
    if resample_mm is None or not np.isfinite(nib.io_orientation(affine) if np.isfinite(affine).all() else affine).all():
        return values, affine
    if not resample_mm > 0:
        raise InputError(f"data.resample_mm={resample_mm}: give a size in mm, or null")
    if nib.affines.obliquity(affine).max() < STRAIGHT:
        return values, affine
    shape, _ = nib.spaces.vox2out_vox((values.shape, affine), [resample_mm] * 3)
    foreign.check_memory(8 * math.prod(shape))
    image = resample_to_output(nib.Nifti1Image(values, affine), [resample_mm] * 3, order=1)
    return np.asarray(image.dataobj), image.affine


def averaged(stack: Stack, slice_mm: float | None) -> Stack:
    """Thin slices averaged to slices of ``slice_mm``; those of two thirds of that and more stay as they are, as all do for None.

    Raises:
        InputError: a thickness that is not positive.
    """
    if slice_mm is None:
        return stack
    if not slice_mm > 0:
        raise InputError(f"data.slice_mm={slice_mm}: give a thickness in mm, or null")
    n, thickness = len(stack.values), stack.voxel_mm[0]
    count = int(n * thickness / slice_mm)
    if thickness >= 2 / 3 * slice_mm or not count:
        return stack
    values = torch.einsum("ms,shw->mhw", overlap(n, thickness, count, slice_mm), stack.values)
    affine = _moved(stack.affine, slice_=(n - 1) / 2)
    affine[:3, 2] *= slice_mm / thickness
    return replace(stack, values=values, affine=_moved(affine, slice_=-(count - 1) / 2))


def head(stack: Stack, plane: str) -> Stack:
    """The slices that show the head. Of axial ones those below the base of the skull are left out, by distance from the vertex.

    Raises:
        DataFault: too few slices, or a head whose size in millimetres cannot be true.
    """
    thickness, height, width = stack.voxel_mm
    bright = stack.values > BRIGHT * torch.quantile(stack.values.flatten()[:: 1 + stack.values.numel() // 10_000_000], 0.99)
    area = bright.sum(dim=(1, 2))
    shown = (area >= HEAD_SHARE * area.max()).nonzero()[:, 0].tolist()
    first, last = shown[0], shown[-1]
    if plane == "axial":
        first = max(first, last + 1 - round(SKULL_MM / thickness))
    count, covered = last + 1 - first, (last + 1 - first) * thickness
    size = _extent(bright[first : last + 1].any(dim=(0, 2))) * height, _extent(bright[first : last + 1].any(dim=(0, 1))) * width
    if count < MIN_SLICES:
        raise DataFault(f"shows the head in {counted(count, 'slice')}; {MIN_SLICES} or more expected")
    if covered < COVERED_MM or not all(HEAD_MM[0] <= side <= HEAD_MM[1] for side in size):
        voxel = f"{width:.3g} x {height:.3g} x {thickness:.3g} mm"
        raise DataFault(
            f"shows a head of {size[0]:.0f} x {size[1]:.0f} mm in {count} slices that cover {covered:.0f} mm, with voxels of "
            f"{voxel}; {HEAD_MM[0]:g} to {HEAD_MM[1]:g} mm, and slices that cover {COVERED_MM:g} mm, expected. {WRONG_SIZE}"
        )
    return stack.part(first, last)


def voxel_of(affine: np.ndarray) -> tuple[float, float, float] | None:
    """Size of a voxel, mm, to the right, to the front and up, along an array's closest axes; None without three directions."""
    axes = nib.io_orientation(affine)[:, 0] if np.isfinite(affine).all() else np.full(3, np.nan)
    if not np.isfinite(axes).all():
        return None
    right, front, up = (float(size) for _, size in sorted(zip(axes, nib.affines.voxel_sizes(affine), strict=True)))
    return right, front, up


def check_sides(voxel_mm: Sequence[float] | None, plane: str) -> None:
    """Raise DataFault for a scan of thick slices of another plane. ``voxel_mm`` as of `Volume`; nothing is known of None."""
    if voxel_mm is None or plane not in AXES:
        return
    _, rows, columns = AXES[plane]
    height, width = voxel_mm[rows], voxel_mm[columns]
    thick = max(height, width)
    if round(thick, 1) > THICK_MM and thick > 2 * min(height, width):
        own = next(name for name, axes in AXES.items() if axes[0] == (rows if height > width else columns))
        raise DataFault(
            f"is a scan of {own} slices {thick:.3g} mm thick, of which {plane} images have pixels of {width:.3g} x {height:.3g} "
            f"mm; move it out of the folder, or train on data.plane={own}"
        )


def check_pixels(stack: Stack) -> None:
    """Raise DataFault for pixels or a field of view that no image of a head has."""
    _, height, width = stack.voxel_mm
    fov = width * stack.values.shape[2], height * stack.values.shape[1]
    if not all(PIXEL_MM[0] <= size <= PIXEL_MM[1] for size in (width, height)) or not all(
        FOV_MM[0] <= size <= FOV_MM[1] for size in fov
    ):
        raise DataFault(
            f"has pixels of {width:.3g} x {height:.3g} mm over {fov[0]:.3g} x {fov[1]:.3g} mm; pixels of {PIXEL_MM[0]:g} to "
            f"{PIXEL_MM[1]:g} mm over {FOV_MM[0]:g} to {FOV_MM[1]:g} mm expected"
        )


def check_extent(shape: Sequence[int], voxel_mm: Sequence[float]) -> None:
    """Raises DataFault for an array that is too small to show a head, along any of its axes."""
    if min(shape) < MIN_SLICES:
        raise DataFault(f"has {counted(min(shape), 'slice')}; {MIN_SLICES} or more expected")
    extent = [n * size for n, size in zip(shape, voxel_mm, strict=True)]
    if min(extent) < COVERED_MM:
        covered, voxel = (" x ".join(f"{size:.3g}" for size in sizes) for sizes in (extent, voxel_mm))
        raise DataFault(f"covers {covered} mm with voxels of {voxel} mm; {COVERED_MM:g} mm or more expected. {WRONG_SIZE}")


def _extent(bright: Tensor) -> int:
    """Pixels from the first to the last bright one [N]."""
    indices = bright.nonzero()[:, 0]
    return int(indices[-1] - indices[0]) + 1 if len(indices) else 0


def _moved(affine: np.ndarray, slice_: float) -> np.ndarray:
    """The affine of an array that begins ``slice_`` slices later."""
    moved = affine.copy()
    moved[:3, 3] += slice_ * affine[:3, 2]
    return moved
