"""What samples cost: evaluations of networks, and seconds."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from condiff.diffusion import Denoiser


@dataclass
class SamplingCost:
    """What the images drawn by the first process took.

    Attributes:
        drawn: images.
        evaluations: of a network, by one image each; those of guidance are counted.
        seconds: of the clock.
    """

    drawn: int = 0
    evaluations: int = 0
    seconds: float = 0.0

    def per_image(self) -> dict[str, float]:
        """Evaluations and seconds per image."""
        return {"evaluations_per_image": self.evaluations / self.drawn, "seconds_per_image": self.seconds / self.drawn}


@contextmanager
def count_evaluations(cost: SamplingCost) -> Iterator[None]:
    """Count the images that any denoiser sees, that of a guiding model too, as evaluations of ``cost``."""

    def count(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        cost.evaluations += len(arguments[0]) if isinstance(module, Denoiser) else 0

    hook = register_module_forward_pre_hook(count)
    try:
        yield
    finally:
        hook.remove()
