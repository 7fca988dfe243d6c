"""What a model's images are of a measurement: ways to pose it as an inverse problem for priors of complex or magnitude images.

Each takes a `Measurement` and the slices that are wanted, one of which may come several times, and gives an `InverseProblem`.
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
    """y = A(x) + noise for x [B, *shape], and how x belongs to the slices of a measurement.

    Attributes:
        each: x's that belong to one slice; they follow one another.
        assemble: x -> complex images [B / each, H, W] in the units of the measurement.
        prior: the model's denoiser -> that of x.
    """

    shape: tuple[int, int, int]
    assemble: Callable[[Tensor], Tensor]
    prior: Callable[[Denoise], Denoise] = lambda denoise: denoise
    each: int = 1


Formulation = Callable[[Measurement, Sequence[int]], InverseProblem]


def combined(measured: Measurement, slices: Sequence[int]) -> InverseProblem:
    """The complex image of all coils, by a model of such images."""
    size = measured.grid.size
    A, y = measured.operator(slices), measured.kspace[list(slices)]
    return InverseProblem(A, y, measured.sigma_y, (2, size, size), to_complex)


def phased(measured: Measurement, slices: Sequence[int]) -> InverseProblem:
    """The magnitude, by a model of magnitudes; the phase is that of the calibration region's image, which is smooth."""
    size = measured.grid.size
    sense, y = measured.operator(slices), measured.kspace[list(slices)]
    image = to_complex(sense.adjoint(_calibration(measured) * y))
    phase = torch.polar(torch.ones_like(image.abs()), image.angle())
    A = PhaseConstrainedSense(sense, phase)
    air = torch.full((len(y), 1, size, size), AIR, device=y.device)
    return InverseProblem(A, y + A(air), measured.sigma_y, (1, size, size), lambda x: (x - AIR)[:, 0] * phase)


def componentwise(measured: Measurement, slices: Sequence[int]) -> InverseProblem:
    """The complex image, real and imaginary parts each by a model of magnitudes, as if they were (Chung & Ye 2022)."""
    return replace(combined(measured, slices), prior=by_components)


def coilwise(measured: Measurement, slices: Sequence[int]) -> InverseProblem:
    """Every coil's image by itself; in the end their root sum of squares, with the phase of their combination."""
    size, y = measured.grid.size, measured.kspace[list(slices)]
    coils = y.shape[1]
    A = per_coil_fourier(measured.mask, (size, size))
    apart = y.flatten(0, 1)[:, None]
    middle = center_crop_or_pad(ifft2c(_calibration(measured) * apart), (size, size)).flatten(1).abs()
    brightest = torch.stack([torch.quantile(one, measured.grid.quantile) for one in middle])
    size_of = (brightest / measured.grid.white).clamp(min=1e-6).view(-1, 1, 1)
    maps = center_crop_or_pad(measured.maps[list(slices)], (size, size))

    def assemble(x: Tensor) -> Tensor:
        images = (to_complex(x) * size_of).unflatten(0, (-1, coils))
        return torch.polar(rss(images), sense_combine(images, maps).angle())

    sigma_y = measured.sigma_y / float(size_of.mean())
    return InverseProblem(A, apart / size_of[:, None], sigma_y, (2, size, size), assemble, each=coils)


def coilwise_components(measured: Measurement, slices: Sequence[int]) -> InverseProblem:
    """`coilwise`, by a model of magnitudes."""
    return replace(coilwise(measured, slices), prior=by_components)


@dataclass(frozen=True)
class Decoded:
    """An operator of images as one of their codes z: A(decode(z)).

    ``adjoint`` is that of its derivative at z = 0, which is its own where ``decode`` is linear; an autoencoder's is not, and
    methods that ask for an adjoint are wrong there.
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


def decoded(formulation: Formulation, codec: Codec) -> Formulation:
    """The same problem for the codes of its images, by a model of those."""

    def of(measured: Measurement, slices: Sequence[int]) -> InverseProblem:
        problem = formulation(measured, slices)
        size, shape = (problem.shape[1], problem.shape[2]), codec.shape(problem.shape)
        A = Decoded(problem.A, lambda z: codec.decode(z, size), shape)
        return replace(problem, A=A, shape=shape, assemble=lambda z: problem.assemble(codec.decode(z, size)))

    return of


def by_components(denoise: Denoise) -> Denoise:
    """From a denoiser of magnitudes [B, 1, H, W] to one of complex images [B, 2, H, W], part by part."""

    def denoised(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        parts = x.flatten(0, 1)[:, None] + AIR
        again = None if cond is None else cond.repeat_interleave(2, dim=0)
        return (denoise(parts, sigma, again) - AIR).view_as(x)

    return denoised


def _calibration(measured: Measurement) -> Tensor:
    """Of the mask, the block about the centre without gaps, under a Hann window."""
    rows, cols = measured.calibration
    windows = [torch.hann_window(n + 2, periodic=False, device=measured.mask.device)[1:-1] for n in (rows, cols)]
    return center_crop_or_pad(windows[0][:, None] * windows[1], (measured.mask.shape[0], measured.mask.shape[1]))
