"""The errors for a folder without volumes of a layout: what it holds, and the remedy."""

from collections.abc import Mapping
from pathlib import Path

from condiff.data.layout import Layout
from condiff.errors import InputError, counted
from condiff.files.listing import describe_files

ARCHIVES = (".zip", ".tar", ".tgz", ".7z", ".rar")


def no_files(root: Path, layout: Layout) -> InputError:
    """The error for a folder tree without files of a layout."""
    found = describe_files(root)
    remedy = "unpack the archives, or give" if any(suffix in found for suffix in ARCHIVES) else ""
    remedy = layout.remedy(root).replace("give", remedy, 1) if remedy else layout.remedy(root)
    return InputError(f"data.root: {root} holds no {layout.files} ({found} found); {remedy}")


def no_volumes(root: Path, skipped: Mapping[Path, str], files: int, layout: Layout) -> InputError:
    """The error for a folder tree of ``files`` files of a layout that are all skipped."""
    example = next(f"{path}: {reason}" for path, reason in skipped.items())
    count = counted(files, layout.files)
    return InputError(f"data.root: {root} holds no readable volume ({count}; the first: {example}); {layout.remedy(root)}")
