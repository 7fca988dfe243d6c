"""What an evaluation compares: magnitudes of real and of generated images, with the contrast and the patient of each."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from condiff.data.datasets import SliceDataset
from condiff.data.image_spec import ImageSpec
from condiff.evaluation.sets import Images
from condiff.sampling import SampleRequest
from condiff.seeds import derive_seed

MOST = 5000  # real images of a part that memory is asked to hold


def real_images(spec: ImageSpec, *parts: SliceDataset, most: int = MOST) -> Images:
    """The slices of some parts of the data, say ``data.val, data.test``; of each at most so many, evenly spread."""
    contrasts = spec.contrasts
    values, contrast, patient = [spec.transform.image(torch.empty(0, *spec.shape))], [], []
    for part in parts:
        if not len(part):
            continue
        chosen = _spread(part, most)
        values.append(spec.transform.image(part.images(chosen)))
        volumes = [part.volumes[index] for index in part.volume_index[chosen]]
        contrast += [contrasts.index(volume.contrast) for volume in volumes]
        patient += [derive_seed(volume.patient) for volume in volumes]
    return Images(torch.cat(values), torch.tensor(contrast, dtype=torch.long), torch.tensor(patient, dtype=torch.long))


def sources(part: SliceDataset, most: int = MOST) -> list[tuple[Path, int]]:
    """File and slice of each image that `real_images` takes from a part of the data."""
    chosen = _spread(part, most)
    files = (part.volumes[index].path for index in part.volume_index[chosen].tolist())
    return list(zip(files, part.slice_index[chosen].tolist(), strict=True))


def _spread(part: SliceDataset, most: int) -> Tensor:
    return torch.linspace(0, len(part) - 1, min(most, len(part))).round().long()


def generated_images(spec: ImageSpec, images: Tensor, requests: Sequence[SampleRequest]) -> Images:
    """Samples [N, C, H, W] as they were drawn; each is a patient of its own, of contrast -1 where none was asked for."""
    known = spec.contrasts
    contrast = [-1 if request.contrast is None else known.index(request.contrast) for request in requests]
    return Images(spec.transform.image(images), torch.tensor(contrast), torch.arange(len(requests)))
