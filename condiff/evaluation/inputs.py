"""Inputs of an evaluation: real and generated images with contrast and patient."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from condiff.data.datasets import SliceDataset
from condiff.data.image_spec import ImageSpec
from condiff.evaluation.sets import ImageSet
from condiff.sampling import SampleRequest
from condiff.seeds import derive_seed

MAX_IMAGES = 5000  # real images per split, to bound the memory
PART = 256  # images read at once


def real_images(spec: ImageSpec, *datasets: SliceDataset, max_images: int = MAX_IMAGES) -> ImageSet:
    """Return the slices of splits, say ``data.val, data.test``: at most ``max_images`` of each, evenly spread."""
    contrasts = spec.contrasts
    contrast: list[int] = []
    patient: list[int] = []
    chosen = [(dataset, _evenly_spread(dataset, max_images)) for dataset in datasets if len(dataset)]
    empty = spec.transform.image(torch.empty(0, *spec.shape))
    values = empty.new_empty(sum(len(indices) for _, indices in chosen), *empty.shape[1:])
    for dataset, indices in chosen:
        for part in indices.split(PART):
            values[len(contrast) : len(contrast) + len(part)] = spec.transform.image(dataset.images(part))
            volumes = [dataset.volumes[index] for index in dataset.volume_index[part]]
            contrast += [contrasts.index(volume.contrast) for volume in volumes]
            patient += [derive_seed(volume.patient) for volume in volumes]
    return ImageSet(values, torch.tensor(contrast, dtype=torch.long), torch.tensor(patient, dtype=torch.long))


def image_sources(*datasets: SliceDataset, max_images: int = MAX_IMAGES) -> list[tuple[Path, int]]:
    """Return file and slice of each image that `real_images` takes."""
    sources: list[tuple[Path, int]] = []
    for dataset in datasets:
        indices = _evenly_spread(dataset, max_images) if len(dataset) else torch.empty(0, dtype=torch.long)
        files = (dataset.volumes[index].path for index in dataset.volume_index[indices].tolist())
        sources += zip(files, dataset.slice_index[indices].tolist(), strict=True)
    return sources


def _evenly_spread(dataset: SliceDataset, max_images: int) -> Tensor:
    return torch.linspace(0, len(dataset) - 1, min(max_images, len(dataset))).round().long()


def generated_images(spec: ImageSpec, images: Tensor, requests: Sequence[SampleRequest]) -> ImageSet:
    """Return samples [N, C, H, W] as images; each counts as a patient, and has contrast -1 if its request has none."""
    contrasts = spec.contrasts
    contrast = [-1 if request.contrast is None else contrasts.index(request.contrast) for request in requests]
    return ImageSet(spec.transform.image(images), torch.tensor(contrast), torch.arange(len(requests)))
