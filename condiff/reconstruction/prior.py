"""The prior of a reconstruction: a trained model's denoiser, a few of its samples, and the conditions of slices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from condiff.data.fastmri.raw_scan import RawScan
from condiff.data.image_spec import ImageSpec
from condiff.diffusion.denoiser import Denoise
from condiff.diffusion.guidance import Guidance, identity
from condiff.diffusion.model import DiffusionModel
from condiff.diffusion.samplers import dpmpp_2m
from condiff.errors import InputError, check_whole
from condiff.reconstruction.measurement import ImageGrid
from condiff.sampling import ANY, Sampling, make_requests, sample
from condiff.sampling.cost import SamplingCost, counting_guidance

KINDS = {1: "magnitude", 2: "complex"}  # of images, by channels
TYPICAL, TYPICAL_STEPS = 12, 10  # number of samples that correct the scale estimate, and their steps


@dataclass(frozen=True)
class Prior:
    """A model, its image spec and its guidance.

    Attributes:
        cost: network evaluations of the guided denoiser so far.
        typical_images: by contrast, those that `typical` has drawn.
    """

    model: DiffusionModel
    spec: ImageSpec
    guidance: Guidance = identity
    batch_size: int = 8
    cost: SamplingCost = field(default_factory=SamplingCost)
    typical_images: dict[str | None, Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check_whole("batch_size", self.batch_size)

    @property
    def denoise(self) -> Denoise:
        """The guided denoiser, `counting` its evaluations."""
        return counting_guidance(self.guidance, self.cost)(self.model)

    @property
    def kind(self) -> str:
        """The kind of its images: magnitude or complex."""
        return KINDS[self.spec.shape[0]]

    @property
    def grid(self) -> ImageGrid:
        """The grid and scale of its images."""
        return ImageGrid.of(self.spec.transform)

    def typical(self, contrast: str | None) -> Tensor:
        """A few samples [N, H, W] of the prior, always the same ones."""
        if contrast not in self.typical_images:
            how = Sampling(dpmpp_2m, identity, TYPICAL_STEPS, self.batch_size)
            states = sample(self.model, self.spec, make_requests([contrast], TYPICAL, seed=0), how)
            self.typical_images[contrast] = self.spec.transform.image(torch.cat(states))
        return self.typical_images[contrast]

    def condition(self, scan: RawScan, contrast: str | None, slices: Sequence[int]) -> tuple[str | None, Tensor | None]:
        """The contrast of a file's slices and their condition [S, D], from its header; None for an unconditional prior.

        Args:
            contrast: None: that of the file; "any": unconditional.

        Raises:
            InputError: a contrast that the prior does not know.
        """
        if not self.model.conditional or contrast == ANY:
            return None, self.encode(contrast, {}, len(slices))
        name = contrast or self.spec.contrast_of(scan.volume.acquisition)
        if name not in self.spec.contrasts:
            raise InputError(f"is {name}, and the prior knows {', '.join(self.spec.contrasts)}; set contrast= to one or any")
        return name, self.spec.conditioning.encode_slices(replace(scan.volume, contrast=name), slices)

    def encode(self, contrast: str | None, parameters: Mapping[str, Any], n: int, extrapolate: bool = False) -> Tensor | None:
        """The condition [n, D] of a contrast (None or "any": of none) and parameters; None for an unconditional prior.

        Raises:
            InputError: a contrast or parameter that the prior does not know.
        """
        if not self.model.conditional:
            given = {"contrast": contrast, **parameters}
            for name, value in given.items():
                if value is not None:
                    raise InputError(f"{name}={value}: this checkpoint is unconditional; leave {name}= out")
            return None
        return self.spec.conditioning.encode(None if contrast == ANY else contrast, parameters, extrapolate).expand(n, -1)
