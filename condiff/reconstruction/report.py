"""What reconstructions leave: numbers of every volume, and their averages as a table."""

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

SHOWN = ("acceleration", "acceleration_on_grid", "evaluations_per_slice", "seconds_per_slice", "sigma_y")  # besides the measures
WIDTH = 130  # of the table, whatever the terminal
MEASURES = {"psnr": "PSNR, dB", "ssim": "SSIM", "nmse": "NMSE"}
ESTIMATES = {"zero_filled": "zero-filled", "one": "one sample", "mean": "mean of the samples"}
UNITS = {"combined": "", "rss": ", root sum of squares"}  # of images
log = logging.getLogger(__name__)


def write_report(out: Path, files: Sequence[Path], failed: Mapping[Path, str]) -> None:
    """Write all numbers, volume by volume and averaged, into a folder and print the averages. Raises InputError without any."""
    volumes = [numbers for path in files if (numbers := numbers_of(path))]
    if not volumes and [path.name for path in out.iterdir()] == ["settings.json"]:
        shutil.rmtree(out)
    if not volumes and len(set(failed.values())) == 1:
        path, reason = next(iter(failed.items()))
        raise InputError(f"{reason} ({path.name}{', and so all volumes' if len(failed) > 1 else ''})")
    for path, reason in failed.items():
        log.warning("left out %s: %s", printable(path), printable(reason))
    if not volumes:
        raise InputError("data.root: no volume could be reconstructed; the reasons are above")
    for numbers in volumes:
        if numbers["bad_slices"]:
            log.warning("%s: slices %s are zero, not finite, or without maps", numbers["file"], numbers["bad_slices"])
    groups = {"all": volumes} | {
        name: [one for one in volumes if one["contrast"] == name] for name in sorted({one["contrast"] for one in volumes})
    }
    summary = {name: averages(group) for name, group in groups.items()}
    (out / "metrics.json").write_text(json.dumps({"mean": summary, "volumes": volumes}, indent=1, allow_nan=False))
    table = Table("", *(f"{name} ({len(group)})" for name, group in groups.items()))
    for name, means in summary.items():
        warn_if_worse_than_zero_filling(name, means)
    for key in summary["all"]:
        table.add_row(title(key), *(f"{summary[name][key]:.4g}" if key in summary[name] else "" for name in groups))
    Console(width=WIDTH).print(table)
    if volumes[0]["data"] == "simulated":
        print("simulated   y = A x: no model error, so these figures are better than those of a scan")
    print(f"volumes     {len(volumes)} of {len(files)} in {out}/")


def warn_if_worse_than_zero_filling(name: str, means: Mapping[str, float]) -> None:
    """Log a warning where the mean PSNR of the reconstructions is below that of the measured samples alone."""
    before = means.get("combined.zero_filled.psnr")
    after = means.get("combined.mean.psnr", means.get("combined.one.psnr"))
    if before is not None and after is not None and after < before:
        log.warning(
            "%s: reconstructions are worse than zero filling, PSNR %.1f dB and %.1f dB; was the prior trained on such images?",
            name,
            after,
            before,
        )


def title(key: str) -> str:
    """A number's name in metrics.json, ``combined.one.psnr``, as a reader knows it: "PSNR, dB (one sample)"."""
    *groups, measure = key.split(".")
    if len(groups) == 2 and groups[0] in UNITS:
        return f"{MEASURES.get(measure, measure)} ({ESTIMATES.get(groups[1], groups[1])}{UNITS[groups[0]]})"
    if groups == ["chi2"]:
        return f"reduced chi2 ({ESTIMATES.get(measure, measure)})"
    return key.replace("_", " ").replace(".", ", ")


def averages(numbers: list[dict[str, Any]]) -> dict[str, float]:
    """Mean over the volumes that have it of every measure, nested ones under names with dots."""
    flat = [dict(flattened({key: value for key, value in one.items() if key != "method"})) for one in numbers]
    keys = dict.fromkeys(key for one in flat for key in one if key in SHOWN or "." in key)
    return {key: sum(one[key] for one in flat if key in one) / sum(key in one for one in flat) for key in keys}


def flattened(numbers: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in numbers.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", float(value)
