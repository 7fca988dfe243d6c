"""What people look at and what other programs read: PNG grids, GIF, HDF5, NIfTI.

Images here are magnitudes [N, H, W] whose white is 1. Rows of fastMRI's arrays run from the back of the
head to the front; pictures are drawn with the front at the top, files keep the order of the arrays.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import h5py
import nibabel as nib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from condiff.errors import InputError
from condiff.files.atomic import whole_hdf5

TILE = 128  # smaller images are enlarged to about this many pixels
MARGIN, GAP, HEADING = 84, 14, 20
SLICE_THICKNESS_MM = 5.0
DESCRIPTION = "synthetic (condiff)"
T = TypeVar("T")


def by_suffix(path: Path, savers: Mapping[str, T]) -> T:
    """The saver for a file's suffix; its folder is made. Raises InputError for a suffix that none has."""
    saver = next((save for suffix, save in savers.items() if path.name.lower().endswith(suffix)), None)
    if saver is None:
        raise InputError(f"{path}: unknown suffix; there are {', '.join(savers)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return saver


def tiles(images: Tensor) -> Image.Image:
    """Magnitudes [N, H, W] side by side, front of the head at the top."""
    strip = torch.cat(list(images.detach().float().cpu().flip(-2)), dim=1)
    factor = max(1, round(TILE / images.shape[-2]))
    picture = Image.fromarray((strip.clamp(0, 1) * 255).round().byte().numpy())
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)


def grid(columns: Mapping[str, Mapping[str, Tensor]]) -> Image.Image:
    """Blocks of tiles under headings, a labelled row each: {heading: {label: magnitudes [N, H, W]}}.

    The labels of the first column name the rows; another column may lack some.
    """
    labels = list(next(iter(columns.values())))
    blocks = {heading: {label: tiles(rows[label]) for label in rows if len(rows[label])} for heading, rows in columns.items()}
    blocks = {heading: rows for heading, rows in blocks.items() if rows}
    height = max(tile.height for rows in blocks.values() for tile in rows.values())
    font = ImageFont.load_default(size=13)
    widths = {
        heading: max(int(font.getlength(heading)) + 4, *(tile.width for tile in rows.values()))
        for heading, rows in blocks.items()
    }
    canvas = Image.new("L", (MARGIN + sum(widths.values()) + GAP * (len(widths) - 1), HEADING + height * len(labels)))
    draw, left = ImageDraw.Draw(canvas), MARGIN
    for row, label in enumerate(labels):
        draw.text((6, HEADING + row * height + height // 2 - 8), label, fill=255, font=font)
    for heading, rows in blocks.items():
        draw.text((left + 2, 2), heading, fill=255, font=font)
        for label, tile in rows.items():
            canvas.paste(tile, (left, HEADING + labels.index(label) * height))
        left += widths[heading] + GAP
    return canvas


def save_gif(path: Path, frames: Sequence[Image.Image], seconds: float = 4.0, hold: float = 2.0) -> None:
    """An endless animation of ``seconds``, the last frame held for ``hold`` more."""
    duration = [max(20, round(1000 * seconds / len(frames)))] * (len(frames) - 1) + [round(1000 * hold)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=duration, loop=0)


def save_h5(path: Path, images: Tensor, contrasts: Sequence[str], seeds: Sequence[int], **attributes) -> None:
    """``images`` [N, C, H, W] float32 as the model made them, with the contrast and the seed of each."""
    try:
        with whole_hdf5(path) as file:
            file["images"] = images.float().numpy()
            file.create_dataset("contrast", data=list(contrasts), dtype=h5py.string_dtype())
            file["seed"] = np.asarray(seeds, dtype=np.int64)
            file.attrs.update(attributes)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error}); free some space, or choose another folder, out=DIR") from None


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
