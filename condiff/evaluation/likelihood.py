"""Likelihood of images under a model, in bits per dimension, as a table and as a figure."""

from collections.abc import Callable, Sequence

import torch
from matplotlib.figure import Figure
from rich.table import Table
from torch import Tensor

from condiff.data.image_spec import ImageSpec
from condiff.diffusion.likelihood import Bound, flow_bits, variational_bound
from condiff.diffusion.model import DiffusionModel
from condiff.diffusion.noise import SeededNoise
from condiff.sampling.memory import Batches
from condiff.seeds import derive_seed

COLUMNS = ("bound", "prior", "terms", "reconstruction", "flow")
Bits = dict[str, dict[str, Tensor]]  # set and contrast -> column -> bits of each image [N]; "by level" [N, steps - 1]


def bits_per_dimension(
    model: DiffusionModel,
    spec: ImageSpec,
    images: Tensor,
    contrast: str | None,
    steps: int,
    width: float,
    seed: int = 0,
    batch_size: int = 32,
    on_batch: Callable[[], None] = lambda: None,
) -> dict[str, Tensor]:
    """Return the bits per dimension [N] of images [N, C, H, W] of a contrast, by column.

    "bound" = "prior" + "terms" + "reconstruction" (Ho et al. 2020, eq. 5); "by level" [N, steps - 1] are the single terms;
    "flow" is the density of the probability-flow ODE (Song et al. 2021, eq. 39), which takes most of the time.

    Args:
        contrast: None for an unconditional model.
        steps: number of noise levels.
        width: bin width of the assumed quantization, in units of the image.
        seed: of the noise; each image has its own, by its index.
        on_batch: called after each batch.
    """
    sigmas = model.schedule.steps(steps)

    def measure(indices: Sequence[int]) -> tuple[Bound, Tensor]:
        x0, cond, noise = _batch(model, spec, images, contrast, seed, indices)
        measured = variational_bound(model, x0, sigmas, cond, width, noise), flow_bits(model, x0, sigmas, cond, width, noise)
        on_batch()
        return measured

    bounds, flows = zip(*Batches(batch_size).map(measure, range(len(images))), strict=True)
    bound = Bound(*(torch.cat(column).cpu() for column in zip(*bounds, strict=True)))
    parts = {"bound": bound.total, "prior": bound.prior, "terms": bound.terms.sum(1), "reconstruction": bound.reconstruction}
    return parts | {"flow": torch.cat(flows).cpu(), "by level": bound.terms}


def bound_bits(
    model: DiffusionModel, spec: ImageSpec, images: Tensor, contrast: str | None, steps: int, width: float, seed: int = 0
) -> Tensor:
    """Return the column "bound" of `bits_per_dimension` alone, [N]."""
    sigmas = model.schedule.steps(steps)

    def measure(indices: Sequence[int]) -> Tensor:
        x0, cond, noise = _batch(model, spec, images, contrast, seed, indices)
        return variational_bound(model, x0, sigmas, cond, width, noise).total.cpu()

    return torch.cat([*Batches(32).map(measure, range(len(images)))])


def _batch(
    model: DiffusionModel, spec: ImageSpec, images: Tensor, contrast: str | None, seed: int, indices: Sequence[int]
) -> tuple[Tensor, Tensor, SeededNoise]:
    """Return the codes of some images, their condition and their noise."""
    cond = spec.conditioning.encode(contrast if model.conditional else None).to(model.device)
    noise = SeededNoise([derive_seed("likelihood", seed, index) for index in indices])
    return model.codec.encode(images[list(indices)].to(model.device)), cond.expand(len(indices), -1), noise


def summarize_bits(bits: Bits) -> tuple[Table, dict[str, dict[str, list[float]]]]:
    """Return mean and standard error of each column, as a table and as numbers."""
    table, numbers = Table("bits per dimension", *COLUMNS), {}
    for title, columns in bits.items():
        statistics = {name: (values.mean().item(), values.std().item() / len(values) ** 0.5) for name, values in columns.items()}
        numbers[title] = {name: list(statistics[name]) for name in COLUMNS}
        table.add_row(title, *(f"{mean:.3f} ± {error:.3f}" for mean, error in (statistics[name] for name in COLUMNS)))
    return table, numbers


def plot_bits(bits: Bits, sigmas: Tensor) -> Figure:
    """Return a plot of the bits of each step between levels, per unit of log sigma, so that areas are bits."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis, upper, lower = figure.subplots(), sigmas[:-2], sigmas[1:-1]
    contrasts = list(dict.fromkeys(title.split()[-1] for title in bits))
    for title, columns in bits.items():
        density = columns["by level"].mean(0) / (upper / lower).log()
        style, color = "-" if title.startswith("held") else "--", f"C{contrasts.index(title.split()[-1])}"
        axis.plot((upper * lower).sqrt(), density, style, color=color, linewidth=1, label=title)
    axis.set(xscale="log", xlabel="sigma", ylabel="bits per dimension and unit of ln sigma")
    axis.legend(fontsize=7)
    return figure
