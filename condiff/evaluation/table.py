"""Results of an evaluation as a table: for the terminal, and for cards and pages."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from condiff.evaluation.copy_summary import MAX_UNDETECTABLE, format_percent
from condiff.evaluation.evaluate import EvaluationResult
from condiff.evaluation.memorization import SIGNIFICANCE, CopyTest
from condiff.evaluation.resampling import Scores
from condiff.evaluation.serialization import SETS


@dataclass(frozen=True)
class MetricRow:
    """Format of a metric.

    Attributes:
        title: shown in table and charts.
        better: 1 if higher is better, -1 if lower is, 0 if the value of real images is.
        decimals: shown.
    """

    title: str
    better: int
    decimals: int = 2

    @property
    def measure(self) -> str:
        """The title with the direction that is better."""
        return f"{self.title} {DIRECTIONS[self.better]}"


DIRECTIONS = {1: "↑", -1: "↓", 0: "(as held-out)"}
COLUMNS = ("measure: ↑ higher is better, ↓ lower", "real vs real", "samples", "wrong contrast")
METRIC_ROWS = {
    "c2st_auroc": MetricRow("C2ST AUROC, samples vs held-out", 0),
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
    "coherence": MetricRow("phase coherence of neighbouring pixels", 0, 3),
    "patches_wasserstein": MetricRow("patches, sliced Wasserstein", -1, 3),
    "accuracy": MetricRow("contrast accuracy", 1),
    "cas": MetricRow("CAS: trained on samples, held-out accuracy", 1),
    "ms_ssim": MetricRow("similarity of two images, MS-SSIM", 0),
}
SPACE_TITLES = {"pixels": "copies · pixels", "random": "copies · random features", "anatomy": "copies · anatomy"}
BLIND_SPOTS = (
    "blind spots: Fréchet, KID, precision … coverage, spectrum, patches: a head upside down, halves of two heads, a copy; "
    "contrast accuracy, CAS: all but contrast; C2ST: lack of variety, a copy; layout, symmetry: texture, a copy; "
    "MS-SSIM: all but variety"
)


def score_rows(numbers: Mapping[str, Any], contrast: str) -> list[list[str]]:
    """Return a row per measure of a contrast, as `COLUMNS`: value and half of its 95 % interval.

    Args:
        numbers: the content of evaluation.json.
    """
    scores = numbers["scores"].get(contrast, {})
    return [
        [row.measure, *(_format_estimate(scores[key].get(name), row.decimals) for name in SETS)]
        for key, row in METRIC_ROWS.items()
        if scores.get(key, {}).get("samples")
    ]


def _format_estimate(estimate: Mapping[str, float] | None, decimals: int) -> str:
    if not estimate:
        return "–"
    return f"{estimate['value']:.{decimals}f} ± {(estimate['high'] - estimate['low']) / 2:.{decimals}f}"


def result_table(result: EvaluationResult, cost: dict[str, float]) -> Table:
    """Return a table with one row per metric and one column per contrast; floor and ceiling are below each score.

    Args:
        cost: "evaluations_per_image" and "seconds_per_image".
    """
    columns = list(result.scores)
    title = (
        "Samples against held-out patients\nscore ± half of its 95 % interval; "
        "below: floor (real vs real) … ceiling (wrong contrast)\n"
        "green: like real images; red: like the wrong contrast; dim: cannot separate the two with these patients"
    )
    table = Table("", title=title)
    table.columns[0].no_wrap = True
    for name in columns:
        table.add_column(name, justify="right")
    table.add_row(
        "images per set, half of the held-out patients", *(str(result.set_sizes[name]) for name in columns), end_section=True
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
        table.add_row(
            f"{SPACE_TITLES[space]}\n[dim]p · smallest detectable share", *map(_format_copy_test, copies.tests.values())
        )
    if result.copies:
        table.add_row("samples flagged as copies", *(_format_flagged(result, name) for name in columns))
    table.add_section()
    each = f"{cost['evaluations_per_image']:.0f}\n[dim]{cost['seconds_per_image']:.2f} s"
    table.add_row("network evaluations per image, with guidance", *[""] * (len(columns) - 1), each)
    return table


def grade(scores: Scores, row: MetricRow) -> str:
    """Return the colour of a score.

    Green: within the floor's 95 % interval, or better. Red: nearer to the ceiling than to the floor; if the value of real
    images is best, farther from the floor than the ceiling, on either side. Dim: the ceiling is no worse than the floor's
    interval, so the metric cannot separate right from wrong. Yellow: else.
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
