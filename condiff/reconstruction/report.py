"""The report of a reconstruction: the results of every volume, and their means as a table."""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from condiff.errors import InputError, printable
from condiff.reconstruction.numbers import numbers_of

COLUMNS = (
    "acceleration",
    "acceleration_on_grid",
    "evaluations_per_slice",
    "seconds_per_slice",
    "sigma_y",
)  # of the table, besides the metrics
WIDTH = 130  # characters of the table, also in narrower terminals
MIN_COVERAGE = 0.88  # of two standard deviations
MEASURES = {"psnr": "PSNR, dB", "ssim": "SSIM", "nmse": "NMSE"}
ESTIMATES = {"zero_filled": "zero-filled", "one": "one sample", "mean": "mean of the samples"}
UNITS = {"combined": "", "rss": ", root sum of squares"}  # of images
log = logging.getLogger(__name__)


def write_report(out: Path, files: Sequence[Path], failed: Mapping[Path, str]) -> None:
    """Write the results of each volume and their means to metrics.json; print the means. Raises InputError if all failed."""
    volumes = [numbers for path in files if (numbers := numbers_of(path))]
    if not volumes and [path.name for path in out.iterdir()] == ["settings.json"]:
        shutil.rmtree(out)
    if not volumes and len(set(failed.values())) == 1:
        path, reason = next(iter(failed.items()))
        raise InputError(f"{reason} ({path.name}{', as in all volumes' if len(failed) > 1 else ''})")
    for path, reason in failed.items():
        log.warning("skipped %s: %s", printable(path), printable(reason))
    if not volumes:
        raise InputError("data.root: no volume could be reconstructed; the reasons are above")
    for numbers in volumes:
        if numbers["bad_slices"]:
            log.warning("%s: slices %s are zero, not finite, or without maps", numbers["file"], numbers["bad_slices"])
    groups = {"all": volumes} | {
        name: [volume for volume in volumes if volume["contrast"] == name]
        for name in sorted({volume["contrast"] for volume in volumes})
    }
    summary = {name: mean_metrics(group) for name, group in groups.items()}
    (out / "metrics.json").write_text(json.dumps({"mean": summary, "volumes": volumes}, indent=1, allow_nan=False))
    table = Table("", *(f"{name} ({len(group)})" for name, group in groups.items()))
    for name, means in summary.items():
        warn_if_worse_than_zero_filling(name, means)
    warn_if_overconfident(summary["all"])
    for key in summary["all"]:
        table.add_row(title(key), *(f"{summary[name][key]:.4g}" if key in summary[name] else "" for name in groups))
    Console(width=WIDTH).print(table)
    if volumes[0]["data"] == "simulated":
        print("simulated   y = A x: no model error, so these results are better than those of a real scan")
    print(f"volumes     {len(volumes)} of {len(files)} in {out}/")


def warn_if_worse_than_zero_filling(name: str, means: Mapping[str, float]) -> None:
    """Log a warning where the mean PSNR of the reconstructions is below that of zero filling."""
    if warning := worse_than_zero_filling(means):
        log.warning("%s: %s", name, warning)


def worse_than_zero_filling(means: Mapping[str, float]) -> str:
    """A warning where the PSNR of the reconstruction is below that of zero filling, else an empty text."""
    before = means.get("combined.zero_filled.psnr")
    after = means.get("combined.mean.psnr", means.get("combined.one.psnr"))
    if before is None or after is None or after >= before:
        return ""
    numbers = f"PSNR {after:.1f} dB and {before:.1f} dB"
    return f"reconstructions are worse than zero filling, {numbers}; was the prior trained on such images?"


def warn_if_overconfident(means: Mapping[str, float]) -> None:
    """Log a warning where two standard deviations hold much less than 95 % of the errors."""
    if warning := overconfident(means):
        log.warning("%s", warning)


def overconfident(means: Mapping[str, float]) -> str:
    """A warning where two standard deviations hold much less than 95 % of the errors, else an empty text."""
    covered = means.get("uncertainty.coverage_2", 1.0)
    if covered >= MIN_COVERAGE:
        return ""
    return (
        f"the uncertainty is too small: two standard deviations hold {100 * covered:.0f} % of the errors, not 95 %; priors of "
        "complex images of the same kind of heads do better (experiment=phantom_prior)"
    )


def title(key: str) -> str:
    """The table's name for a key of metrics.json: "PSNR, dB (one sample)" for ``combined.one.psnr``."""
    *groups, measure = key.split(".")
    if len(groups) == 2 and groups[0] in UNITS:
        return f"{MEASURES.get(measure, measure)} ({ESTIMATES.get(groups[1], groups[1])}{UNITS[groups[0]]})"
    if groups == ["chi2"]:
        return f"reduced chi2 ({ESTIMATES.get(measure, measure)})"
    return key.replace("_", " ").replace(".", ", ")


def mean_metrics(numbers: list[dict[str, Any]]) -> dict[str, float]:
    """The mean of each metric over the volumes that have it; nested metrics have names with dots."""
    flat = [dict(flattened({key: value for key, value in volume.items() if key != "method"})) for volume in numbers]
    keys = dict.fromkeys(key for volume in flat for key in volume if key in COLUMNS or "." in key)
    return {key: sum(volume[key] for volume in flat if key in volume) / sum(key in volume for volume in flat) for key in keys}


def flattened(numbers: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in numbers.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", float(value)
