"""Sampling on several processes, one batch per process at a time."""

from collections.abc import Iterator, Sequence

import lightning as L
import torch
from torch import Tensor

from condiff.data.image_spec import ImageSpec
from condiff.diffusion.model import DiffusionModel
from condiff.progress import progress_bar
from condiff.sampling.batch import Sampling, sample
from condiff.sampling.requests import SampleRequest


def sample_distributed(
    fabric: L.Fabric, model: DiffusionModel, spec: ImageSpec, requests: Sequence[SampleRequest], sampling: Sampling
) -> Iterator[list[Tensor]]:
    """Yields, on every process, the states [F, C, H, W] of the requests in their order, one round of batches at a time.

    The first process shows the progress.
    """
    size = sampling.batch_size * fabric.world_size
    begins = range(0, len(requests), size)
    with progress_bar("Sampling", len(begins) * (sampling.steps + 1)) as tick:
        for begin in begins:
            indices = range(begin, min(begin + size, len(requests)))[fabric.global_rank :: fabric.world_size]
            states = sample(model, spec, [requests[index] for index in indices], sampling, tick)
            share = [(index, trajectory.clone()) for index, trajectory in zip(indices, states, strict=True)]
            shares = [share]
            if fabric.world_size > 1:
                shares = [[] for _ in range(fabric.world_size)]
                torch.distributed.all_gather_object(shares, share)
            yield [states for _, states in sorted((item for share in shares for item in share), key=lambda item: item[0])]
