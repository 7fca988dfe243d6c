"""A pipeline for the library diffusers: our denoiser, its schedulers. Only `condiff.export.diffusers` folders lead here.

diffusers' Euler and other schedulers with sigmas work in x = x0 + sigma eps, as condiff does, and expect a network of the noise
eps at x / sqrt(1 + sigma^2); `CondiffDenoiser` is that network.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import ConfigMixin, DiffusionPipeline, EulerDiscreteScheduler, ModelMixin
from diffusers.utils import BaseOutput
from torch import Tensor

from condiff.checkpoint import Checkpoint
from condiff.export import folder

__all__ = ["ConfigMixin", "ModelMixin"]  # diffusers looks for the base classes of a component here


class CondiffOutput(BaseOutput):
    """Images [N, C, H, W], as the model was trained on them; `CondiffDenoiser.magnitude` makes magnitudes [N, H, W] of them."""

    images: Tensor


class CondiffDenoiser(ModelMixin, ConfigMixin):
    """The network of the noise: (x / sqrt(1 + sigma^2), sigma, cond) -> eps = (x - x0) / sigma."""

    config_name = "config.json"

    def __init__(self, checkpoint: Checkpoint):
        super().__init__()
        self.checkpoint, self.spec, self.network = checkpoint, checkpoint.spec(), checkpoint.model()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **settings: Any) -> "CondiffDenoiser":
        """Returns the model of a folder of `condiff.export.folder.save`; settings of diffusers have no effect."""
        return cls(Checkpoint.read(pretrained_model_name_or_path))

    def save_pretrained(self, save_directory: str | Path, **settings: Any) -> None:
        """Writes the folder again."""
        folder.save(self.checkpoint, save_directory)

    def forward(self, scaled: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        x = scaled * (1 + sigma**2) ** 0.5
        return (x - self.network(x, sigma, cond)) / sigma

    def condition(self, contrast: str | None, **parameters: Any) -> Tensor | None:
        """Returns the condition [1, D] of a contrast and parameters of the acquisition; None for unconditional models."""
        return self.spec.conditioning.encode(contrast, parameters)[None] if self.network.conditional else None

    def magnitude(self, images: Tensor) -> Tensor:
        """Returns magnitudes [N, H, W] of images [N, C, H, W]."""
        return self.spec.transform.magnitude(images)


class CondiffPipeline(DiffusionPipeline):
    """Draws images of a contrast: ``pipeline("AXT2", num_images=4, te=90).images`` [4, C, H, W].

    Args:
        denoiser: the network of the noise.
        scheduler: of diffusers, in x = x0 + sigma eps, for a network of eps: Euler, Heun, DPM-Solver with sigmas.
    """

    denoiser: CondiffDenoiser
    scheduler: Any

    def __init__(self, denoiser: CondiffDenoiser, scheduler: EulerDiscreteScheduler):
        super().__init__()
        self.register_modules(denoiser=denoiser, scheduler=scheduler)

    @torch.no_grad()
    def __call__(
        self,
        contrast: str | None = None,
        num_images: int = 1,
        num_inference_steps: int = 20,
        guidance_scale: float = 1.0,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
        sigmas: Sequence[float] | None = None,
        **parameters: Any,
    ) -> CondiffOutput:
        """Returns images.

        Args:
            guidance_scale: of classifier-free guidance, D + (scale - 1) (D - D_unconditional); 1: none.
            noise: standard normal [N, C, H, W], instead of ``generator``.
            sigmas: noise levels from high to low, then 0; None: those of the model's schedule.
            parameters: te, tr, ti, flip, field, slice …, of models that know them.
        """
        device = self.device
        levels = self.denoiser.network.schedule.steps(num_inference_steps).tolist() if sigmas is None else [*sigmas]
        self.scheduler.set_timesteps(sigmas=levels, device=device)
        if noise is None:
            noise = torch.randn(num_images, *self.denoiser.spec.shape, generator=generator, device=device)
        x, cond = noise.to(device) * levels[0], self.denoiser.condition(contrast, **parameters)
        cond = None if cond is None else cond.to(device).expand(len(x), -1)
        for step, sigma in zip(self.scheduler.timesteps, levels, strict=False):
            scaled, level = self.scheduler.scale_model_input(x, step), x.new_tensor(sigma)
            eps = self.denoiser(scaled, level, cond)
            if guidance_scale != 1 and cond is not None:
                eps = torch.lerp(self.denoiser(scaled, level, torch.zeros_like(cond)), eps, guidance_scale)
            x = self.scheduler.step(eps, step, x).prev_sample
        return CondiffOutput(images=x)
