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

GRAD_SCALE = 1024  # of gradients, lest those of means underflow in half precision
MAX_ADAPTIVE_WEIGHT = 1e4  # that a critic who says next to nothing is strengthened


class AutoencoderSystem(L.LightningModule):
    """Trains ``codec``: absolute error, distance in features, KL divergence from a standard normal, and a critic's opinion.

    The critic learns beside it, both in one step of one optimizer: the gradient of each takes the other's weights for constants
    (Goodfellow et al. 2014, simultaneously; hinge losses, Lim & Ye 2017).

    Args:
        codec: what is trained.
        optimizer: parameters -> optimizer.
        lr_factor: (step, total steps) -> factor on the learning rate.
        perceptual: (images, images) -> distance [B].
        discriminator: images -> logits; None: no critic.
        weights: of ``kl`` (per number of the code) and ``perceptual`` beside the absolute error; ``adversarial``: how hard the
            critic pulls, as a share of how hard error and perceptual distance do.
        warmup: share of the run before the critic's opinion counts.
        crop: side of the square, at a random place in each batch, that is trained on, which is cheaper by as much; larger than
            the images: all of them.
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
        """Whether the model is one of codes."""
        return False

    @property
    def networks(self) -> list[nn.Module]:
        """What costs the time, and is worth compiling."""
        return [self.codec.encoder, self.codec.decoder]

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] -> their reconstructions from the means of their codes."""
        return self.codec.decode_unscaled(self.codec.moments(images)[0], (images.shape[-2], images.shape[-1]))

    def training_step(self, batch: Sample, batch_idx: int) -> dict[str, Tensor]:
        """The loss; beside it each image's own, ``losses`` [B], with what the critic adds to all."""
        stream = self.trainer.fit_loop.total_batch_idx + 1, self.global_rank
        images = self._random_crop(batch.image, torch.Generator().manual_seed(derive_seed(self.seed, "crop", *stream)))
        generator = torch.Generator(self.device).manual_seed(derive_seed(self.seed, "train", *stream))
        mean, log_variance = self.codec.moments(images)
        code = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=generator, device=self.device)
        reconstructions = self.codec.decode_unscaled(code, (images.shape[-2], images.shape[-1]))
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).mean(dim=1)
        distances = self._distance(reconstructions, images)
        losses = distances + self.weights["kl"] * divergence
        self.log_dict({"train/loss": losses.mean(), "train/kl": divergence.mean()}, prog_bar=True)
        if self.discriminator is not None:
            losses = losses + self._adversarial(self.discriminator, images, reconstructions, distances.mean())
        return {"loss": losses.mean(), "losses": losses.detach()}

    def validation_step(self, batch: Sample, batch_idx: int) -> None:
        """Error and distance in features of the reconstructions, and the mean squared error in decibels, from 2, white."""
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
        """Each player's gradient has a norm of its own: a critic's is large, and would slow the codec down."""
        for network in (self.codec, self.discriminator):
            if gradient_clip_val and network is not None:
                nn.utils.clip_grad_norm_(network.parameters(), gradient_clip_val)

    def _random_crop(self, images: Tensor, generator: torch.Generator) -> Tensor:
        for dim in (-2, -1):
            start = torch.randint(max(images.shape[dim] - self.crop, 0) + 1, (), generator=generator).item()
            images = images.narrow(dim, int(start), min(self.crop, images.shape[dim]))
        return images

    def _distance(self, reconstructions: Tensor, images: Tensor) -> Tensor:
        """[B]."""
        error = (reconstructions - images).abs().flatten(1).mean(dim=1)
        return error + self.weights["perceptual"] * self.perceptual(reconstructions, images)

    def _adversarial(self, discriminator: nn.Module, images: Tensor, reconstructions: Tensor, distance: Tensor) -> Tensor:
        """The critic's own loss, and what it says of the images made once the share `warmup` of the run is over.

        It pulls at those images ``weights["adversarial"]`` times as hard as their distance does, however sure of itself it is
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
