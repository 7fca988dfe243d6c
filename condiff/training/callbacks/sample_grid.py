"""Pictures of samples during training."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from condiff.diffusion.guidance import Guidance
from condiff.diffusion.samplers import Sampler
from condiff.files import pictures
from condiff.sampling import ANIMATED, Sampling, make_requests, resolve_contrasts, sample
from condiff.training.callbacks.ema import averaged_weights
from condiff.training.callbacks.optional import optional


class SampleGrid(L.Callback):
    """At every validation, saves a grid of samples, one row per contrast, beside validation images; at the end also a GIF.

    The averaged weights draw them, from the same noise every time.

    Args:
        folder: of the pictures.
        sampler, guidance, steps: of sampling.
        num_samples: per contrast.
        num_real: validation images per contrast.
        batch_size: samples drawn at once.
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
        batch_size: int,
        seed: int = 0,
    ):
        self.folder, self.sampling = Path(folder), Sampling(sampler, guidance, steps, batch_size)
        self.num_samples, self.num_real, self.seed = num_samples, num_real, seed
        self._trajectories: list[Tensor] | None = None

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Raises InputError, before training, for steps or guidance that the model does not support."""
        self.sampling.check(pl_module.model)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        with optional("sample grid", trainer.global_step), averaged_weights(trainer, pl_module):
            with trainer.precision_plugin.forward_context():
                self._trajectories = self._draw(pl_module)
            self._save_grid(pl_module, f"step-{trainer.global_step:06d}", self._trajectories)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves the samples of the last validation as ``samples.png``, and their denoising as a GIF."""
        if not trainer.is_global_zero or self._trajectories is None:
            return
        with optional("final sample grid", trainer.global_step):
            self._save_grid(pl_module, "samples", self._trajectories)
            path = self.folder / "denoising.gif"
            frames = torch.stack([trajectory for trajectory in self._trajectories if len(trajectory) > 1], dim=1)
            pictures.save_gif(path, [pictures.grid(self._blocks(pl_module, frame)) for frame in frames])
            for logger in _loggers_with(trainer, "log_video"):
                logger.log_video("denoising", [str(path)])

    def _draw(self, system: Any) -> list[Tensor]:
        """Returns, for every sample, its states [F, C, H, W] from noise on; for those not in the GIF the sample [1, C, H, W]."""
        data = system.trainer.datamodule
        requests = make_requests(self._contrasts(system), self.num_samples, self.seed, record=ANIMATED)
        return sample(system.model, data.spec, requests, self.sampling)

    def _blocks(self, system: Any, images: Tensor) -> dict[str, dict[str, Tensor]]:
        """Returns rows of images by view and contrast, for images with equal numbers per contrast."""
        labels = [contrast or "any" for contrast in self._contrasts(system)]
        views = system.trainer.datamodule.spec.transform.views(images)
        return {
            f"generated {title}".strip(): dict(zip(labels, view.chunk(len(labels)), strict=True)) for title, view in views.items()
        }

    def _contrasts(self, system: Any) -> list[str | None]:
        return resolve_contrasts(None, system.trainer.datamodule.spec.contrasts, system.model.conditional)

    def _save_grid(self, system: Any, name: str, trajectories: list[Tensor]) -> None:
        """Saves samples beside validation images; loggers get the samples alone."""
        data = system.trainer.datamodule
        blocks = self._blocks(system, torch.stack([trajectory[-1] for trajectory in trajectories]))
        examples = {contrast: data.val.spread_examples(contrast, self.num_real) for contrast in self._contrasts(system)}
        real = {contrast or "any": data.spec.transform.magnitude(images) for contrast, images in examples.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        pictures.grid(blocks | {data.kind: real}).save(self.folder / f"{name}.png")
        for logger in _loggers_with(system.trainer, "log_image"):
            logger.log_image(
                "samples",
                [pictures.grid({title: {label: rows[label]} for title, rows in blocks.items()}) for label in real],
                caption=list(real),
            )


def _loggers_with(trainer: L.Trainer, method: str) -> list:
    """Returns the loggers that have a method."""
    return [logger for logger in trainer.loggers if hasattr(logger, method)]
