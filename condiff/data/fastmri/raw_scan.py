"""Raw data of a fastMRI file: its k-space, fully sampled or undersampled."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from condiff.data.fastmri.fields import (
    columns_of,
    faults_name,
    header_of,
    image_of,
    is_sound,
    kspace_of,
    live_coils,
    mask_of,
    rows_of,
    slices_of,
    text_of,
)
from condiff.data.volume import Volume
from condiff.errors import DataFault
from condiff.files import foreign, hdf5
from condiff.mri.fourier import readout_margins, remove_readout_oversampling


@dataclass(frozen=True)
class RawScan:
    """K-space as it was measured, fully sampled or undersampled.

    Attributes:
        volume: the record of the file.
        kspace: [S, K, rows, cols] of the valid slices and of the coils with signal; without readout oversampling where all
            samples of a readout are there.
        sampled: [rows, cols], true where k-space was sampled.
        fov_mm: along rows and columns.
        full: whether the acquisition is fully sampled.
        valid_slices: indices into the volume of the S slices; the rest are zero or not finite.
        shape: (rows, columns) of the file's own image.
        margins: [S, K, M, cols], the margins of an oversampled readout that were cut off: air, in which noise is measured.
    """

    volume: Volume
    kspace: Tensor
    sampled: Tensor
    fov_mm: tuple[float, float]
    full: bool
    valid_slices: list[int]
    shape: tuple[int, int]
    margins: Tensor | None = None


def read_raw_scan(path: Path) -> RawScan:
    """The k-space of a file.

    Raises:
        DataFault: the file cannot be read, lacks something, or has no valid slice.
    """
    with faults_name(path), hdf5.opened(path) as file:
        missing = [name for name in ("kspace", "ismrmrd_header") if not hdf5.holds(file, name)]
        missing += [name for name in ("acquisition",) if hdf5.attribute(file, name) is None]
        if missing:
            raise DataFault(f"lacks {', '.join(missing)}; give files of fastMRI's layout with k-space")
        header = header_of(file)
        stored, image = kspace_of(file, header), image_of(file, header)
        assert stored is not None
        mask = mask_of(file, header.matrix)
        acquisition, patient = text_of(file, "acquisition"), text_of(file, "patient_id")
        foreign.check_memory(8 * stored.size)
        all_slices = torch.stack([torch.from_numpy(values) for values in slices_of(stored)])
        valid_slices = [index for index, kspace in enumerate(all_slices) if is_sound(kspace)]
        if not valid_slices:
            raise DataFault("every slice of its k-space is zero or not finite; copy it again")
        kspace = all_slices if len(valid_slices) == len(all_slices) else all_slices[valid_slices]
        sampled = (kspace != 0).any(dim=0).any(dim=0)
        if mask is not None:
            of_mask = torch.from_numpy(mask)
            sampled, kspace = sampled & of_mask, kspace * of_mask
            if not sampled.any():
                raise DataFault("its mask leaves no sample of its k-space; copy it again")
    left, right = columns_of(header, sampled.any(dim=0).numpy())
    full = bool(sampled[:, left:right].all())
    kspace, fov, margins = live_coils(kspace), header.fov_mm, None
    if torch.equal(sampled.any(dim=0), sampled.all(dim=0)):  # readouts are sampled whole or not at all
        rows, margins = rows_of(header), readout_margins(kspace, header.recon_fov_mm[0] / header.fov_mm[0])
        kspace, sampled = torch.stack([remove_readout_oversampling(one, rows) for one in kspace]), sampled[:1].expand(rows, -1)
        fov = header.recon_fov_mm[0], header.fov_mm[1]
    header = replace(header, columns=(left, right))
    volume = Volume(path, acquisition, patient, acquisition, slices=len(all_slices), coils=kspace.shape[1], header=header)
    shape = image.shape[-2:] if image is not None else (sampled.shape[0],) * 2
    return RawScan(volume, kspace, sampled, fov, full, valid_slices, shape, margins)
