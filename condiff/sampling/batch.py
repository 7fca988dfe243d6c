"""Batches of samples, and their states from noise to image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from condiff.checkpoint import Checkpoint, registry
from condiff.data.image_spec import ImageSpec
from condiff.diffusion.generate import generate, to_vp
from condiff.diffusion.guidance import FiniteWatch, Guidance, clamped_channels, compose
from condiff.diffusion.model import DiffusionModel
from condiff.diffusion.samplers import Sampler
from condiff.errors import InputError, NotANumber
from condiff.sampling.cost import SamplingCost, counting_guidance
from condiff.sampling.memory import Batches
from condiff.sampling.requests import SampleRequest

DEFAULT_STEPS = 20  # of runs without ``sampler.steps``
MAX_FRAMES = 24  # states of a sample in an animation or a strip


@dataclass(frozen=True)
class Sampling:
    """Settings of sampling.

    Attributes:
        sampler: one of `condiff.diffusion.samplers`.
        guidance: denoiser -> denoiser.
        steps: of the sampler.
        batch_size: images per batch and process.
        batches: of this size, or smaller where memory is short; not shared with copies by `dataclasses.replace`.
    """

    sampler: Sampler
    guidance: Guidance
    steps: int
    batch_size: int = 32
    batches: Batches = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "batches", Batches(self.batch_size))

    @classmethod
    def of_run(cls, checkpoint: Checkpoint) -> "Sampling":
        """Returns the settings of the run of a checkpoint. Raises InputError for objects that the registry does not admit."""
        config, where = checkpoint.config, (checkpoint.path, checkpoint.trust)
        guidance, clamp = (registry.build(key, config[key], *where) for key in ("guidance", "clamp"))
        sampler = registry.build("fn", config["sampler"]["fn"], *where)
        return cls(sampler, compose(guidance, clamp), config["sampler"].get("steps", DEFAULT_STEPS))

    def counting(self, cost: SamplingCost) -> "Sampling":
        """Returns these settings with the network evaluations counted in ``cost``."""
        return replace(self, guidance=counting_guidance(self.guidance, cost))

    def check(self, model: DiffusionModel) -> None:
        """Raises InputError for steps or guidance that the model does not support."""
        model.schedule.steps(self.steps)
        self.guidance(model)


def check_clamp(clamp: Guidance, channels: int, is_latent: bool) -> None:
    """Raises InputError for a clamp that does not fit images of ``channels`` channels, or codes."""
    made_for = clamped_channels(clamp)
    if is_latent and made_for is not None:
        raise InputError("clamp: limits images, and this model is latent; use clamp=none")
    if channels == 2 and made_for == 1:
        raise InputError(
            "clamp: static and dynamic cut from air at -1, and air is 0 in complex images; use clamp=magnitude or none"
        )
    if channels == 1 and made_for == 2:
        raise InputError("clamp=magnitude: for complex images only; use clamp=static, dynamic or none")


@torch.no_grad()
def sample_batch(
    model: DiffusionModel,
    spec: ImageSpec,
    requests: Sequence[SampleRequest],
    sampling: Sampling,
    on_step: Callable[[], None] = lambda: None,
) -> list[Tensor]:
    """Returns the states [F, C, H, W] at `frame_indices` of recorded requests, and the sample [1, C, H, W] of others.

    The first state is noise, the last the sample; each is divided by sqrt(1 + sigma^2) for display.

    Raises:
        NotANumber: the network's output is not finite.
    """
    sigmas, size, code = model.schedule.steps(sampling.steps), (spec.shape[1], spec.shape[2]), model.codec.shape(spec.shape)
    recorded = [index for index, request in enumerate(requests) if request.record]
    frame_steps = {*frame_indices(sampling.steps)[:-1]}
    conds = torch.stack([spec.conditioning.encode(r.contrast, r.parameters, r.extrapolate) for r in requests])
    cond = conds.to(model.device) if model.conditional and conds.any() else None  # None: no guidance
    seeds, frames = [request.seed for request in requests], []
    watch = FiniteWatch(model)
    walk = generate(sampling.guidance(watch), sampling.sampler, sigmas, seeds, code, cond, model.device)
    for index, x in enumerate(walk):
        if recorded and index in frame_steps:
            frames.append(model.codec.decode(to_vp(x[recorded], sigmas[index]), size).float().cpu())
        on_step()
    watch.check()
    states = [*decode(model, x, size)[:, None]]
    for position, index in enumerate(recorded):
        states[index] = torch.cat([torch.stack([frame[position] for frame in frames]), states[index]])
    return states


def sample(
    model: DiffusionModel,
    spec: ImageSpec,
    requests: Sequence[SampleRequest],
    sampling: Sampling,
    on_step: Callable[[], None] = lambda: None,
) -> list[Tensor]:
    """Returns the results of `sample_batch` for any number of requests, batch by batch."""
    batches = sampling.batches.map(lambda batch: sample_batch(model, spec, batch, sampling, on_step), requests)
    return [states for batch in batches for states in batch]


def decode(model: DiffusionModel, x: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns the images [B, C, H, W] of codes, on the CPU. Raises NotANumber if they are not finite."""
    images = model.codec.decode(x, size).float().cpu()
    if not images.isfinite().all():
        raise NotANumber("the decoded images are not finite; give another checkpoint, or a smaller guidance.scale")
    return images


def frame_indices(steps: int) -> list[int]:
    """Returns the indices of the recorded states among ``steps + 1``: at most `MAX_FRAMES`, evenly spaced, with both ends."""
    return sorted(set(torch.linspace(steps, 0, min(MAX_FRAMES, steps + 1)).round().long().tolist()))
