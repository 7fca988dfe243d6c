"""The solver's batches: noise by name, memory that runs out, progress."""

import sys
from contextlib import nullcontext

import pytest
import torch

from condiff.errors import NotANumber
from condiff.reconstruction.formulations import sense_problem
from condiff.reconstruction.measurement import ImageGrid, Measurement
from condiff.reconstruction.solver import Solver
from condiff.sampling.memory import Batches

SIGMAS = torch.tensor([1.0, 0.5, 0.0])


def measurement(slices=3):
    kspace = torch.zeros(slices, 1, 8, 8, dtype=torch.complex64)
    return Measurement(kspace, torch.ones(8, 8, dtype=torch.bool), kspace + 1, (8, 8), torch.eye(1), torch.eye(1), [], 1.0, 0.1,
                       ImageGrid(8, 220.0, 0.99))  # fmt: skip


def noise_alone(denoise, x, sigmas, problem, cond, noise):
    """A method whose answer is its start."""
    for _ in sigmas:
        yield x


def solver(method=noise_alone, batch_size=2, samples=2):
    return Solver(lambda x, sigma, cond: x, method, sense_problem, SIGMAS, samples, Batches(batch_size), seed=0)


def test_a_bad_slice_leaves_the_noise_of_the_others():
    """Equal bits with and without slice 1, in other batches; another file and another slice have noise of their own."""
    streams = [("a.h5", 0), ("a.h5", 1), ("a.h5", 2)]
    every, _ = solver()(measurement(), [0, 1, 2], streams, None)
    others, _ = solver()(measurement(), [0, 2], [streams[0], streams[2]], None)
    assert torch.equal(every[:, [0, 2]], others)
    elsewhere, _ = solver()(measurement(), [0], [("b.h5", 0)], None)
    assert not torch.equal(elsewhere[:, 0], every[:, 0]) and not torch.equal(every[:, 0], every[:, 1])
    assert not torch.equal(every[0], every[1])


def test_an_output_that_is_not_a_number_ends_its_volume_alone():
    """Also where the method fails afterwards, as a Cholesky decomposition would: the next volume knows nothing of it."""
    outputs, failures = iter([torch.nan, torch.nan, 1.0, torch.nan]), iter([True, False, False, False])

    def method(denoise, x, sigmas, problem, cond, noise):
        yield denoise(x, sigmas[0], cond)
        if next(failures):
            raise torch.linalg.LinAlgError

    solve = Solver(lambda x, sigma, cond: next(outputs) * x, method, sense_problem, SIGMAS, samples=1, batches=Batches(2), seed=0)
    for error in (torch.linalg.LinAlgError, NotANumber, None, NotANumber):
        with pytest.raises(error) if error else nullcontext():
            solve(measurement(1), [0], [("a.h5", 0)], None)


def test_out_of_memory_halves_the_batch_for_good(monkeypatch):
    """Freed where no traceback holds the activations; later batches are small at once; progress ends at 1."""
    tried, handled, shares = [], [], []

    def greedy(denoise, x, sigmas, problem, cond, noise):
        tried.append(len(x))
        yield x
        if len(x) > 2:
            raise torch.OutOfMemoryError
        yield x
        yield x

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: handled.append(sys.exc_info()[1]))
    solve = solver(greedy, batch_size=8, samples=3)
    streams = [("a.h5", index) for index in range(3)]
    images, way = solve(measurement(), [0, 1, 2], streams, None, shares.append)
    assert tried == [8, 4, 2, 2, 2, 2, 1] and handled == [None, None] and solve.batches.size == 2
    assert sum(shares) == pytest.approx(1) and images.shape == (3, 3, 8, 8) and len(way) == 4
    torch.testing.assert_close(images, solver(samples=3)(measurement(), [0, 1, 2], streams, None)[0])
    tried.clear()
    solve(measurement(), [0], streams[:1], None)
    assert tried == [2, 1]


def test_one_image_that_does_not_fit():
    def greedy(*arguments, noise):
        raise torch.OutOfMemoryError
        yield

    with pytest.raises(torch.OutOfMemoryError):
        solver(greedy)(measurement(), [0], [("a.h5", 0)], None)
