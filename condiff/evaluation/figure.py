"""One page of pictures: samples beside real images, scores beside floor and ceiling, spectra, the nearest training images."""

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from condiff.evaluation.distances import log_spectrum
from condiff.evaluation.evaluate import EvaluationResult
from condiff.evaluation.features import in_batches
from condiff.evaluation.memorisation import Neighbours
from condiff.evaluation.sets import Images, Rows, Sets, flipped
from condiff.evaluation.table import LINES, SPACES, named, summary

SHOWN = 8
PAIRS = 32  # named samples at most, the most alike first
CHARTS = (
    "c2st_auroc",
    "layout_wasserstein",
    "learned_frechet",
    "random_kid",
    "random_coverage",
    "cas",
    "spectrum_decibels",
    "ms_ssim",
)
SAMPLE, REAL, OTHER = "tab:blue", "0.35", "tab:orange"


def page(found: EvaluationResult, sets: Sets, heading: str = "") -> Figure:
    """Everything, real images among it: for this disk. The ``heading`` says of what."""
    rows = len(sets.kinds)
    copied = 1.2 * math.ceil(min(len(named(found)), PAIRS) / SHOWN)
    heights = [1.15 * rows, 4.4, 2.6, 1.05 * rows, *([copied] if copied else [])]
    figure = Figure(figsize=(15, 0.5 + sum(heights)), layout="constrained")
    parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
    parts[0].suptitle(_title(found, heading), fontsize=11)
    _images(parts[0], sets.kinds, {"generated": sets.samples, "real, held out": sets.held_out})
    _charts(parts[1], found)
    left, right = parts[2].subfigures(1, 2, width_ratios=[1.3, 1])
    _spectra(left, sets)
    if found.copies:
        _distances(right, found)
        _pairs(parts[3], found, sets)
    if copied:
        _named(parts[4], found, sets)
    return figure


def shareable(found: EvaluationResult, sets: Sets, heading: str = "") -> Figure:
    """No image of a patient: samples and charts; no samples either where nothing was looked for among the training images."""
    rows = len(sets.kinds)
    figure = Figure(figsize=(15, 5 + 1.2 * rows), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[1.2 * rows, 4.4])
    parts[0].suptitle(_title(found, heading), fontsize=11)
    if not found.copies:
        parts[0].text(0.5, 0.5, "samples withheld: without the training images copies cannot be excluded", ha="center")
    else:
        _images(parts[0], sets.kinds, {"generated": sets.samples})
    _charts(parts[1], found)
    return figure


def as_image(figure: Figure) -> Image.Image:
    """The page as a picture."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _title(found: EvaluationResult, heading: str) -> str:
    return "\n".join([*textwrap.wrap(heading, 150), *textwrap.wrap(summary(found), 150)])


def _images(figure, rows: Rows, columns: Mapping[str, Images]) -> None:
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for place, title in zip(axes[0], columns, strict=True):
        place.set_title(title, fontsize=10)
    for row, (name, contrast) in zip(axes, rows.items(), strict=True):
        for place, images in zip(row, columns.values(), strict=True):
            mine = images.pixels[images.of(contrast)]
            chosen = torch.linspace(0, len(mine) - 1, min(SHOWN, len(mine))).round().long()
            _show(place, mine[chosen])
        row[0].set_ylabel(name)


def _show(axes: Axes, images: Tensor) -> None:
    """Images side by side, the front of the head at the top."""
    axes.imshow(torch.cat(list(images.flip(-2)), dim=1), cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _charts(figure, found: EvaluationResult) -> None:
    """Each score with its 95 %, over the band of real against real and the mark of another contrast."""
    names = list(found.scores)
    for axes, key in zip(figure.subplots(2, len(CHARTS) // 2).flat, CHARTS, strict=True):
        better = {1: " ↑", -1: " ↓", 0: " (as real)"}[LINES[key].better]
        axes.set_title(LINES[key].title + better, fontsize=9)
        for x, name in enumerate(names):
            if key not in found.scores[name]:
                continue
            ours, floor, ceiling = found.scores[name][key]
            axes.fill_between([x - 0.35, x + 0.35], floor.low, floor.high, color=REAL, alpha=0.25, lw=0)
            axes.hlines(
                floor.value, x - 0.35, x + 0.35, color=REAL, lw=1, label="real against real, band 95 %" if x == 0 else None
            )
            axes.plot(x, ceiling.value, "_", color=OTHER, ms=14, mew=2, label="another contrast" if x == 0 else None)
            bar = [[max(ours.value - ours.low, 0)], [max(ours.high - ours.value, 0)]]
            if math.isfinite(ours.value):
                axes.errorbar(
                    x, ours.value, bar, fmt="o", color=SAMPLE, capsize=3, ms=5, label="samples, 95 %" if x == 0 else None
                )
        axes.set_xticks(range(len(names)), [name.removeprefix("AX") for name in names], fontsize=8)
        axes.tick_params(axis="y", labelsize=8)
        axes.set_xlim(-0.6, len(names) - 0.4)
        if key.endswith(("frechet", "kid")):
            axes.set_yscale("symlog", linthresh=1)
        if key.endswith("frechet"):
            axes.set_ylim(bottom=0)
    figure.axes[0].legend(fontsize=7)


def _spectra(figure, sets: Sets) -> None:
    figure.suptitle("radial power spectrum, dB, over cycles a pixel; band: between held-out images, 80 %", fontsize=9)
    for axes, (name, contrast) in zip(figure.subplots(1, len(sets.kinds), squeeze=False)[0], sets.kinds.items(), strict=True):
        ours, real = (in_batches(log_spectrum, images.pixels[images.of(contrast)]) for images in (sets.samples, sets.held_out))
        frequency = torch.arange(real.shape[1]) / (2 * real.shape[1])
        low, high = real.quantile(torch.tensor([0.1, 0.9], dtype=torch.float64), dim=0)
        axes.fill_between(frequency, low, high, color=REAL, alpha=0.25, lw=0)
        axes.plot(frequency, real.mean(0), color=REAL, lw=1)
        axes.plot(frequency, ours.mean(0), color=SAMPLE, lw=1.2)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)


def _distances(figure, found: EvaluationResult) -> None:
    figure.suptitle("distance to the nearest training image over that to the 50 nearest: 0 is a copy", fontsize=9)
    for axes, (space, copies) in zip(figure.subplots(1, len(found.copies), squeeze=False)[0], found.copies.items(), strict=True):
        bins = torch.linspace(0, 1, 40).tolist()
        for name, near, tone in (("held out", copies.held_out, REAL), ("samples", copies.samples, SAMPLE)):
            axes.hist(near.distance, bins, density=True, histtype="stepfilled", alpha=0.45, color=tone, label=name)
        axes.set_title(SPACES[space].removeprefix("copies · "), fontsize=9)
        axes.set_yticks([])
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=7)


def _pairs(figure, found: EvaluationResult, sets: Sets) -> None:
    """The samples nearest to a training image, each left of it; and how near images of new patients come."""
    figure.suptitle("nearest pairs: the image left, its nearest training image right, their distance above", fontsize=9)
    grid = figure.subplots(len(sets.kinds), 2 * len(found.copies), squeeze=False)
    for column, (space, copies) in enumerate(found.copies.items()):
        for side, (title, images, near) in enumerate(
            (("samples", sets.samples, copies.samples), ("held out", sets.held_out, copies.held_out))
        ):
            for row, (name, contrast) in zip(grid, sets.kinds.items(), strict=True):
                axes = row[2 * column + side]
                mine = images.of(contrast).nonzero()[:, 0]
                nearest = mine[near.distance[mine].argsort()[:3]]
                strip = [image for i in nearest for image in (images.pixels[i], _match(sets, near, i))]
                _show(axes, torch.stack(strip))
                apart = ", ".join(f"{near.distance[i]:.2f}" for i in nearest)
                axes.set_title(f"{title} · {SPACES[space].removeprefix('copies · ')} · {apart}", fontsize=7)
                if column == side == 0:
                    axes.set_ylabel(name)


def _named(figure, found: EvaluationResult, sets: Sets) -> None:
    """Every sample named as a copy, left, and the training image it resembles, right; the most alike first."""
    rows = named(found)
    more = f"the {PAIRS} most alike of {len(rows)}" if len(rows) > PAIRS else str(len(rows))
    figure.suptitle(
        f"samples named as copies ({more}), each left of the training image; its index and distance over the limit", fontsize=9
    )
    for axes, row in zip(figure.subplots(-(-min(len(rows), PAIRS) // SHOWN), SHOWN, squeeze=False).flat, rows, strict=False):
        space, ratio = min(row["distance_over_limit"].items(), key=lambda item: item[1])
        index = row["sample"]
        _show(axes, torch.stack([sets.samples.pixels[index], _match(sets, found.copies[space].samples, index)]))
        axes.set_title(f"{index} · {space} {ratio:.2f}", fontsize=7)
    for axes in figure.axes:
        if not axes.images:
            axes.axis("off")


def _match(sets: Sets, near: Neighbours, index: int | Tensor) -> Tensor:
    """The training image nearest to an image, mirrored as it is."""
    return flipped(sets.training.pixels[near.which[index]], int(near.flip[index]))
