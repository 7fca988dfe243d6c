"""Formulations: ways to pose a measurement as an inverse problem for priors of complex or magnitude images.

Each takes a `Measurement` and indices of slices, in which a slice may occur several times, and returns an `InverseProblem`.
Units are the model's, in which air and white are 2 apart: 0 and 2 in complex images, -1 and 1 in magnitudes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from condiff.diffusion.denoiser import Denoise
from condiff.diffusion.inverse import Problem
from condiff.linear import LinearOperator
from condiff.mri.coils import sense_combine
from condiff.mri.fourier import center_crop_or_pad, ifft2c, rss, to_complex
from condiff.mri.operators import PhaseConstrainedSense, per_coil_fourier
from condiff.nn import Codec
from condiff.reconstruction.measurement import Measurement

AIR = -1.0  # of magnitude images


@dataclass(frozen=True)
class InverseProblem(Problem):
    """y = A(x) + noise for x [B, *shape], and the way back from x to images of the slices.

    Attributes:
        assemble: x -> complex images [B / per_slice, H, W] in the units of the measurement.
        prior: turns the model's denoiser into a denoiser of x.
        per_slice: number of consecutive x's that belong to one slice.
    """

    shape: tuple[int, int, int]
    assemble: Callable[[Tensor], Tensor]
    prior: Callable[[Denoise], Denoise] = lambda denoise: denoise
    per_slice: int = 1


Formulation = Callable[[Measurement, Sequence[int]], InverseProblem]


def sense_problem(measurement: Measurement, slices: Sequence[int]) -> InverseProblem:
    """x is the complex image of all coils; for priors of complex images."""
    size = measurement.grid.size
    A, y = measurement.operator(slices), measurement.kspace[list(slices)]
    return InverseProblem(A, y, measurement.sigma_y, (2, size, size), to_complex)


def phase_constrained(measurement: Measurement, slices: Sequence[int]) -> InverseProblem:
    """x is the magnitude; the phase is that of the calibration region's image, which is smooth. For priors of magnitudes."""
    size = measurement.grid.size
    sense, y = measurement.operator(slices), measurement.kspace[list(slices)]
    image = to_complex(sense.adjoint(_calibration(measurement) * y))
    phase = torch.polar(torch.ones_like(image.abs()), image.angle())
    A = PhaseConstrainedSense(sense, phase)
    air = torch.full((len(y), 1, size, size), AIR, device=y.device)
    return InverseProblem(A, y + A(air), measurement.sigma_y, (1, size, size), lambda x: (x - AIR)[:, 0] * phase)


def real_and_imaginary(measurement: Measurement, slices: Sequence[int]) -> InverseProblem:
    """As `sense_problem`; a prior of magnitudes is applied to real and imaginary part separately (Chung & Ye 2022)."""
    return replace(sense_problem(measurement, slices), prior=denoise_components)


def per_coil(measurement: Measurement, slices: Sequence[int]) -> InverseProblem:
    """x is one coil's image; the results are combined by root sum of squares, with the phase of their SENSE combination."""
    size, y = measurement.grid.size, measurement.kspace[list(slices)]
    coils = y.shape[1]
    A = per_coil_fourier(measurement.mask, (size, size))
    coil_kspace = y.flatten(0, 1)[:, None]
    images = center_crop_or_pad(ifft2c(_calibration(measurement) * coil_kspace), (size, size)).flatten(1).abs()
    brightest = torch.stack([torch.quantile(image, measurement.grid.quantile) for image in images])
    coil_scale = (brightest / measurement.grid.reference_intensity).clamp(min=1e-6).view(-1, 1, 1)
    maps = center_crop_or_pad(measurement.maps[list(slices)], (size, size))

    def assemble(x: Tensor) -> Tensor:
        images = (to_complex(x) * coil_scale).unflatten(0, (-1, coils))
        return torch.polar(rss(images), sense_combine(images, maps).angle())

    sigma_y = measurement.sigma_y / float(coil_scale.mean())
    return InverseProblem(A, coil_kspace / coil_scale[:, None], sigma_y, (2, size, size), assemble, per_slice=coils)


def per_coil_real_and_imaginary(measurement: Measurement, slices: Sequence[int]) -> InverseProblem:
    """`per_coil` with real and imaginary part separate, for priors of magnitudes."""
    return replace(per_coil(measurement, slices), prior=denoise_components)


@dataclass(frozen=True)
class OfCodes(LinearOperator):
    """An operator of images as an operator of their codes z: A(decode(z)).

    ``adjoint`` is the adjoint of its derivative at z = 0. For a linear ``decode`` that is the operator's own adjoint. An
    autoencoder is not linear, so methods that need the adjoint are not valid with it.
    """

    A: LinearOperator
    decode: Callable[[Tensor], Tensor]
    shape: tuple[int, int, int]

    def __call__(self, x: Tensor) -> Tensor:
        return self.A(self.decode(x))

    def adjoint(self, y: Tensor) -> Tensor:
        images = self.A.adjoint(y)
        pull = torch.func.vjp(self.decode, images.new_zeros(len(images), *self.shape))[1]
        return pull(images)[0]


def in_latent_space(formulation: Formulation, codec: Codec) -> Formulation:
    """A formulation whose x are the codes of another one's images; for priors of codes."""

    def formulate(measurement: Measurement, slices: Sequence[int]) -> InverseProblem:
        problem = formulation(measurement, slices)
        size, shape = (problem.shape[1], problem.shape[2]), codec.shape(problem.shape)
        A = OfCodes(problem.A, lambda z: codec.decode(z, size), shape)
        return replace(problem, A=A, shape=shape, assemble=lambda z: problem.assemble(codec.decode(z, size)))

    return formulate


def denoise_components(denoise: Denoise) -> Denoise:
    """Turns a denoiser of magnitudes [B, 1, H, W] into one of complex images [B, 2, H, W], applied to each part."""

    def denoised(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        parts = x.flatten(0, 1)[:, None] + AIR
        cond = None if cond is None else cond.repeat_interleave(2, dim=0)
        return (denoise(parts, sigma, cond) - AIR).view_as(x)

    return denoised


def _calibration(measurement: Measurement) -> Tensor:
    """The fully sampled block at the center of k-space, under a Hann window, zero elsewhere [h, w]."""
    rows, cols = measurement.calibration
    windows = [torch.hann_window(n + 2, periodic=False, device=measurement.mask.device)[1:-1] for n in (rows, cols)]
    return center_crop_or_pad(windows[0][:, None] * windows[1], (measurement.mask.shape[0], measurement.mask.shape[1]))
