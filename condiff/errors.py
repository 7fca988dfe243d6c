"""Errors of the input: one line that names what was found, what was expected and the remedy."""

import math
import sys
from numbers import Integral, Real
from pathlib import Path
from typing import Any


class InputError(ValueError):
    """Invalid input: a file, a folder or an option. Commands print only its message and exit with 1.

    The message is one line that is safe to print, whatever text of files it contains.
    """

    def __init__(self, message: object):
        super().__init__(" ".join(printable(line.strip()) for line in str(message).splitlines() if line.strip()))


class DataFault(InputError):
    """Invalid data of one file, which is reported and skipped.

    The message is cut to 500 characters.
    """

    def __init__(self, message: object):
        super().__init__(message)
        self.args = (self.args[0][:500],)


class NotANumber(InputError):
    """A training or a sampler has diverged: NaN or infinity."""


def check_whole(name: str, value: Any, at_least: int | None = 1) -> None:
    """Raises InputError unless an argument is a whole number, and not less than ``at_least``."""
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or (at_least is not None and value < at_least):
        limit = "" if at_least is None else f" of at least {at_least}"
        raise InputError(f"{name}={value!r}: give a whole number{limit}")


def check_number(name: str, value: Any, at_least: float = -math.inf) -> None:
    """Raises InputError unless an argument is a finite number, and not less than ``at_least``."""
    is_finite = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not is_finite or value < at_least:
        limit = "" if at_least == -math.inf else f" of at least {at_least:g}"
        raise InputError(f"{name}={value!r}: give a number{limit}")


def printable(text: object) -> str:
    r"""Returns text that is safe for terminals and UTF-8 files: unprintable characters become escapes, \x1b or \udcfc."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def counted(n: int, noun: str) -> str:
    """Returns a number with its noun, "1 slice" or "2 slices"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def command(name: str) -> str:
    """Returns a command in the style of the running one: condiff-train if installed, python train.py in a checkout."""
    return f"condiff-{name}" if Path(sys.argv[0]).stem.startswith("condiff-") else f"python {name}.py"


def is_memory(error: BaseException) -> bool:
    """Whether an error means that memory was too small; torch has no such type for the CPU."""
    import torch  # here: the help of a command does not need torch

    allocator = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    return allocator or isinstance(error, MemoryError | torch.OutOfMemoryError)
