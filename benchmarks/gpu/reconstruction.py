"""Seconds per slice of reconstruct.py's methods and of coil maps, for 15 coils and slices of 320 x 320 from 640 x 320 samples.

Weights are random: time does not depend on them. The k-space is of a disc that 15 coils around it see, with noise.
"""

import math
from functools import partial

import torch
from hydra.utils import instantiate
from torch import Tensor

from benchmarks.gpu.models import CASES, Program, evaluation
from benchmarks.gpu.report import Add, Bench, seconds_of, seconds_per_call
from benchmarks.networks import DEVICE
from condiff.configuration import compose
from condiff.diffusion.guidance import identity
from condiff.mri.fourier import fft2c
from condiff.mri.maps import espirit
from condiff.mri.masks import equispaced_fraction
from condiff.reconstruction.measurement import ImageGrid, Measurement
from condiff.reconstruction.measurement import measure as measured
from condiff.reconstruction.prior import Prior

COILS, VIRTUAL, SLICES = 15, 8, 8
METHODS = ("dds", "posterior")
FOV_MM = 220.0
NOISE = 0.02


def measure(bench: Bench, add: Add) -> None:
    """Maps, the whole measurement, and the two methods with a prior of unet_320's size."""
    matrix, coils, slices = (16, 4, 2) if bench.toy else (320, COILS, SLICES)
    kspace = scan(matrix, coils, slices)
    maps(kspace, bench, add)
    mask = equispaced_fraction((2 * matrix, matrix), 2 if bench.toy else 4, 0.4 if bench.toy else 0.08, torch.Generator())
    grid = ImageGrid(matrix, FOV_MM, 0.99)
    rows: list[Measurement] = []
    take = partial(measured, kspace, mask.to(DEVICE), (2 * FOV_MM, FOV_MM), grid, espirit, coils=VIRTUAL)
    seconds = seconds_of(lambda: rows.append(take()))
    add(what=f"measurement with ESPIRiT maps, {coils} coils to {VIRTUAL}", slices=slices, **{"s/slice": seconds / slices})
    program = Program(CASES["unet_320, 320, complex"].words, bench.toy)
    network = seconds_per_call({"": evaluation(program, slices, False)}, bench.rounds)[""]
    add(what="one network evaluation, float32", slices=slices, **{"s/slice": network / slices})
    for name in METHODS:
        method(name, program, rows[-1], slices, network, bench, add)


def scan(matrix: int, coils: int, slices: int) -> Tensor:
    """K-space [S, K, 2 matrix, matrix], fully sampled."""
    generator = torch.Generator().manual_seed(0)
    rows, cols = torch.linspace(-2, 2, 2 * matrix)[:, None], torch.linspace(-1, 1, matrix)
    disc = (rows**2 + cols**2 < 0.5) * (1 + 0.2 * torch.randn(slices, 1, 2 * matrix, matrix, generator=generator))
    angle = torch.arange(coils) * 2 * math.pi / coils
    distance = (rows - angle.sin()[:, None, None]) ** 2 + (cols - angle.cos()[:, None, None]) ** 2
    images = disc * torch.polar((-distance).exp(), (rows * angle[:, None, None]).expand_as(distance))
    noise = torch.randn(images.shape, dtype=torch.complex64, generator=generator)
    return fft2c(images.to(DEVICE)) + NOISE * noise.to(DEVICE)


def maps(kspace: Tensor, bench: Bench, add: Add) -> None:
    """ESPIRiT of one slice, of all coils and of as many as reconstruct.py leaves."""
    for coils in dict.fromkeys((min(VIRTUAL, kspace.shape[1]), kspace.shape[1])):
        one = kspace[:1, :coils].contiguous()
        seconds = seconds_per_call({"": partial(espirit, one)}, min(bench.rounds, 3))[""]
        add(what=f"ESPIRiT maps, {coils} coils", slices=1, **{"s/slice": seconds})


def method(name: str, program: Program, scanned: Measurement, slices: int, network: float, bench: Bench, add: Add) -> None:
    """All slices at once by a method of conf/, after a few steps that do not count."""
    cfg = compose("reconstruct", [f"method={name}", "sigma_data=0.5", "out=unused"])
    prior = Prior(program.system.model.eval(), program.spec, identity, batch_size=slices)
    places, streams = list(range(slices)), [("benchmark", index) for index in range(slices)]
    cond = program.inputs(slices)[2]

    def solve(steps: int) -> object:
        return instantiate(cfg.method).solver(prior, steps, 1, 0)(scanned, places, streams, cond)

    solve(2)
    steps = 3 if bench.toy else int(cfg.steps)
    seconds = seconds_of(lambda: solve(steps))
    figures = {"s/slice": seconds / slices, "ms/step": 1000 * seconds / steps, "share of the network": steps * network / seconds}
    add(what=f"method={name}, {steps} steps", slices=slices, **figures)
