"""Solving a measurement: all slices and samples in batches, each sample with the noise of its own seed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from condiff.data.fastmri.raw_scan import RawScan
from condiff.diffusion.denoiser import Denoise
from condiff.diffusion.guidance import FiniteWatch
from condiff.diffusion.inverse import Method, Problem
from condiff.diffusion.noise import Noise, SeededNoise
from condiff.diffusion.schedules import Schedule
from condiff.errors import InputError, check_whole
from condiff.linear import LinearOperator
from condiff.nn import Codec
from condiff.reconstruction.formulations import Formulation, InverseProblem
from condiff.reconstruction.measurement import Measurement
from condiff.reconstruction.prior import Prior
from condiff.sampling import ANY
from condiff.sampling.batch import MAX_FRAMES
from condiff.sampling.cost import SamplingCost
from condiff.sampling.memory import Batches
from condiff.seeds import derive_seed


def without_prior(solve: Callable[[LinearOperator, Tensor, float], Tensor]) -> Method:
    """A classical solver x = solve(A, y, sigma_y), such as `condiff.mri.sense.sense`, as a method of one step."""

    def method(
        denoise: Denoise,
        x: Tensor,
        sigmas: Tensor,
        problem: Problem,
        cond: Tensor | None = None,
        *,
        noise: Noise = torch.randn_like,
    ) -> Iterator[Tensor]:
        yield solve(problem.A, problem.y, problem.sigma_y)

    return method


@dataclass(frozen=True)
class ReconstructionMethod:
    """A method of reconstruction, as conf/method describes it.

    Attributes:
        fn: one of `condiff.diffusion.inverse`, or a classical solver of `condiff.mri`.
        complex, magnitude: the formulation for priors of complex or magnitude images.
        latent: (formulation, codec) -> the formulation for codes; None: the method is not valid for models of codes.
        levels: its noise levels.
        needs_prior: whether it evaluates a network.
        steps: the default number.
    """

    fn: Callable[..., Any]
    complex: Formulation
    magnitude: Formulation
    levels: Schedule
    latent: Callable[[Formulation, Codec], Formulation] | None = None
    needs_prior: bool = True
    steps: int = 50

    def solver(self, prior: Prior, steps: int, samples: int, seed: int) -> "Solver":
        """The method with its prior, levels and noise.

        Raises:
            InputError: samples or steps given to a method without a prior, or a method that is not valid for models of codes.
        """
        for name, value in (("samples", samples), ("steps", steps)):
            check_whole(name, value)
        check_whole("seed", seed, at_least=None)
        if not self.needs_prior and (samples, steps) != (1, 1):
            raise InputError(f"samples={samples} steps={steps}: this method has no prior and one result; leave them out")
        if self.needs_prior and steps == 1:
            raise InputError("steps=1: this method goes from noise to an image in several; give at least 2")
        fn = self.fn if self.needs_prior else without_prior(self.fn)
        sigmas = self.levels.steps(steps)
        return Solver(prior.denoise, fn, self._formulation(prior), sigmas, samples, Batches(prior.batch_size), seed, prior.cost)

    def condition(
        self, prior: Prior, scan: RawScan, contrast: str | None, slices: Sequence[int]
    ) -> tuple[Tensor | None, Tensor | None]:
        """The condition of a file's slices, and typical images of its contrast; without a prior those of no contrast, and none.

        Raises:
            InputError: a contrast that the prior does not know.
        """
        if not self.needs_prior:
            return prior.encode(contrast or ANY, {}, len(slices)), None
        name, cond = prior.condition(scan, contrast, slices)
        return cond, prior.typical(name)

    def _formulation(self, prior: Prior) -> Formulation:
        formulation, codec = {"complex": self.complex, "magnitude": self.magnitude}[prior.kind], prior.model.codec
        if not codec.is_latent or not self.needs_prior:
            return formulation
        if self.latent is None:
            raise InputError(
                "ckpt: is a model of codes, and their k-space is no linear function of them, as this method takes it to be; set "
                "method=dps, or give a model of pixels"
            )
        return self.latent(formulation, codec)


@dataclass
class Solver:
    """A method with its prior, noise levels and seed, ready for any measurement.

    Args:
        denoise: the model, guided or not.
        method: one of `condiff.diffusion.inverse`.
        formulation: one of `condiff.reconstruction.formulations`.
        sigmas: its levels [N + 1], the last 0.
        samples: K, for each slice.
        batches: of images that are solved at once.
        seed: of the noise.
        cost: of ``denoise`` so far.
    """

    denoise: Denoise
    method: Method
    formulation: Formulation
    sigmas: Tensor
    samples: int
    batches: Batches
    seed: int
    cost: SamplingCost = field(default_factory=SamplingCost)

    def __call__(
        self,
        measurement: Measurement,
        places: Sequence[int],
        streams: Sequence[tuple[str | int, ...]],
        cond: Tensor | None,
        on_step: Callable[[float], None] = lambda share: None,
    ) -> tuple[Tensor, Tensor]:
        """Complex images [K, S, H, W] of slices of a measurement, and a trajectory [F, H, W], of the middle slice's first sample.

        Args:
            places: indices of the slices in the measurement.
            streams: names of the noise of each slice; sample k depends on (seed, stream, k) alone.
            cond: [S, D] or None.
            on_step: receives the share of the volume's work that was done; negative when it must be repeated.

        Raises:
            NotANumber: an output of the network is not finite.
            torch.OutOfMemoryError: one image alone does not fit.
        """
        items = [(index, k) for index in range(len(places)) for k in range(self.samples)]

        def solve(batch: Sequence[tuple[int, int]]) -> tuple[Tensor, list[Tensor]]:
            return self._solve(measurement, places, streams, batch, cond, lambda steps: on_step(steps / len(items)))

        images, trajectories = zip(*self.batches.map(solve, items), strict=True)
        trajectory = torch.stack([state for states in trajectories for state in states])
        return torch.cat(images).unflatten(0, (len(places), self.samples)).transpose(0, 1), trajectory

    def _solve(
        self,
        measurement: Measurement,
        places: Sequence[int],
        streams: Sequence[tuple[str | int, ...]],
        items: Sequence[tuple[int, int]],
        cond: Tensor | None,
        on_step: Callable[[float], None],
    ) -> tuple[Tensor, list[Tensor]]:
        """Images [B, H, W] of (slice, sample) pairs; the trajectory of the middle slice's first sample if it is among them."""
        done, tick, interval = 0.0, len(items) / len(self.sigmas), -(-len(self.sigmas) // MAX_FRAMES)
        recorded = items.index((len(places) // 2, 0)) if (len(places) // 2, 0) in items else None
        states, watch = [], FiniteWatch(self.denoise)
        try:
            problem = self.formulation(measurement, [places[index] for index, _ in items])
            for step, state in enumerate(self._states(watch, problem, streams, items, cond)):
                if recorded is not None and step % interval == 0:
                    states.append(problem.assemble(state)[recorded].cpu())
                done += tick
                on_step(tick)
            watch.check()
            images = problem.assemble(state).cpu()
        except (MemoryError, RuntimeError):
            on_step(-done)
            raise
        return images, [*states, images[recorded]] if recorded is not None else []

    def _states(
        self,
        denoise: Denoise,
        problem: InverseProblem,
        streams: Sequence[tuple[str | int, ...]],
        items: Sequence[tuple[int, int]],
        cond: Tensor | None,
    ) -> Iterator[Tensor]:
        """Yields x after every step."""
        seeds = [
            derive_seed("reconstruct", self.seed, *streams[i], k, coil) for i, k in items for coil in range(problem.per_slice)
        ]
        noise = SeededNoise(seeds)
        x = self.sigmas[0] * noise.draw(problem.shape, problem.y.device)
        indices = [index for index, _ in items]
        batch_cond = None if cond is None else cond[indices].repeat_interleave(problem.per_slice, dim=0).to(x)
        yield from self.method(problem.prior(denoise), x, self.sigmas, problem, batch_cond, noise=noise)
