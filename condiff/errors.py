"""Errors that a person can mend: one line that names what was found, what was expected and the remedy."""

import sys
from pathlib import Path


class InputError(ValueError):
    """Bad input: a file, a folder or an option. Entry points print its message alone and exit with 1.

    The message is one line that is safe to print, whatever names and texts of files went into it.
    """

    def __init__(self, message: object):
        super().__init__(" ".join(printable(line.strip()) for line in str(message).splitlines() if line.strip()))


class DataFault(InputError):
    """A fault of one file's data, not of the program: that file is reported and left out, the others go on.

    The message has at most 500 characters, whatever the file says.
    """

    def __init__(self, message: object):
        super().__init__(message)
        self.args = (self.args[0][:500],)


class NotANumber(InputError):
    """A training or a sampler has diverged."""


def printable(text: object) -> str:
    r"""Text for terminals and UTF-8 files: control and format characters, and bytes that were no UTF-8, as \x1b or \udcfc."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def command(name: str) -> str:
    """A command as the running one was called: condiff-train where the package is installed, python train.py in a checkout."""
    return f"condiff-{name}" if Path(sys.argv[0]).stem.startswith("condiff-") else f"python {name}.py"


def is_memory(error: BaseException) -> bool:
    """Whether memory was too small; torch has no type of its own for the processor's."""
    import torch  # here, for a command's help needs none

    allocator = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    return allocator or isinstance(error, MemoryError | torch.OutOfMemoryError)
