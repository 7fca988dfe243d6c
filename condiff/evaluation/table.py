"""An examination as a table to print and a dictionary to keep."""

import math
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from condiff.evaluation.evaluate import EvaluationResult
from condiff.evaluation.memorisation import SIGNIFICANT, CopyTest
from condiff.evaluation.resampling import Score, Scores
from condiff.evaluation.sets import POOLED

BLIND = 0.1  # an audit that would not notice this share of copies cannot acquit


@dataclass(frozen=True)
class Line:
    """How a measure is shown: its title; whether more is better (1), less (-1) or what real images have (0); decimals."""

    title: str
    better: int
    decimals: int = 2


LINES = {
    "c2st_auroc": Line("real vs generated, C2ST AUROC", 0),
    "layout_wasserstein": Line("layout, sliced Wasserstein", -1, 3),
    "symmetry_wasserstein": Line("symmetry, Wasserstein", -1, 3),
    **{
        f"{space}_{name}": Line(f"{title} · {space} features", better)
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
    "spectrum_decibels": Line("power spectrum, difference in dB", -1),
    "kspace_decibels": Line("k-space energy, difference in dB", -1),
    "coherence": Line("phase coherence of neighbours", 0, 3),
    "patches_wasserstein": Line("patches, sliced Wasserstein", -1, 3),
    "accuracy": Line("requested contrast, trained on real", 1),
    "cas": Line("CAS: real classified, trained on samples", 1),
    "ms_ssim": Line("similarity of two, MS-SSIM", 0),
}
SPACES = {"pixels": "copies · pixels", "random": "copies · random features", "anatomy": "copies · anatomy"}
BLIND_SPOTS = (
    "not seen by Fréchet, KID, precision … coverage, spectrum, patches: a head upside down, halves of two heads, a copy; "
    "by contrast accuracies: all but contrast; by C2ST: lack of variety; by layout, symmetry: texture, a copy; "
    "by MS-SSIM: anything but variety"
)


def table(found: EvaluationResult, cost: dict[str, float]) -> Table:
    """Rows are measures, columns contrasts; under each score of the samples its floor and its ceiling."""
    columns = list(found.scores)
    title = (
        "Samples against held-out patients\nscore ± half of its 95 % interval (both ends are in evaluation.json); "
        "below: real against real … another contrast\n"
        "green: as real images; red: as the wrong contrast; dim: a measure that cannot tell those two apart here"
    )
    result = Table("", title=title)
    result.columns[0].no_wrap = True
    for name in columns:
        result.add_column(name, justify="right")
    result.add_row(
        "images in a set, half of the held-out patients", *(str(found.compared[name]) for name in columns), end_section=True
    )
    for key, line in LINES.items():
        if any(key in found.scores[name] for name in columns):
            cells = [_cell(found.scores[name].get(key), line) for name in columns]
            result.add_row(
                line.title,
                *cells,
                end_section=key in ("symmetry_wasserstein", "learned_coverage", "random_coverage", "patches_wasserstein"),
            )
    result.add_section()
    for space, copies in found.copies.items():
        result.add_row(f"{SPACES[space]}\n[dim]p · least share noticed", *map(_verdict, copies.verdicts.values()))
    if found.copies:
        result.add_row("samples named as copies", *(_count(found, name) for name in columns))
    result.add_section()
    each = f"{cost['evaluations_per_image']:.0f}\n[dim]{cost['seconds_per_image']:.2f} s each"
    result.add_row("network evaluations an image, guidance counted", *[""] * (len(columns) - 1), each)
    return result


def _cell(scores: Scores | None, line: Line) -> str:
    if scores is None or math.isnan(scores.samples.value):
        return "–"
    value, low, high = scores.samples
    number = f"{value:.{line.decimals}f} ±{(high - low) / 2:.{line.decimals}f}"
    beside = " … ".join(_number(score.value, line.decimals) for score in (scores.floor, scores.ceiling))
    return f"[{colour(scores, line)}]{number}[/]\n[dim]{beside}[/]"


def _number(value: float, decimals: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{decimals}f}"


def colour(scores: Scores, line: Line) -> str:
    """Green within the floor's 95 % or better, red nearer to the ceiling than to the floor, else yellow.

    Where better is what real images have, the side does not matter: red is farther off than the ceiling.
    Dim where the ceiling is no worse than the floor's 95 %: the measure cannot tell right from wrong.
    """
    value, floor, ceiling = (score.value for score in scores)
    if scores.floor.low <= ceiling <= scores.floor.high or line.better * (ceiling - floor) > 0:
        return "dim"
    if scores.floor.low <= value <= scores.floor.high or line.better * (value - floor) > 0:
        return "green"
    return "red" if abs(value - floor) > abs(ceiling - floor) / (2 if line.better else 1) else "yellow"


def _verdict(audit: CopyTest) -> str:
    if math.isnan(audit.share):
        return "–"
    style = "red" if audit.p < SIGNIFICANT else "yellow" if audit.detectable > BLIND else "green"
    return f"[{style}]{100 * audit.share:.0f} %[/]\n[dim]{audit.p:.2g} · {_percent(audit.detectable)}[/]"


def _percent(share: float) -> str:
    return "none" if math.isinf(share) else f"{100 * share:.0f} %"


def _count(found: EvaluationResult, row: str) -> str:
    number = int((found.named & found.rows[row]).sum())
    return f"[red]{number}[/]" if number else "0"


def guilty(found: EvaluationResult) -> dict[str, list[str]]:
    """Where there are more copies than chance explains: {space: rows}."""
    called = {
        space: [n for n, audit in copies.verdicts.items() if audit.p < SIGNIFICANT] for space, copies in found.copies.items()
    }
    return {space: names for space, names in called.items() if names}


def private(found: EvaluationResult) -> bool:
    """Whether samples may be copies of patients, so that nothing of the evaluation is uploaded."""
    return bool(found.named.any() or guilty(found))


def summary(found: EvaluationResult) -> str:
    """The verdict on copies in a line: the samples named, then what their number proves."""
    if not found.copies:
        return "copies of training images: not looked for"
    shares = "; ".join(
        f"in {space} {', '.join(f'{name} {100 * found.copies[space].verdicts[name].share:.0f} %' for name in names)}"
        for space, names in guilty(found).items()
    )
    number, power = int(found.named.sum()), _power(found)
    if number:
        where = ", ".join(f"{space} {int(copies.named.sum())}" for space, copies in found.copies.items())
        return (
            f"copies of training images: YES, {number} of {len(found.named)} samples are nearer to a training image than any "
            f"held-out image is, by a margin ({where}); "
            + (f"more than among images of new patients; {shares}" if shares else power)
        )
    if shares:
        return f"copies of training images: YES, more than among images of new patients; {shares}"
    return f"copies of training images: no sample is named; {power}"


def _power(found: EvaluationResult) -> str:
    """What the count of near samples could have shown, where it shows nothing."""
    seen = max(audit.detectable for copies in found.copies.values() for audit in copies.verdicts.values())
    if math.isnan(seen) or math.isinf(seen):
        return "the count alone shows nothing with so few held-out patients and samples"
    if seen > BLIND:
        return (
            f"the count alone is undecided: up to {_percent(seen)} of one contrast's samples could be copies without a "
            "significant result; hold out more patients"
        )
    return f"the count is no higher than by chance, and {_percent(seen)} of copies would have been significant"


def as_dict(found: EvaluationResult) -> dict[str, Any]:
    """Plain containers, NaN as None."""
    return {
        "compared": found.compared,
        "scores": {
            name: {key: {part: _plain(score) for part, score in scores._asdict().items()} for key, scores in measures.items()}
            for name, measures in found.scores.items()
        },
        "copies": {
            space: {name: _judged(audit) for name, audit in copies.verdicts.items()} for space, copies in found.copies.items()
        },
        "named": named(found),
        "summary": summary(found),
        "notes": found.notes,
    }


def named(found: EvaluationResult) -> list[dict[str, Any]]:
    """The samples named as copies, the most alike first: index, and the distance over the limit in each space."""
    rows = []
    for index in found.named.nonzero()[:, 0].tolist():
        ratios = {space: copies.samples.distance[index].item() / copies.limit for space, copies in found.copies.items()}
        rows.append({"sample": index, "distance_over_limit": {space: ratio for space, ratio in ratios.items() if ratio < 1}})
    return sorted(rows, key=lambda row: min(row["distance_over_limit"].values()))


def _plain(score: Score) -> dict[str, float] | None:
    return None if math.isnan(score.value) else score._asdict()


def _judged(audit: CopyTest) -> dict[str, float | None]:
    numbers = {key: value for key, value in audit._asdict().items() if key != "copies"}
    return {key: value if math.isfinite(value) else None for key, value in numbers.items()}


def long(about: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Column names and rows of the whole table, one number a row, for dashboards."""
    columns = ["contrast", "measure", "images", "value", "low", "high"]
    scores = [
        [name, key, part, *(score or dict.fromkeys(("value", "low", "high"))).values()]
        for name, measures in about["scores"].items()
        for key, parts in measures.items()
        for part, score in parts.items()
    ]
    copies = [
        [name, f"copies_{space}_{key}", "samples", value, None, None]
        for space, verdicts in about["copies"].items()
        for name, verdict in verdicts.items()
        for key, value in verdict.items()
    ]
    cost = [[POOLED, key, "samples", value, None, None] for key, value in about["cost"].items()]
    return columns, scores + copies + cost


def flat(about: dict[str, Any]) -> dict[str, float]:
    """The samples' numbers, ``evaluation/<contrast>/<measure>``."""
    _, rows = long(about)
    return {f"evaluation/{name}/{key}": value for name, key, part, value, *_ in rows if part == "samples" and value is not None}
