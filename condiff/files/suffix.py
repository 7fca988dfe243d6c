"""The way to save a file follows from its suffix."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from condiff.errors import InputError

T = TypeVar("T")


def by_suffix(path: Path, savers: Mapping[str, T]) -> T:
    """The saver for a file's suffix; its folder is made. Raises InputError for a suffix that none has."""
    saver = next((save for suffix, save in savers.items() if path.name.lower().endswith(suffix)), None)
    if saver is None:
        raise InputError(f"{path}: unknown suffix; there are {', '.join(savers)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return saver
