"""Images of one contrast made into another: what to start from, and the way there."""

from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import torch
from torch import Tensor

from condiff.data.datamodule import MRIDataModule
from condiff.data.fastmri import label
from condiff.data.transforms import Magnitude
from condiff.diffusion.denoiser import Denoise
from condiff.diffusion.editing import translation, variation
from condiff.diffusion.noise import SeededNoise
from condiff.diffusion.samplers import Sampler
from condiff.errors import InputError

NIFTI = (".nii", ".nii.gz")
AXIAL = (2, 1, 0)  # a RAS volume's axes as slices, rows from the back of the head to the front, columns


def read(path: Path, data: MRIDataModule) -> tuple[Tensor, str | None]:
    """Images [N, C, H, W] as the model knows them, and their contrast where the file tells.

    A volume of fastMRI's layout, samples of `sample.py`, or a NIfTI volume, whose axial slices are taken.

    Raises:
        InputError: no such file, another kind of file, or images of another size.
    """
    if not path.is_file():
        raise InputError(f"init={path}: no such file; give a volume (.h5 or .nii.gz) or samples.h5")
    if path.name.endswith(NIFTI):
        return _nifti(path, data), None
    try:
        with h5py.File(path) as file:
            if "images" in file:
                images, contrasts = torch.from_numpy(file["images"][()]), set(file["contrast"].asstr()[()])
                if images.shape[1:] != data.transform.shape:
                    raise InputError(
                        f"init={path}: its images are {list(images.shape[1:])}, the model's {list(data.transform.shape)}; "
                        "give those of the same model"
                    )
                return images, contrasts.pop() if len(contrasts) == 1 else None
    except (OSError, KeyError) as error:
        raise InputError(f"init={path}: not readable ({error}); give a volume (.h5 or .nii.gz) or samples.h5") from None
    merge = data.select.merge or {}
    acquisition = label(path).acquisition
    try:
        return data.transform(*data.ready.read(path))[0], merge.get(acquisition, acquisition) or None
    except (ValueError, torch.linalg.LinAlgError) as error:
        raise InputError(f"init={path}: {error}") from None


def _nifti(path: Path, data: MRIDataModule) -> Tensor:
    if not isinstance(data.transform, Magnitude):
        raise InputError(
            f"init={path}: holds magnitudes, and the model makes complex images; give k-space, or a model of magnitudes"
        )
    try:
        volume = nib.as_closest_canonical(nib.load(path))
        values = np.squeeze(np.asarray(volume.dataobj, dtype=np.float32))
    except (OSError, nib.filebasedimages.ImageFileError, EOFError) as error:
        raise InputError(f"init={path}: not readable as NIfTI ({error}); copy it again") from None
    values = values[:, :, None] if values.ndim == 2 else values
    if values.ndim != 3 or not np.isfinite(values).all() or values.max() <= 0:
        raise InputError(f"init={path}: is {values.shape}, empty or not finite; give one volume of magnitudes")
    width, height = (float(size) for size in volume.header.get_zooms()[:2])
    return data.transform(torch.from_numpy(values.transpose(AXIAL).copy()), (height, width))[0]


@torch.no_grad()
def translate(
    denoise: Denoise,
    images: Tensor,
    sigmas: Tensor,
    source: Tensor | None,
    target: Tensor | None,
    sampler: Sampler,
    strength: float | None,
    seeds: Sequence[int],
    on_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """[B, C, H, W] of the target's contrast: by `variation` with a strength, and without one by `translation`.

    Args:
        source, target: conditions [B, D].
        seeds: [B], of the noise that `variation` adds.
    """
    noise = SeededNoise(seeds)
    if strength is None:
        way = translation(denoise, images, sigmas, source, target)
    else:
        way = variation(denoise, sampler, images, sigmas, strength, target, noise=noise)
    for state in way:
        images = state
        on_step()
    return images
