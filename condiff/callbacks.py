"""Lightning callbacks: averaged weights, and pictures of what the model can do so far."""

from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from PIL import Image
from torch import Tensor

from condiff import export
from condiff.diffusion.generate import generate, variance_preserving
from condiff.diffusion.guidance import Guidance
from condiff.diffusion.samplers import Sampler
from condiff.seeds import derive_seed


class PowerEMA(WeightAveraging):
    """Average of the weights over training with a power-law profile, Karras et al. 2024 (EDM2), eq. 122-127.

    After t updates the new weights count (1 + gamma) / t: the average always spans the same share of the
    run, however long it is. Validation, sampling and the checkpoint's ``state_dict`` use the average, the
    raw weights go on in ``current_model_state``. Buffers are copied, never averaged.

    Args:
        gamma: exponent of the profile; 6.94 averages over a tenth of the run (relative std 0.1).
    """

    def __init__(self, gamma: float = 6.94):
        def update(averages: list[Tensor], currents: list[Tensor], count: Tensor | int) -> None:
            beta = (1 - 1 / (int(count) + 1)) ** (1 + gamma)
            torch._foreach_lerp_(averages, currents, 1 - beta)

        super().__init__(use_buffers=False, multi_avg_fn=torch.no_grad()(update))


class SampleGrid(L.Callback):
    """At every validation a grid of samples, a row each contrast, real images beside; at the end a GIF too.

    The same noise every time, so the grids differ by what was learned between them. Stands before the
    averaging callback in the list, so that it runs while the averaged weights are in place.

    Args:
        folder: where the pictures go.
        sampler, guidance, steps: how to sample.
        num_samples: of each contrast.
        num_real: real validation images beside them.
        seed: of the noise.
    """

    def __init__(
        self,
        folder: str | Path,
        sampler: Sampler,
        guidance: Guidance,
        steps: int,
        num_samples: int,
        num_real: int,
        seed: int = 0,
    ):
        self.folder, self.sampler, self.guidance, self.steps = Path(folder), sampler, guidance, steps
        self.num_samples, self.num_real, self.seed = num_samples, num_real, seed

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero and not trainer.sanity_checking:
            self._save(trainer, f"step-{trainer.global_step:06d}", self._trajectory(trainer, pl_module)[-1])

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            frames = self._trajectory(trainer, pl_module)
            self._save(trainer, "samples", frames[-1])
            export.save_gif(self.folder / "denoising.gif", frames)
            for logger in _with(trainer, "log_video"):
                logger.log_video("denoising", [str(self.folder / "denoising.gif")])

    def _trajectory(self, trainer: L.Trainer, system: L.LightningModule) -> list[Image.Image]:
        """The grid after every step of the sampler, the noise first."""
        data = trainer.datamodule
        rows = {contrast or "any": contrast for contrast in (data.conditioning.contrasts if system.conditional else [None])}
        cond = torch.stack([data.conditioning.encode(c) for c in rows.values()]).repeat_interleave(self.num_samples, 0)
        real = {label: data.transform.magnitude(data.val.examples(c, self.num_real)) for label, c in rows.items()}
        seeds = [derive_seed("grid", self.seed, i) for i in range(len(cond))]
        sigmas = system.schedule.steps(self.steps).to(system.device)
        shape, denoise = data.transform.shape, self.guidance(system)
        pictures = []
        for x, sigma in zip(generate(denoise, self.sampler, sigmas, seeds, shape, cond.to(sigmas)), sigmas, strict=True):
            images = data.transform.magnitude(system.codec.decode(variance_preserving(x, sigma)))
            samples = dict(zip(rows, images.split(self.num_samples), strict=True))
            pictures.append(export.grid({"generated": samples, "real": real}))
        return pictures

    def _save(self, trainer: L.Trainer, name: str, picture: Image.Image) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        picture.save(self.folder / f"{name}.png")
        for logger in _with(trainer, "log_image"):
            logger.log_image("samples", [picture], step=trainer.global_step)


def _with(trainer: L.Trainer, method: str) -> list:
    """The loggers that can take pictures."""
    return [logger for logger in trainer.loggers if hasattr(logger, method)]
