"""An examination as a table to print, and a dictionary to keep."""

import math
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from condiff.evaluation.compare import Score, Scores
from condiff.evaluation.images import POOLED
from condiff.evaluation.memorisation import Audit
from condiff.evaluation.suite import Examination

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Line:
    """How a measure is shown: its title, whether more is better, decimals."""

    title: str
    more_is_better: bool
    decimals: int = 2


LINES = {
    **{
        f"{space}_{name}": Line(f"{title} · {space} features", more)
        for space in ("learned", "random")
        for name, title, more in (
            ("frechet", "Fréchet distance", False),
            ("kid", "KID", False),
            ("precision", "precision", True),
            ("recall", "recall", True),
            ("density", "density", True),
            ("coverage", "coverage", True),
        )
    },
    "spectrum_decibels": Line("power spectrum, dB apart", False),
    "patches_wasserstein": Line("patches, sliced Wasserstein", False, 3),
    "accuracy": Line("contrast right · learned on real", True),
    "usefulness": Line("real named right · learned on samples", True),
    "auroc": Line("samples told from real, AUROC", False),
    "ms_ssim": Line("likeness of two, MS-SSIM", False),
}
SPACES = {"pixels": "copies · pixels", "random": "copies · random features"}


def table(found: Examination) -> Table:
    """Rows are measures, columns contrasts; under each score of the samples its floor and its ceiling."""
    columns = list(found.scores)
    title = "Samples against held-out patients\nscore ± half of its 95 %; below: real against real … another contrast"
    result = Table("", title=title)
    result.columns[0].no_wrap = True
    for name in columns:
        result.add_column(name, justify="right")
    for key, line in LINES.items():
        if any(key in found.scores[name] for name in columns):
            cells = [_cell(found.scores[name].get(key), line) for name in columns]
            result.add_row(line.title, *cells, end_section=key in ("learned_coverage", "random_coverage", "patches_wasserstein"))
    result.add_section()
    for space, title in SPACES.items():
        if space in found.copies:
            verdicts = found.copies[space].verdicts
            result.add_row(f"{title}\n[dim]beyond 1 %: p", *(_verdict(verdicts[name]) for name in columns))
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
    """Green within or beyond the floor's 95 %, red nearer to the ceiling than to the floor, yellow between."""
    sign = 1 if line.more_is_better else -1
    value, floor, ceiling = (sign * score.value for score in scores)
    if value >= min(sign * scores.floor.low, sign * scores.floor.high):
        return "green"
    return "red" if ceiling < floor and value < (floor + ceiling) / 2 else "yellow"


def _verdict(audit: Audit) -> str:
    if math.isnan(audit.share):
        return "–"
    style = "red" if audit.p < SIGNIFICANT else "green"
    return f"[{style}]{100 * audit.share:.0f} %[/]\n[dim]{audit.p:.2g}[/]"


def summary(found: Examination) -> str:
    """The verdict on copies in a line; with Bonferroni's correction, for every contrast is asked in every space."""
    if not found.copies:
        return "copies of training images: not looked for"
    asked = {space: {**copies.verdicts} for space, copies in found.copies.items()}
    for verdicts in asked.values():
        if len(verdicts) > 1:
            del verdicts[POOLED]
    tests = sum(map(len, asked.values()))
    guilty = {
        space: [f"{name} {100 * audit.share:.0f} %" for name, audit in verdicts.items() if audit.p * tests < SIGNIFICANT]
        for space, verdicts in asked.items()
    }
    places = [f"in {space} {', '.join(names)}" for space, names in guilty.items() if names]
    if not places:
        return "copies of training images: no more than among images of new patients"
    return f"copies of training images: YES, more than among images of new patients; {'; '.join(places)}"


def as_dict(found: Examination) -> dict[str, Any]:
    """Plain containers, NaN as None."""
    return {
        "compared": found.compared,
        "scores": {
            name: {key: {part: _plain(score) for part, score in scores._asdict().items()} for key, scores in measures.items()}
            for name, measures in found.scores.items()
        },
        "copies": {
            space: {
                name: {
                    "share": _finite(a.share),
                    "number": int(a.copies.sum()),
                    "threshold": _finite(a.threshold),
                    "p": _finite(a.p),
                }
                for name, a in copies.verdicts.items()
            }
            for space, copies in found.copies.items()
        },
        "summary": summary(found),
        "notes": found.notes,
    }


def _plain(score: Score) -> dict[str, float] | None:
    return None if math.isnan(score.value) else score._asdict()


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value


def long(scores: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Column names and rows of the whole table, one number a row, for dashboards."""
    columns = ["contrast", "measure", "images", "value", "low", "high"]
    return columns, [
        [name, key, part, *(score or dict.fromkeys(("value", "low", "high"))).values()]
        for name, measures in scores.items()
        for key, parts in measures.items()
        for part, score in parts.items()
    ]


def flat(scores: dict[str, Any]) -> dict[str, float]:
    """The samples' scores, ``evaluation/<contrast>/<measure>``."""
    return {
        f"evaluation/{name}/{key}": parts["samples"]["value"]
        for name, measures in scores.items()
        for key, parts in measures.items()
        if parts["samples"]
    }
