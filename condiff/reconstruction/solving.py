"""Solving a measurement: all slices and samples in batches, each with the noise of its own seed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from condiff.diffusion.denoiser import Denoise
from condiff.diffusion.inverse import Method
from condiff.diffusion.noise import SeededNoise
from condiff.reconstruction.measurement import Measurement
from condiff.reconstruction.problems import Pose, Problem
from condiff.sampling import FRAMES
from condiff.seeds import derive_seed


@dataclass(frozen=True)
class Solver:
    """A method with all it needs but the measurement.

    Args:
        denoise: the model, guided or not.
        method: one of `condiff.diffusion.inverse`.
        pose: one of `condiff.reconstruction.problems`.
        sigmas: its levels [N + 1], the last 0.
        samples: K, of each slice.
        batch_size: images at once.
        seed: sample k of slice s depends on (seed, s, k) alone.
    """

    denoise: Denoise
    method: Method
    pose: Pose
    sigmas: Tensor
    samples: int
    batch_size: int
    seed: int

    def __call__(
        self,
        measured: Measurement,
        slices: Sequence[int],
        cond: Tensor | None,
        on_step: Callable[[float], None] = lambda share: None,
    ) -> tuple[Tensor, Tensor]:
        """Complex images [K, S, H, W] of some slices, and the way of the first sample of the middle one there [F, H, W].

        A batch that does not fit into memory is halved, which changes nothing but the time.

        Args:
            cond: [S, D] or None.
            on_step: told the share of the volume's work that was done.

        Raises:
            torch.OutOfMemoryError: one image alone does not fit.
        """
        items = [(index, k) for index in range(len(slices)) for k in range(self.samples)]
        batches = [items[begin : begin + self.batch_size] for begin in range(0, len(items), self.batch_size)]
        found, way, tick, each = [], [], 1 / len(items) / len(self.sigmas), -(-len(self.sigmas) // FRAMES)
        while batches:
            part = batches.pop(0)
            shown = part.index((len(slices) // 2, 0)) if (len(slices) // 2, 0) in part else None
            try:
                states, problem = [], self.pose(measured, [slices[index] for index, _ in part])
                for step, state in enumerate(self._walk(problem, slices, part, cond)):
                    if shown is not None and step % each == 0:
                        states.append(problem.assemble(state)[shown].cpu())
                    on_step(len(part) * tick)
                images = problem.assemble(state).cpu()
            except torch.OutOfMemoryError:
                if len(part) == 1:
                    raise
                torch.cuda.empty_cache()
                batches[:0] = [part[: len(part) // 2], part[len(part) // 2 :]]
                continue
            found.append(images)
            if shown is not None:
                way = [*states, images[shown]]
        return torch.cat(found).unflatten(0, (len(slices), self.samples)).transpose(0, 1), torch.stack(way)

    def _walk(
        self, problem: Problem, slices: Sequence[int], items: Sequence[tuple[int, int]], cond: Tensor | None
    ) -> Iterator[Tensor]:
        """States after every step."""
        seeds = [derive_seed("reconstruct", self.seed, slices[i], k, c) for i, k in items for c in range(problem.each)]
        noise = SeededNoise(seeds)
        x = self.sigmas[0] * noise.draw(problem.shape).to(problem.y.device)
        known = None if cond is None else cond[[index for index, _ in items]].repeat_interleave(problem.each, dim=0).to(x)
        denoise = problem.prior(self.denoise)
        yield from self.method(denoise, x, self.sigmas, problem.A, problem.y, problem.sigma_y, known, noise=noise)
