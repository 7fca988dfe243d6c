"""The errors for a folder without fastMRI volumes: what it holds, and the remedy."""

from collections.abc import Mapping
from pathlib import Path

from condiff.errors import InputError
from condiff.files.listing import describe_files

REMEDY = (
    "give the folder with fastMRI's multicoil brain files (.h5), data.root=DIR, or convert your images to such files: "
    "docs/data.md, How do I train on my own images?"
)


def no_files(root: Path) -> InputError:
    """The error for a folder tree without .h5 files."""
    return InputError(f"data.root: {root} holds no .h5 file ({describe_files(root)} found); {REMEDY}")


def no_volumes(root: Path, skipped: Mapping[Path, str], files: int) -> InputError:
    """The error for a folder tree of ``files`` .h5 files that are all skipped."""
    example = next(f"{path}: {reason}" for path, reason in skipped.items())
    count = f"{files} .h5 file{'s' if files > 1 else ''}"
    return InputError(f"data.root: {root} holds no readable fastMRI volume ({count}; the first: {example}); {REMEDY}")
