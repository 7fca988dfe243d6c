"""The result of the search for copies, in words and by sample."""

import math
from typing import Any

from condiff.evaluation.evaluate import EvaluationResult
from condiff.evaluation.memorization import SIGNIFICANCE

MAX_UNDETECTABLE = 0.1  # an audit that would not notice this share of copies cannot acquit


def copy_summary(result: EvaluationResult) -> str:
    """The verdict on copies in a line: the samples named, then what their number proves."""
    if not result.copies:
        return "copies of training images: not looked for"
    shares = "; ".join(
        f"in {space} {', '.join(f'{name} {100 * result.copies[space].tests[name].share:.0f} %' for name in names)}"
        for space, names in significant_spaces(result).items()
    )
    flagged, power = int(result.flagged.sum()), _power_statement(result)
    if flagged:
        by_space = ", ".join(f"{space} {int(copies.flagged.sum())}" for space, copies in result.copies.items())
        return (
            f"copies of training images: YES, {flagged} of {len(result.flagged)} samples are nearer to a training image than any "
            f"held-out image is, by a margin ({by_space}); "
            + (f"more than among images of new patients; {shares}" if shares else power)
        )
    if shares:
        return f"copies of training images: YES, more than among images of new patients; {shares}"
    return f"copies of training images: no sample is named; {power}"


def _power_statement(result: EvaluationResult) -> str:
    """What the count of near samples could have shown, where it shows nothing."""
    detectable = max(test.detectable for copies in result.copies.values() for test in copies.tests.values())
    if math.isnan(detectable) or math.isinf(detectable):
        return "the count alone shows nothing with so few held-out patients and samples"
    if detectable > MAX_UNDETECTABLE:
        return (
            f"the count alone is undecided: up to {format_percent(detectable)} of one contrast's samples could be copies without "
            "a significant result; hold out more patients"
        )
    return f"the count is no higher than by chance, and {format_percent(detectable)} of copies would have been significant"


def significant_spaces(result: EvaluationResult) -> dict[str, list[str]]:
    """Where there are more copies than chance explains: {space: rows}."""
    significant = {
        space: [name for name, test in copies.tests.items() if test.p < SIGNIFICANCE] for space, copies in result.copies.items()
    }
    return {space: names for space, names in significant.items() if names}


def may_hold_copies(result: EvaluationResult) -> bool:
    """Whether samples may be copies of patients, so that nothing of the evaluation is uploaded."""
    return bool(result.flagged.any() or significant_spaces(result))


def flagged_samples(result: EvaluationResult) -> list[dict[str, Any]]:
    """The samples named as copies, the most alike first: index, and the distance over the limit in each space."""
    rows = []
    for index in result.flagged.nonzero()[:, 0].tolist():
        ratios = {space: copies.samples.distance[index].item() / copies.limit for space, copies in result.copies.items()}
        rows.append({"sample": index, "distance_over_limit": {space: ratio for space, ratio in ratios.items() if ratio < 1}})
    return sorted(rows, key=lambda row: min(row["distance_over_limit"].values()))


def format_percent(share: float) -> str:
    return "none" if math.isinf(share) else f"{100 * share:.0f} %"
