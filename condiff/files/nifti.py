"""NIfTI volumes: images [S, H, W] and their place."""

import re
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
from torch import Tensor

from condiff.errors import InputError
from condiff.files.place import Place

DESCRIPTION = "synthetic (condiff)"


def save_nifti(folder: Path, images: Tensor, contrasts: Sequence[str], seeds: Sequence[int], place: Place) -> None:
    """One file per image [N, H, W], ``<contrast>_<seed>.nii.gz``, a slice at ``place``.

    Of complex images the file holds the magnitude; their phase, in radians, is in ``<contrast>_<seed>_phase.nii.gz``.

    Raises:
        InputError: a contrast whose name cannot be part of a file's name (`file_stem`).
    """
    if images.is_complex():
        _save_nifti(folder, images.abs(), contrasts, seeds, place, "")
        _save_nifti(folder, images.angle(), contrasts, seeds, place, "_phase")
    else:
        _save_nifti(folder, images, contrasts, seeds, place, "")


def file_stem(contrast: str) -> str:
    """The contrast's name as part of a file's name. Raises InputError for one that is no plain word, say ``../x``."""
    if not re.fullmatch(r"\w[\w+-]{0,99}", contrast):
        raise InputError(f"contrast {contrast!r}: not a plain word, so no file is named by it; letters, digits, _, + and - are")
    return contrast


def save_volume(path: Path, images: Tensor, place: Place, about: str = DESCRIPTION) -> None:
    """Images [S, H, W] as the slices of one NIfTI volume, columns by rows by slices."""
    volume = nib.Nifti1Image(images.float().cpu().numpy().transpose(2, 1, 0), place.affine)
    volume.set_sform(place.affine, code=place.code)
    volume.set_qform(place.affine, code=place.code)
    volume.header.set_xyzt_units("mm")
    volume.header["descrip"] = about
    nib.save(volume, path)


def _save_nifti(folder: Path, images: Tensor, contrasts: Sequence[str], seeds: Sequence[int], place: Place, suffix: str) -> None:
    names = [f"{file_stem(contrast)}_{seed:06d}{suffix}.nii.gz" for contrast, seed in zip(contrasts, seeds, strict=True)]
    folder.mkdir(parents=True, exist_ok=True)
    for image, name in zip(images, names, strict=True):
        save_volume(folder / name, image[None], place)
