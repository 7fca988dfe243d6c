"""The page of an evaluation: samples and real images, scores with floor and ceiling, spectra, nearest training images."""

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image
from torch import Tensor

from condiff.evaluation.copy_summary import copy_summary, flagged_samples
from condiff.evaluation.distances import log_spectrum
from condiff.evaluation.evaluate import EvaluationResult
from condiff.evaluation.features import in_batches
from condiff.evaluation.memorization import Neighbors
from condiff.evaluation.sets import ImageSet, ImageSets, Rows, mirror
from condiff.evaluation.table import METRIC_ROWS, SPACE_TITLES

IMAGES_PER_ROW = 8
MAX_PAIRS = 32  # flagged samples shown, the most similar first
CHART_METRICS = (
    "c2st_auroc",
    "patches_wasserstein",
    "learned_frechet",
    "random_kid",
    "random_coverage",
    "cas",
    "spectrum_decibels",
    "ms_ssim",
)
SAMPLE_COLOR, REAL_COLOR, CEILING_COLOR = "tab:blue", "0.35", "tab:orange"


def full_page(result: EvaluationResult, sets: ImageSets, heading: str = "") -> Figure:
    """Return the whole page. It contains held-out and training images, so it must stay on this disk.

    Args:
        heading: first line of the title.
    """
    num_rows = len(sets.contrast_rows)
    flagged_height = 1.2 * math.ceil(min(len(flagged_samples(result)), MAX_PAIRS) / IMAGES_PER_ROW)
    heights = [1.15 * num_rows, 4.4, 2.6, 1.05 * num_rows, *([flagged_height] if flagged_height else [])]
    figure = Figure(figsize=(15, 0.5 + sum(heights)), layout="constrained")
    panels: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
    panels[0].suptitle(_title(result, heading), fontsize=11)
    _draw_images(panels[0], sets.contrast_rows, {"generated": sets.samples, f"{sets.kind}, held out": sets.held_out})
    _draw_charts(panels[1], result, sets.kind)
    left, right = panels[2].subfigures(1, 2, width_ratios=[1.3, 1])
    _draw_spectra(left, sets)
    if result.copies:
        _draw_distance_histograms(right, result)
        _draw_nearest_pairs(panels[3], result, sets)
    if flagged_height:
        _draw_flagged(panels[4], result, sets)
    return figure


def shareable_page(result: EvaluationResult, sets: ImageSets, heading: str = "") -> Figure:
    """Return a page without real images: samples and charts; without samples unless all training images were searched."""
    num_rows = len(sets.contrast_rows)
    figure = Figure(figsize=(15, 5 + 1.2 * num_rows), layout="constrained")
    panels: Any = figure.subfigures(2, 1, height_ratios=[1.2 * num_rows, 4.4])
    panels[0].suptitle(_title(result, heading), fontsize=11)
    if not result.copies or result.patients_elsewhere:
        panels[0].text(0.5, 0.5, "samples not shown: not all training images were searched for copies", ha="center")
    else:
        _draw_images(panels[0], sets.contrast_rows, {"generated": sets.samples})
    _draw_charts(panels[1], result, sets.kind)
    return figure


def to_image(figure: Figure) -> Image.Image:
    """Return a figure as an RGB image."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _title(result: EvaluationResult, heading: str) -> str:
    return "\n".join([*textwrap.wrap(heading, 150), *textwrap.wrap(copy_summary(result), 150)])


def _draw_images(figure, rows: Rows, columns: Mapping[str, ImageSet]) -> None:
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for panel, title in zip(axes[0], columns, strict=True):
        panel.set_title(title, fontsize=10)
    for row, (name, contrast) in zip(axes, rows.items(), strict=True):
        for panel, images in zip(row, columns.values(), strict=True):
            of_contrast = images.pixels[images.of_contrast(contrast)]
            shown = torch.linspace(0, len(of_contrast) - 1, min(IMAGES_PER_ROW, len(of_contrast))).round().long()
            _show(panel, of_contrast[shown])
        row[0].set_ylabel(name)


def _show(axes: Axes, images: Tensor) -> None:
    """Show images [n, H, W] side by side, anterior at the top."""
    axes.imshow(torch.cat(list(images.flip(-2)), dim=1), cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _draw_charts(figure, result: EvaluationResult, kind: str) -> None:
    """Plot each score with its 95 % interval, the floor as a band and the ceiling as a mark; the legend is above all charts."""
    names = list(result.scores)
    for axes, key in zip(figure.subplots(2, len(CHART_METRICS) // 2).flat, CHART_METRICS, strict=True):
        axes.set_title(METRIC_ROWS[key].measure, fontsize=9)
        for x, name in enumerate(names):
            if key not in result.scores[name]:
                continue
            samples, floor, ceiling = result.scores[name][key]
            axes.fill_between([x - 0.35, x + 0.35], floor.low, floor.high, color=REAL_COLOR, alpha=0.25, lw=0)
            axes.hlines(floor.value, x - 0.35, x + 0.35, color=REAL_COLOR, lw=1)
            axes.plot(x, ceiling.value, "_", color=CEILING_COLOR, ms=14, mew=2)
            bar = [[max(samples.value - samples.low, 0)], [max(samples.high - samples.value, 0)]]
            if math.isfinite(samples.value):
                axes.errorbar(x, samples.value, bar, fmt="o", color=SAMPLE_COLOR, capsize=3, ms=5)
        axes.set_xticks(range(len(names)), [name.removeprefix("AX") for name in names], fontsize=8)
        axes.tick_params(axis="y", labelsize=8)
        axes.set_xlim(-0.6, len(names) - 0.4)
        if key.endswith(("frechet", "kid")):
            axes.set_yscale("symlog", linthresh=1)
            low, high = axes.get_ylim()
            axes.set_ylim(0 if key.endswith("frechet") else low, 1.5 * high)  # else the highest marks are cut
    marks = {
        "samples, 95 % interval": Line2D([], [], color=SAMPLE_COLOR, marker="o", ms=5),
        f"{kind} vs {kind}, 95 % band": Patch(facecolor=REAL_COLOR, alpha=0.25),
        "wrong contrast": Line2D([], [], color=CEILING_COLOR, marker="_", ms=14, mew=2, lw=0),
    }
    figure.legend(marks.values(), marks.keys(), loc="outside upper center", ncols=len(marks), fontsize=9, frameon=False)


def _draw_spectra(figure, sets: ImageSets) -> None:
    figure.suptitle("radial power spectrum, dB, over cycles per pixel; band: 80 % of held-out images", fontsize=9)
    panels = figure.subplots(1, len(sets.contrast_rows), squeeze=False)[0]
    for axes, (name, contrast) in zip(panels, sets.contrast_rows.items(), strict=True):
        samples, real = (
            in_batches(log_spectrum, images.pixels[images.of_contrast(contrast)]) for images in (sets.samples, sets.held_out)
        )
        frequency = torch.arange(real.shape[1]) / (2 * real.shape[1])
        low, high = real.quantile(torch.tensor([0.1, 0.9], dtype=torch.float64), dim=0)
        axes.fill_between(frequency, low, high, color=REAL_COLOR, alpha=0.25, lw=0)
        axes.plot(frequency, real.mean(0), color=REAL_COLOR, lw=1)
        axes.plot(frequency, samples.mean(0), color=SAMPLE_COLOR, lw=1.2)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)


def _draw_distance_histograms(figure, result: EvaluationResult) -> None:
    figure.suptitle("distance to the nearest training image, relative (mean over nearest neighbours: 1; copy: 0)", fontsize=9)
    panels = figure.subplots(1, len(result.copies), squeeze=False)[0]
    for axes, (space, copies) in zip(panels, result.copies.items(), strict=True):
        bins = torch.linspace(0, 1, 40).tolist()
        for name, neighbors, color in (("held out", copies.held_out, REAL_COLOR), ("samples", copies.samples, SAMPLE_COLOR)):
            axes.hist(neighbors.distance, bins, density=True, histtype="stepfilled", alpha=0.45, color=color, label=name)
        axes.set_title(SPACE_TITLES[space].removeprefix("copies · "), fontsize=9)
        axes.set_yticks([])
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=7)


def _draw_nearest_pairs(figure, result: EvaluationResult, sets: ImageSets) -> None:
    """Show the three samples and held-out images per contrast that are nearest to a training image, each left of it."""
    figure.suptitle("nearest pairs: image (left), its nearest training image (right); distance above", fontsize=9)
    grid = figure.subplots(len(sets.contrast_rows), 2 * len(result.copies), squeeze=False)
    for column, (space, copies) in enumerate(result.copies.items()):
        for offset, (title, images, neighbors) in enumerate(
            (("samples", sets.samples, copies.samples), ("held out", sets.held_out, copies.held_out))
        ):
            for row, (name, contrast) in zip(grid, sets.contrast_rows.items(), strict=True):
                axes = row[2 * column + offset]
                indices = images.of_contrast(contrast).nonzero()[:, 0]
                nearest = indices[neighbors.distance[indices].argsort()[:3]]
                strip = [image for i in nearest for image in (images.pixels[i], _nearest_image(sets, neighbors, i))]
                _show(axes, torch.stack(strip))
                distances = ", ".join(f"{neighbors.distance[i]:.2f}" for i in nearest)
                axes.set_title(f"{title} · {SPACE_TITLES[space].removeprefix('copies · ')} · {distances}", fontsize=7)
                if column == offset == 0:
                    axes.set_ylabel(name)


def _draw_flagged(figure, result: EvaluationResult, sets: ImageSets) -> None:
    """Show every flagged sample left of its nearest training image, the most similar first."""
    rows = flagged_samples(result)
    more = f"the {MAX_PAIRS} most similar of {len(rows)}" if len(rows) > MAX_PAIRS else str(len(rows))
    figure.suptitle(
        f"samples flagged as copies ({more}), each left of the training image; index, space, distance over the limit", fontsize=9
    )
    panels = figure.subplots(-(-min(len(rows), MAX_PAIRS) // IMAGES_PER_ROW), IMAGES_PER_ROW, squeeze=False).flat
    for axes, row in zip(panels, rows, strict=False):
        space, ratio = min(row["distance_over_limit"].items(), key=lambda item: item[1])
        index = row["sample"]
        _show(axes, torch.stack([sets.samples.pixels[index], _nearest_image(sets, result.copies[space].samples, index)]))
        axes.set_title(f"{index} · {space} {ratio:.2f}", fontsize=7)
    for axes in figure.axes:
        if not axes.images:
            axes.axis("off")


def _nearest_image(sets: ImageSets, neighbors: Neighbors, index: int | Tensor) -> Tensor:
    """Return the nearest training image [H, W] of an image, mirrored to match it."""
    return mirror(sets.training.pixels[neighbors.training_index[index]], int(neighbors.flip[index]))
