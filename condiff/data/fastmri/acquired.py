"""K-space as a fastMRI file has it, all of it or an undersampled part."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from condiff.data.fastmri.fields import (
    columns_of,
    header_of,
    image_of,
    is_sound,
    kspace_of,
    live_coils,
    mask_of,
    naming,
    rows_of,
    slices_of,
    text_of,
)
from condiff.data.volume import Volume
from condiff.errors import DataFault
from condiff.files import hdf5
from condiff.mri.fourier import readout_margins, remove_readout_oversampling


@dataclass(frozen=True)
class Acquired:
    """K-space as it was measured, all of it or an undersampled part.

    Attributes:
        volume: what the file says of itself.
        kspace: [S, K, rows, cols] of the good slices and coils with signal, without what the readout was oversampled by where
            readouts are whole.
        sampled: [rows, cols], true where it was.
        fov_mm: along rows and columns.
        full: whether all was sampled that was to be measured.
        good: their places in the volume; the others are zero or not finite.
        shape: (rows, columns) of the file's own image.
        margins: [S, K, M, cols] of the readout's margins, where it was oversampled and cropped: air, to measure noise in.
    """

    volume: Volume
    kspace: Tensor
    sampled: Tensor
    fov_mm: tuple[float, float]
    full: bool
    good: list[int]
    shape: tuple[int, int]
    margins: Tensor | None = None


def read_acquired(path: Path) -> Acquired:
    """All that a file has measured, fully sampled or not.

    Raises:
        DataFault: the file cannot be read, lacks something, or has no good slice.
    """
    with naming(path), hdf5.opened(path) as file:
        missing = [name for name in ("kspace", "ismrmrd_header") if not hdf5.holds(file, name)]
        missing += [name for name in ("acquisition",) if hdf5.attribute(file, name) is None]
        if missing:
            raise DataFault(f"lacks {', '.join(missing)}; give files of fastMRI's layout with k-space")
        about = header_of(file)
        found, image = kspace_of(file, about), image_of(file, about)
        assert found is not None
        mask = mask_of(file, about.matrix)
        acquisition, patient = text_of(file, "acquisition"), text_of(file, "patient_id")
        hdf5.check_memory(8 * found.size)
        every = torch.stack([torch.from_numpy(one) for one in slices_of(found)])
        good = [index for index, one in enumerate(every) if is_sound(one)]
        if not good:
            raise DataFault("every slice of its k-space is zero or not finite; copy it again")
        values = every if len(good) == len(every) else every[good]
        sampled = (values != 0).any(dim=0).any(dim=0)
        if mask is not None:
            taken = torch.from_numpy(mask)
            sampled, values = sampled & taken, values * taken
            if not sampled.any():
                raise DataFault("its mask leaves no sample of its k-space; copy it again")
    left, right = columns_of(about, sampled.any(dim=0).numpy())
    full = bool(sampled[:, left:right].all())
    values, fov, margins = live_coils(values), about.fov_mm, None
    if torch.equal(sampled.any(dim=0), sampled.all(dim=0)):
        rows, margins = rows_of(about), readout_margins(values, about.recon_fov_mm[0] / about.fov_mm[0])
        values, sampled = torch.stack([remove_readout_oversampling(one, rows) for one in values]), sampled[:1].expand(rows, -1)
        fov = about.recon_fov_mm[0], about.fov_mm[1]
    about = replace(about, columns=(left, right))
    volume = Volume(path, acquisition, patient, acquisition, slices=len(every), coils=values.shape[1], header=about)
    shape = image.shape[-2:] if image is not None else (sampled.shape[0],) * 2
    return Acquired(volume, values, sampled, fov, full, good, shape, margins)
