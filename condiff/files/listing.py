"""What a folder holds, in words."""

import os
from collections import Counter
from pathlib import Path

MOST = 5  # kinds that are named


def describe_files(folder: Path) -> str:
    """Returns how many files of each kind a folder holds at any depth, the most frequent first: "12 .nii.gz and 1 .txt files"."""
    kinds = Counter(_suffix(name) for _, _, names in os.walk(folder) for name in names if not name.startswith("."))
    counts = [f"{count} {suffix}" for suffix, count in kinds.most_common(MOST)]
    if not counts:
        return "no files"
    return f"{' and '.join(', '.join(counts).rsplit(', ', 1))} file{'s' if kinds.total() > 1 else ''}"


def _suffix(name: str) -> str:
    """Returns the suffix in lower case, .nii.gz as one; suffix-less without one."""
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    return "".join(suffixes[-2:] if suffixes[-1:] == [".gz"] else suffixes[-1:]) or "suffix-less"
