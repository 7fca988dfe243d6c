"""The autoencoder system: the first stage of a latent diffusion model."""

from collections.abc import Callable, Iterable, Mapping

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from condiff.data.datasets import Sample
from condiff.nn import KLAutoencoder
from condiff.seeds import derive_seed
from condiff.training.lr_schedules import with_lr_schedule

GRAD_SCALE = 1024  # gradients of means would underflow in half precision
MAX_ADAPTIVE_WEIGHT = 1e4  # of the adversarial loss, as in Esser et al. 2021


class AutoencoderSystem(L.LightningModule):
    """Trains ``codec`` by absolute error, perceptual distance, KL divergence from a standard normal, and an adversarial loss.

    Codec and discriminator take their steps at once, in one optimizer; the gradient of each treats the weights of the other as
    constants (Goodfellow et al. 2014, simultaneously; hinge losses, Lim & Ye 2017).

    Args:
        codec: the autoencoder.
        optimizer: parameters -> optimizer.
        lr_factor: (step, total steps) -> factor on the learning rate.
        perceptual: (images, images) -> distance [B].
        discriminator: images -> logits; None: no adversarial loss.
        weights: of ``kl`` (per number of the code) and ``perceptual`` relative to the absolute error; ``adversarial``: norm of
            the gradient of the adversarial loss, as a share of that of error and perceptual distance together.
        warmup: share of the run before the adversarial loss reaches the codec.
        crop: side of the random square that is trained on; larger than the images: all of the image.
        seed: of the codes' noise.
    """

    def __init__(
        self,
        codec: KLAutoencoder,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        lr_factor: Callable[[int, int], float],
        perceptual: nn.Module,
        discriminator: nn.Module | None,
        weights: Mapping[str, float],
        warmup: float = 0.5,
        crop: int = 128,
        seed: int = 0,
    ):
        super().__init__()
        self.codec, self.perceptual, self.discriminator = codec, perceptual, discriminator
        self.optimizer, self.lr_factor, self.seed = optimizer, lr_factor, seed
        self.weights, self.warmup, self.crop = dict(weights), warmup, crop

    @property
    def is_latent(self) -> bool:
        """Returns False: the images are not codes."""
        return False

    @property
    def networks(self) -> list[nn.Module]:
        """Returns the networks that `torch.compile` makes faster."""
        return [self.codec.encoder, self.codec.decoder]

    def forward(self, images: Tensor) -> Tensor:
        """Returns the reconstructions [B, C, H, W] of images [B, C, H, W] from the means of their codes."""
        return self.codec.decode_unscaled(self.codec.moments(images)[0], (images.shape[-2], images.shape[-1]))

    def training_step(self, batch: Sample, batch_idx: int) -> dict[str, Tensor]:
        """Returns the loss, and ``losses`` [B], one per image; the adversarial loss is the same for all."""
        images, reconstructions, divergence = self._coded(batch, self.trainer.fit_loop.total_batch_idx + 1, self.global_rank)
        distances = self._distance(reconstructions, images)
        losses = distances + self.weights["kl"] * divergence
        self.log_dict({"train/loss": losses.mean(), "train/kl": divergence.mean()}, prog_bar=True)
        if self.discriminator is not None:
            losses = losses + self._adversarial(self.discriminator, images, reconstructions, distances.mean())
        return {"loss": losses.mean(), "losses": losses.detach()}

    def trial_loss(self, batch: Sample) -> Tensor:
        """Returns the loss of a batch without a trainer, and without the adversarial loss, to time a step."""
        images, reconstructions, divergence = self._coded(batch, 0)
        return (self._distance(reconstructions, images) + self.weights["kl"] * divergence).mean()

    def _coded(self, batch: Sample, *stream: int) -> tuple[Tensor, Tensor, Tensor]:
        """Returns random crops of the images, their reconstructions from noisy codes, and the divergence of each code."""
        images = self._random_crop(batch.image, torch.Generator().manual_seed(derive_seed(self.seed, "crop", *stream)))
        generator = torch.Generator(self.device).manual_seed(derive_seed(self.seed, "train", *stream))
        mean, log_variance = self.codec.moments(images)
        code = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=generator, device=self.device)
        reconstructions = self.codec.decode_unscaled(code, (images.shape[-2], images.shape[-1]))
        return images, reconstructions, 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).mean(dim=1)

    def validation_step(self, batch: Sample, batch_idx: int) -> None:
        """Logs error and perceptual distance of the reconstructions, and their PSNR in dB for a peak of 2."""
        reconstructions, n = self(batch.image), len(batch.image)
        mse = (reconstructions - batch.image).square().flatten(1).mean(dim=1)
        self.log("val/loss", self._distance(reconstructions, batch.image).mean(), prog_bar=True, batch_size=n, sync_dist=True)
        self.log("val/psnr", (10 * (4 / mse).log10()).mean(), prog_bar=True, batch_size=n, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return with_lr_schedule(self.optimizer(trainable), self.lr_factor, int(self.trainer.estimated_stepping_batches))

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clips the gradients of codec and discriminator separately: that of the discriminator is larger."""
        for network in (self.codec, self.discriminator):
            if gradient_clip_val and network is not None:
                nn.utils.clip_grad_norm_(network.parameters(), gradient_clip_val)

    def _random_crop(self, images: Tensor, generator: torch.Generator) -> Tensor:
        for dim in (-2, -1):
            start = torch.randint(max(images.shape[dim] - self.crop, 0) + 1, (), generator=generator).item()
            images = images.narrow(dim, int(start), min(self.crop, images.shape[dim]))
        return images

    def _distance(self, reconstructions: Tensor, images: Tensor) -> Tensor:
        """Returns the absolute error plus the weighted perceptual distance, [B]."""
        error = (reconstructions - images).abs().flatten(1).mean(dim=1)
        return error + self.weights["perceptual"] * self.perceptual(reconstructions, images)

    def _adversarial(self, discriminator: nn.Module, images: Tensor, reconstructions: Tensor, distance: Tensor) -> Tensor:
        """Returns the hinge loss of the discriminator, plus, after the share `warmup` of the run, the generator's loss.

        The gradient of the latter at the reconstructions has ``weights["adversarial"]`` times the norm of that of ``distance``
        (Esser et al. 2021, eq. 7, at the decoder's output).
        """
        constants = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
        loss_d = F.relu(1 - discriminator(images)).mean() + F.relu(1 + discriminator(reconstructions.detach())).mean()
        self.log("train/critic", loss_d)
        if self.global_step < self.warmup * self.trainer.estimated_stepping_batches:
            return loss_d
        logits_fake = functional_call(discriminator, constants, reconstructions).mean()
        g_rec, g_adv = (_gradient_norm(loss, reconstructions) for loss in (distance, logits_fake))
        adaptive_weight = (g_rec / g_adv).nan_to_num().clamp(max=MAX_ADAPTIVE_WEIGHT)
        return loss_d - self.weights["adversarial"] * adaptive_weight * logits_fake


def _gradient_norm(loss: Tensor, images: Tensor) -> Tensor:
    """Returns the norm of the gradient of `GRAD_SCALE` times the loss."""
    return torch.autograd.grad(GRAD_SCALE * loss, images, retain_graph=True)[0].float().norm()
