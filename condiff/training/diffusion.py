"""The Lightning module of a diffusion model: loss, optimizer and learning-rate schedule."""

import logging
from collections.abc import Callable, Iterable, Sequence

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from condiff.data.datasets import Sample
from condiff.data.latents import LatentSample
from condiff.data.transfer import to_device
from condiff.diffusion.denoiser import Denoiser
from condiff.diffusion.losses import Loss, denoising
from condiff.diffusion.model import DiffusionModel
from condiff.diffusion.schedules import Schedule
from condiff.nn import Codec
from condiff.seeds import derive_seed
from condiff.training.lr_schedules import with_lr_schedule

NUM_VALIDATION_LEVELS = 8
log = logging.getLogger(__name__)


class DiffusionSystem(L.LightningModule):
    """Trains the denoiser of a `DiffusionModel`, ``model``.

    Args:
        denoiser: the network and its parameterization.
        schedule: noise levels of training, and the grid of sampling.
        optimizer: parameters -> optimizer.
        lr_factor: (step, total steps) -> factor on the learning rate.
        codec: `Pixels`, or an autoencoder for latent diffusion.
        loss: of `condiff.diffusion.losses`.
        p_uncond: share of training images whose condition is dropped; with 1 the model is unconditional.
        p_drop_fields: share of training images with a random subset of the fields of the condition; its size is uniform.
        fields: number of entries in each field of the condition.
        seed: of the noise; every step and process derives its own, so a resumed run repeats no noise.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        schedule: Schedule,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        lr_factor: Callable[[int, int], float],
        codec: Codec,
        loss: Loss = denoising,
        p_uncond: float = 0.1,
        p_drop_fields: float = 0.0,
        fields: Sequence[int] | None = None,
        seed: int = 0,
    ):
        super().__init__()
        self.model = DiffusionModel(denoiser, schedule, codec, conditional=p_uncond < 1)
        self.loss = loss
        self.optimizer, self.lr_factor, self.seed = optimizer, lr_factor, seed
        self.p_uncond, self.p_drop_fields, self.num_fields = p_uncond, p_drop_fields, len(fields or ())
        field_of = [index for index, length in enumerate(fields or ()) for _ in range(length)]  # of each entry of the condition
        self.field_of = torch.tensor(field_of, dtype=torch.int64)

    @property
    def is_latent(self) -> bool:
        """Whether the model is latent."""
        return self.model.codec.is_latent

    @property
    def networks(self) -> list[nn.Module]:
        """Returns the networks that `torch.compile` makes faster."""
        return [self.model.denoiser.net]

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        """Returns x0 for x [B, C, H, W] at noise level sigma, [B] or []."""
        return self.model(x, sigma, cond)

    def training_step(self, batch: Sample | LatentSample, batch_idx: int) -> dict[str, Tensor]:
        """Returns the loss, ``losses`` [B], one per image, and their noise levels ``sigma`` [B]."""
        progress = self.global_step / max(int(self.trainer.estimated_stepping_batches), 1)
        losses, sigma = self._losses(batch, progress, "train", self.trainer.fit_loop.total_batch_idx + 1, self.global_rank)
        loss = losses.mean()
        self.log("train/loss", loss, prog_bar=True)
        return {"loss": loss, "losses": losses.detach(), "sigma": sigma}

    def trial_loss(self, batch: Sample | LatentSample) -> Tensor:
        """Returns the loss of a batch without a trainer: its backward pass takes as long as that of a training step."""
        return self._losses(batch, 0.0, "trial")[0].mean()

    def _losses(self, batch: Sample | LatentSample, progress: float, *stream: int | str) -> tuple[Tensor, Tensor]:
        """Returns the loss of each image and its noise level, with random numbers of the stream."""
        generator = self._generator(*stream)
        x0 = batch.z if isinstance(batch, LatentSample) else self._encode(batch.image)
        n = len(x0)
        keep = torch.rand(n, 1, generator=generator, device=self.device) >= self.p_uncond
        levels = self.model.schedule.sample(n, torch.Generator().manual_seed(derive_seed(self.seed, "sigma", *stream)))
        sigma = to_device(levels, self.device)
        eps = torch.randn(x0.shape, generator=generator, device=self.device)
        if self.p_drop_fields:
            keep = keep & self._field_mask(n, generator)
        return self.loss(self.model.denoiser, x0, eps, sigma, batch.cond * keep, progress), sigma

    def validation_step(self, batch: Sample, batch_idx: int) -> None:
        """Logs the loss at eight fixed levels, their mean and each alone, with the same noise at every validation.

        ``val/loss_sigma_1`` is the loss at the lowest level, ``val/loss_sigma_8`` that at the highest.
        """
        generator = self._generator("validate", batch_idx)
        x0, n = self._encode(batch.image), len(batch.image)
        image = torch.arange(n)  # volumes have slices in the same order: shifted, so that a level gets different slices
        level = (image + image // NUM_VALIDATION_LEVELS + 5 * batch_idx) % NUM_VALIDATION_LEVELS
        levels = self._validation_levels()
        eps = torch.randn(x0.shape, generator=generator, device=self.device)
        loss = self.loss(self.model.denoiser, x0, eps, levels[level].to(self.device), batch.cond * self.model.conditional, 1.0)
        self.log("val/loss", loss.mean(), prog_bar=True, batch_size=n, sync_dist=True)
        for index in level.unique().tolist():
            level_loss = loss[(level == index).to(self.device)]
            self.log(f"val/loss_sigma_{index + 1}", level_loss.mean(), batch_size=len(level_loss), sync_dist=True)

    def on_fit_start(self) -> None:
        levels = ", ".join(f"{sigma:.2g}" for sigma in self._validation_levels().tolist())
        log.info("val/loss_sigma_1 to val/loss_sigma_%d: validation loss at sigma %s", NUM_VALIDATION_LEVELS, levels)

    def _validation_levels(self) -> Tensor:
        """Returns noise levels [8], ascending: the midpoints of eight equal shares of the training distribution."""
        return self.model.schedule.sigma((torch.arange(NUM_VALIDATION_LEVELS) + 0.5) / NUM_VALIDATION_LEVELS)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        steps = int(self.trainer.estimated_stepping_batches)
        return with_lr_schedule(self.optimizer(self.model.denoiser.parameters()), self.lr_factor, steps)

    def _encode(self, images: Tensor) -> Tensor:
        """Returns codes, encoded in full precision as those of the cache."""
        with torch.autocast(self.device.type, enabled=False), torch.no_grad():
            return self.model.codec.encode(images.float())

    def _field_mask(self, n: int, generator: torch.Generator) -> Tensor:
        """Returns a random mask [n, D] of the entries of the conditions that are given to the network."""
        chosen, share = torch.rand(2, n, 1, generator=generator, device=self.device)
        share = share * (chosen < self.p_drop_fields)
        kept_fields = torch.rand(n, self.num_fields, generator=generator, device=self.device) >= share
        return kept_fields[:, to_device(self.field_of, self.device)]

    def _generator(self, *stream: int | str) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(derive_seed(self.seed, *stream))
