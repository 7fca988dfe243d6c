"""Cost of sampling: network evaluations and seconds."""

from dataclasses import dataclass
from functools import partial

from torch import Tensor

from condiff.diffusion.denoiser import Denoise
from condiff.diffusion.guidance import Guidance, around_models


@dataclass
class SamplingCost:
    """Cost of the images that the first process has drawn.

    Attributes:
        num_images: number of images.
        evaluations: of networks, for one image each, guidance included.
        seconds: wall-clock time.
    """

    num_images: int = 0
    evaluations: int = 0
    seconds: float = 0.0

    def per_image(self) -> dict[str, float]:
        """Returns evaluations and seconds per image."""
        return {"evaluations_per_image": self.evaluations / self.num_images, "seconds_per_image": self.seconds / self.num_images}


def counting(denoise: Denoise, cost: SamplingCost) -> Denoise:
    """Returns a denoiser that counts the images it is evaluated at as evaluations of ``cost``."""

    def counted(x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        x0 = denoise(x, sigma, cond)
        cost.evaluations += len(x)  # after it: a batch that does not fit into memory is drawn again
        return x0

    return counted


def counting_guidance(guidance: Guidance, cost: SamplingCost) -> Guidance:
    """Returns the guidance with `counting` around every model that it evaluates, guiding models included."""
    return around_models(guidance, partial(counting, cost=cost))
