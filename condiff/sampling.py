"""Sampling from a trained system: which images to draw, drawing them in batches, and what to show of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from condiff.data.conditioning import NOTHING, Conditioning, Known
from condiff.diffusion.generate import generate, variance_preserving
from condiff.diffusion.guidance import Guidance, finite
from condiff.diffusion.samplers import Sampler
from condiff.errors import InputError, NotANumber
from condiff.systems import DiffusionSystem

ANY = "any"  # asks for no contrast
MOVING = 3  # samples of each contrast in an animation
FRAMES = 24  # an animation or a strip needs no more of the states of a sample


@dataclass(frozen=True)
class Draw:
    """One image to draw: its contrast (None: any), its seed, what else is known, and whether its states are recorded."""

    contrast: str | None
    seed: int
    known: Known = field(default_factory=dict)
    extrapolate: bool = False
    watched: bool = False

    @property
    def label(self) -> str:
        return self.contrast or "any"


def plan(
    contrasts: Sequence[str | None],
    num_samples: int,
    seed: int,
    shared_noise: bool,
    known: Known = NOTHING,
    extrapolate: bool = False,
    watched: int = 0,
) -> list[Draw]:
    """``num_samples`` draws of each contrast with seeds that count up from ``seed``.

    The states of the first ``watched`` of each are recorded.

    With ``shared_noise`` every contrast has the same seeds: one noise path seen in all contrasts.

    Raises:
        InputError: fewer than one.
    """
    if num_samples < 1:
        raise InputError(f"num_samples={num_samples}: ask for at least one of each contrast")
    stride = 0 if shared_noise else num_samples
    return [
        Draw(c, seed + k * stride + i, known, extrapolate, i < watched)
        for k, c in enumerate(contrasts)
        for i in range(num_samples)
    ]


def requested(contrast: str | Sequence[str] | None, known: Sequence[str], conditional: bool) -> list[str | None]:
    """The contrasts asked for, all of those known where none is. Raises InputError for what the model cannot do."""
    if contrast is None:
        return list(known) if conditional else [None]
    wanted: list[str | None] = [contrast] if isinstance(contrast, str) else list(contrast)
    if not conditional:
        raise InputError(f"contrast={contrast}: this checkpoint is unconditional; leave contrast= out")
    for name in wanted:
        if name not in (*known, ANY):
            raise InputError(f"contrast={name}: unknown to this checkpoint, which has {', '.join(known)}")
    return [None if name == ANY else name for name in wanted]


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
    for index, x in enumerate(generate(guidance(finite(system)), sampler, sigmas, seeds, code, cond, system.device)):
        if watched and index in kept:
            ways.append(decoded(system, variance_preserving(x[watched], sigmas[index]), size))
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
