"""The results of a volume as JSON, written to its file and read back safely."""

import json
import math
from pathlib import Path
from typing import Any

from condiff.errors import DataFault
from condiff.files import hdf5

MAX_LENGTH = 2**20  # characters of the JSON


def without_nan(value: Any) -> Any:
    """The value with numbers that are not finite replaced by None, because JSON has none."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def numbers_of(path: Path) -> dict[str, Any] | None:
    """The results stored in a volume's file; None where there is no file, or it cannot be read."""
    try:
        with hdf5.opened(path) as file:  # a run copied from elsewhere may hold anything
            numbers = json.loads(str(hdf5.attribute(file, "metrics", MAX_LENGTH)))
    except (DataFault, ValueError, RecursionError):
        return None
    is_complete = isinstance(numbers, dict) and {"file", "contrast", "bad_slices", "data"} <= numbers.keys()
    return numbers if is_complete and isinstance(numbers["contrast"], str) and _plain(numbers) else None


def _plain(value: Any) -> bool:
    """Whether nested containers hold only text, booleans, None and numbers of a sane size."""
    if isinstance(value, dict | list):
        return all(map(_plain, value.values() if isinstance(value, dict) else value))
    return value is None or isinstance(value, str) or (isinstance(value, int | float) and abs(value) < 1e15)
