"""A batch of samples of a trained system, and what to show of how they came about."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from condiff.data.conditioning import Conditioning
from condiff.diffusion.generate import generate, to_vp
from condiff.diffusion.guidance import Guidance, raise_on_nan
from condiff.diffusion.samplers import Sampler
from condiff.errors import NotANumber
from condiff.sampling.requests import Draw
from condiff.training import DiffusionSystem

FRAMES = 24  # an animation or a strip needs no more of the states of a sample


@torch.no_grad()
def draw(
    system: DiffusionSystem,
    conditioning: Conditioning,
    draws: Sequence[Draw],
    shape: Sequence[int],
    sampler: Sampler,
    guidance: Guidance,
    steps: int,
    on_step: Callable[[], None] = lambda: None,
) -> list[Tensor]:
    """A batch of images: of those that are watched the states [F, C, H, W] of `frame_indices`, of others the sample [1, C, H, W].

    The first state is noise, the last the sample; each is divided by sqrt(1 + sigma^2) for display. No other is decoded.

    Raises:
        NotANumber: the network's output is not finite.
    """
    sigmas = system.schedule.steps(steps)
    watched, kept = [index for index, item in enumerate(draws) if item.watched], {*frame_indices(steps)[:-1]}
    size, code = (shape[-2], shape[-1]), system.codec.shape((shape[0], shape[1], shape[2]))
    known = torch.stack([conditioning.encode(item.contrast, item.known, item.extrapolate) for item in draws]).to(system.device)
    cond = known if system.conditional and known.any() else None  # None: there is nothing to guide by
    seeds, ways = [item.seed for item in draws], []
    for index, x in enumerate(generate(guidance(raise_on_nan(system)), sampler, sigmas, seeds, code, cond, system.device)):
        if watched and index in kept:
            ways.append(decoded(system, to_vp(x[watched], sigmas[index]), size))
        on_step()
    states = [*decoded(system, x, size)[:, None]]
    for position, index in enumerate(watched):
        states[index] = torch.cat([torch.stack([frame[position] for frame in ways]), states[index]])
    return states


def decoded(system: DiffusionSystem, x: Tensor, size: tuple[int, int]) -> Tensor:
    """Images [B, C, H, W] of codes, on the CPU. Raises NotANumber where the codec makes what is not finite."""
    images = system.codec.decode(x, size).float().cpu()
    if not images.isfinite().all():
        raise NotANumber("the decoded images are not finite; give another checkpoint, or a smaller guidance.scale")
    return images


def frame_indices(steps: int) -> list[int]:
    """Which of the ``steps + 1`` states are kept: the last, and before it others evenly spaced from the first."""
    return sorted(set(torch.linspace(steps, 0, min(FRAMES, steps + 1)).round().long().tolist()))
