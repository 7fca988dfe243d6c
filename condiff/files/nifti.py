"""NIfTI volumes: images [S, H, W] with the size of their pixels; the rows keep the order of fastMRI's arrays."""

import re
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from torch import Tensor

from condiff.errors import InputError

SLICE_THICKNESS_MM = 5.0
DESCRIPTION = "synthetic (condiff)"


def save_nifti(folder: Path, images: Tensor, contrasts: Sequence[str], seeds: Sequence[int], pixel_mm: float) -> None:
    """One file per image [N, H, W], ``<contrast>_<seed>.nii.gz``: one axial slice, columns by rows, pixels in millimetres.

    Its orientation codes are 0, unknown: which side of fastMRI's arrays is the patient's left is not recorded. Of complex
    images the file holds the magnitude; their phase, in radians, is in ``<contrast>_<seed>_phase.nii.gz``.

    Raises:
        InputError: a contrast whose name cannot be part of a file's name (`file_stem`).
    """
    if images.is_complex():
        _save_nifti(folder, images.abs(), contrasts, seeds, pixel_mm, "")
        _save_nifti(folder, images.angle(), contrasts, seeds, pixel_mm, "_phase")
    else:
        _save_nifti(folder, images, contrasts, seeds, pixel_mm, "")


def file_stem(contrast: str) -> str:
    """The contrast's name as part of a file's name. Raises InputError for one that is no plain word, say ``../x``."""
    if not re.fullmatch(r"\w[\w+-]{0,99}", contrast):
        raise InputError(f"contrast {contrast!r}: not a plain word, so no file is named by it; letters, digits, _, + and - are")
    return contrast


def save_volume(path: Path, images: Tensor, pixel_mm: float, about: str = DESCRIPTION) -> None:
    """Images [S, H, W] as the slices of one NIfTI volume; its orientation is unknown, as in `save_nifti`."""
    values = images.float().cpu().numpy().transpose(2, 1, 0)
    affine = np.diag([pixel_mm, pixel_mm, SLICE_THICKNESS_MM, 1.0])
    affine[:2, 3] = [-(size - 1) / 2 * pixel_mm for size in values.shape[:2]]
    volume = nib.Nifti1Image(values, affine)
    volume.set_sform(affine, code=0)
    volume.set_qform(affine, code=0)
    volume.header.set_xyzt_units("mm")
    volume.header["descrip"] = about
    nib.save(volume, path)


def _save_nifti(
    folder: Path, images: Tensor, contrasts: Sequence[str], seeds: Sequence[int], pixel_mm: float, suffix: str
) -> None:
    names = [f"{file_stem(contrast)}_{seed:06d}{suffix}.nii.gz" for contrast, seed in zip(contrasts, seeds, strict=True)]
    folder.mkdir(parents=True, exist_ok=True)
    for image, name in zip(images, names, strict=True):
        save_volume(folder / name, image[None], pixel_mm)
