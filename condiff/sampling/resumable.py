"""Sampling of many images with intermediate files, so that an interrupted command continues."""

import logging
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import numpy as np
import torch
from torch import Tensor

from condiff.data.image_spec import ImageSpec
from condiff.diffusion.model import DiffusionModel
from condiff.errors import DataFault, InputError
from condiff.files import foreign, hdf5, samples_h5
from condiff.sampling.batch import Sampling
from condiff.sampling.cost import SamplingCost
from condiff.sampling.distributed import sample_distributed
from condiff.sampling.requests import SampleRequest

log = logging.getLogger(__name__)


def sample_resumable(
    fabric: L.Fabric, model: DiffusionModel, spec: ImageSpec, requests: Sequence[SampleRequest], sampling: Sampling, path: Path
) -> tuple[Tensor, SamplingCost]:
    """Returns all samples [N, C, H, W] and their cost; samples already in ``path`` or its parts are not drawn again.

    Each round is written atomically to a file in the folder ``path``.parts, so an interruption loses one round. At the end
    the parts become one file, ``path``.

    Raises:
        InputError: an existing file cannot be read, or holds other images or more of them.
    """
    parts = path.with_suffix(".parts")
    images, cost = _load_partial(path, parts, spec.shape)
    before = sum(map(len, images))
    if before > len(requests):
        raise InputError(
            f"{path}: holds {before} samples of an earlier evaluation, {len(requests)} expected; delete it to draw them again"
        )
    if before:
        log.info("resuming after %d of %d samples in %s", before, len(requests), path)
    fabric.barrier()  # all processes have read before one writes

    done, begin = before, time.monotonic()
    for states in sample_distributed(fabric, model, spec, requests[before:], sampling.counting(cost)):
        images.append(torch.stack([trajectory[-1] for trajectory in states]))
        if fabric.is_global_zero:
            cost.num_images += len(states[:: fabric.world_size])
            cost.seconds, begin = cost.seconds + time.monotonic() - begin, time.monotonic()
            _save(parts / _part(done), images[-1], requests[done : done + len(states)], cost)
        done += len(states)
    if fabric.is_global_zero and parts.exists():
        _save(path, torch.cat(images), requests, cost)
        shutil.rmtree(parts)
    return torch.cat(images), cost


def _save(path: Path, images: Tensor, requests: Sequence[SampleRequest], cost: SamplingCost) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    labels, seeds = [request.label for request in requests], [request.seed for request in requests]
    counts = {"drawn": cost.num_images, "evaluations": cost.evaluations, "seconds": cost.seconds}
    samples_h5.save_h5(path, images, labels, seeds, **counts)


def _load_partial(path: Path, parts: Path, shape: Sequence[int]) -> tuple[list[Tensor], SamplingCost]:
    """Returns the samples of an earlier call, in order; a part that does not follow the previous one is ignored."""
    images: list[Tensor] = []
    cost = SamplingCost()
    for file in ([path] if path.is_file() else []) + sorted(parts.glob("*.h5")):
        if file == path or file.name == _part(sum(map(len, images))):
            content, cost = _read(file, shape)
            images.append(content)
    return images, cost


def _part(done: int) -> str:
    return f"{done:08d}.h5"


def _read(path: Path, shape: Sequence[int]) -> tuple[Tensor, SamplingCost]:
    try:
        with hdf5.opened(path) as file:
            stored = hdf5.dataset(file, "images", "f", "images")
            counts = [hdf5.attribute(file, name) for name in ("drawn", "evaluations", "seconds")]
            plausible = all(isinstance(count, int | float) and 0 <= count < math.inf for count in counts) and counts[0]
            if stored is None or list(stored.shape[1:]) != list(shape) or not plausible:
                raise DataFault(f"lacks images of {list(shape)}, or their cost")
            foreign.check_memory(4 * stored.size)
            content = torch.from_numpy(hdf5.array(stored).astype(np.float32))
        if not content.isfinite().all():
            raise DataFault("its images are not finite")
    except DataFault as fault:
        raise InputError(
            f"{path}: not readable samples of an earlier evaluation ({fault}); delete it to draw them again"
        ) from None
    return content, SamplingCost(*counts)  # type: ignore[arg-type]
