"""Numbers of a volume: as JSON writes them, and read back from a file of any origin."""

import json
import math
from pathlib import Path
from typing import Any

from condiff.errors import DataFault
from condiff.files import hdf5

LONGEST = 2**20  # characters of a volume's numbers


def without_nan(value: Any) -> Any:
    """Numbers that are not finite become None: JSON has no others."""
    if isinstance(value, dict):
        return {key: without_nan(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def numbers_of(path: Path) -> dict[str, Any] | None:
    """Of a volume that was done before; None where there is none, or it cannot be read."""
    try:
        with hdf5.opened(path) as file:  # a run from elsewhere may bring anything along
            numbers = json.loads(str(hdf5.attribute(file, "metrics", LONGEST)))
    except (DataFault, ValueError, RecursionError):
        return None
    whole = isinstance(numbers, dict) and {"file", "contrast", "bad_slices", "data"} <= numbers.keys()
    return numbers if whole and isinstance(numbers["contrast"], str) and _plain(numbers) else None


def _plain(value: Any) -> bool:
    """Whether nested containers hold text, switches and numbers that can be computed with."""
    if isinstance(value, dict | list):
        return all(map(_plain, value.values() if isinstance(value, dict) else value))
    return value is None or isinstance(value, str) or (isinstance(value, int | float) and abs(value) < 1e15)
