"""An examination as a table to print."""

import math
from dataclasses import dataclass

from rich.table import Table

from condiff.evaluation.copy_summary import MAX_UNDETECTABLE, format_percent
from condiff.evaluation.evaluate import EvaluationResult
from condiff.evaluation.memorization import SIGNIFICANCE, CopyTest
from condiff.evaluation.resampling import Scores


@dataclass(frozen=True)
class MetricRow:
    """How a measure is shown: its title; whether more is better (1), less (-1) or what real images have (0); decimals."""

    title: str
    better: int
    decimals: int = 2


METRIC_ROWS = {
    "c2st_auroc": MetricRow("real vs generated, C2ST AUROC", 0),
    "layout_wasserstein": MetricRow("layout, sliced Wasserstein", -1, 3),
    "symmetry_wasserstein": MetricRow("symmetry, Wasserstein", -1, 3),
    **{
        f"{space}_{name}": MetricRow(f"{title} · {space} features", better)
        for space in ("learned", "random")
        for name, title, better in (
            ("frechet", "Fréchet distance", -1),
            ("kid", "KID", -1),
            ("precision", "precision", 1),
            ("recall", "recall", 1),
            ("density", "density", 0),
            ("coverage", "coverage", 1),
        )
    },
    "spectrum_decibels": MetricRow("power spectrum, difference in dB", -1),
    "kspace_decibels": MetricRow("k-space energy, difference in dB", -1),
    "coherence": MetricRow("phase coherence of neighbours", 0, 3),
    "patches_wasserstein": MetricRow("patches, sliced Wasserstein", -1, 3),
    "accuracy": MetricRow("requested contrast, trained on real", 1),
    "cas": MetricRow("CAS: real classified, trained on samples", 1),
    "ms_ssim": MetricRow("similarity of two, MS-SSIM", 0),
}
SPACE_TITLES = {"pixels": "copies · pixels", "random": "copies · random features", "anatomy": "copies · anatomy"}
BLIND_SPOTS = (
    "not seen by Fréchet, KID, precision … coverage, spectrum, patches: a head upside down, halves of two heads, a copy; "
    "by contrast accuracies: all but contrast; by C2ST: lack of variety; by layout, symmetry: texture, a copy; "
    "by MS-SSIM: anything but variety"
)


def result_table(result: EvaluationResult, cost: dict[str, float]) -> Table:
    """Rows are measures, columns contrasts; under each score of the samples its floor and its ceiling."""
    columns = list(result.scores)
    title = (
        "Samples against held-out patients\nscore ± half of its 95 % interval (both ends are in evaluation.json); "
        "below: real against real … another contrast\n"
        "green: as real images; red: as the wrong contrast; dim: a measure that cannot tell those two apart here"
    )
    table = Table("", title=title)
    table.columns[0].no_wrap = True
    for name in columns:
        table.add_column(name, justify="right")
    table.add_row(
        "images in a set, half of the held-out patients", *(str(result.set_sizes[name]) for name in columns), end_section=True
    )
    for key, row in METRIC_ROWS.items():
        if any(key in result.scores[name] for name in columns):
            cells = [_format_cell(result.scores[name].get(key), row) for name in columns]
            table.add_row(
                row.title,
                *cells,
                end_section=key in ("symmetry_wasserstein", "learned_coverage", "random_coverage", "patches_wasserstein"),
            )
    table.add_section()
    for space, copies in result.copies.items():
        table.add_row(f"{SPACE_TITLES[space]}\n[dim]p · least share noticed", *map(_format_copy_test, copies.tests.values()))
    if result.copies:
        table.add_row("samples named as copies", *(_format_flagged(result, name) for name in columns))
    table.add_section()
    each = f"{cost['evaluations_per_image']:.0f}\n[dim]{cost['seconds_per_image']:.2f} s each"
    table.add_row("network evaluations an image, guidance counted", *[""] * (len(columns) - 1), each)
    return table


def grade(scores: Scores, row: MetricRow) -> str:
    """Green within the floor's 95 % or better, red nearer to the ceiling than to the floor, else yellow.

    Where better is what real images have, the side does not matter: red is farther off than the ceiling.
    Dim where the ceiling is no worse than the floor's 95 %: the measure cannot tell right from wrong.
    """
    value, floor, ceiling = (estimate.value for estimate in scores)
    if scores.floor.low <= ceiling <= scores.floor.high or row.better * (ceiling - floor) > 0:
        return "dim"
    if scores.floor.low <= value <= scores.floor.high or row.better * (value - floor) > 0:
        return "green"
    return "red" if abs(value - floor) > abs(ceiling - floor) / (2 if row.better else 1) else "yellow"


def _format_cell(scores: Scores | None, row: MetricRow) -> str:
    if scores is None or math.isnan(scores.samples.value):
        return "–"
    value, low, high = scores.samples
    number = f"{value:.{row.decimals}f} ±{(high - low) / 2:.{row.decimals}f}"
    references = " … ".join(_format_number(estimate.value, row.decimals) for estimate in (scores.floor, scores.ceiling))
    return f"[{grade(scores, row)}]{number}[/]\n[dim]{references}[/]"


def _format_number(value: float, decimals: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{decimals}f}"


def _format_copy_test(test: CopyTest) -> str:
    if math.isnan(test.share):
        return "–"
    style = "red" if test.p < SIGNIFICANCE else "yellow" if test.detectable > MAX_UNDETECTABLE else "green"
    return f"[{style}]{100 * test.share:.0f} %[/]\n[dim]{test.p:.2g} · {format_percent(test.detectable)}[/]"


def _format_flagged(result: EvaluationResult, name: str) -> str:
    flagged = int((result.flagged & result.row_masks[name]).sum())
    return f"[red]{flagged}[/]" if flagged else "0"
