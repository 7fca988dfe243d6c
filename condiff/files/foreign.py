"""What holds for every file of unknown origin, whatever its format: is it a file, does it fit into memory, which one is it."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from condiff.errors import DataFault, printable

UNREADABLE = "cannot be read"  # part of the reason where another try may succeed
MEMORY_SHARE = 1 / 4  # of this machine's memory, that a volume may take; processing needs a few times its size
UNKNOWN = 64 * 2**30  # bytes of memory, where the system does not tell
LONGEST = 200  # characters of a library's error
BLOCK, BLOCKS = 2**16, 8  # bytes of a block and number of blocks that a digest covers


def check_regular(path: Path) -> None:
    """Raises DataFault for a FIFO, a socket or a device, which may block whoever opens it, and for a path that leads nowhere."""
    with reading():
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataFault("is no regular file, and is not opened; leave FIFOs, sockets and devices out of the folder")


def small_text(path: Path, most: int) -> str:
    """The text of a file of at most ``most`` bytes. Raises OSError or ValueError for a longer one, or what is no regular file."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("is no regular file")
    if found.st_size > most:
        raise ValueError(f"more than {most} bytes")
    return path.read_text(encoding="utf-8")


def check_memory(nbytes: int) -> None:
    """Raise DataFault where an array of ``nbytes`` is too large for this machine's memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else UNKNOWN
    if nbytes > memory * MEMORY_SHARE:
        raise DataFault(
            f"{UNREADABLE} into memory: its arrays take {nbytes / 2**30:.1f} GiB and processing a few times that, of the "
            f"{memory / 2**30:.0f} GiB here; use a larger machine, or split the volume"
        )


def digest(path: Path) -> str:
    """A hash of a file's bytes: of all of them up to half a megabyte, else of 8 blocks spread evenly over the file.

    So a volume of a gigabyte takes 8 reads. They tell two scans apart, because every block of k-space or images holds noise. A
    change in place between the blocks changes the file's time as well. The raw bytes are hashed, not the decoded values, because
    they include attributes and header.

    Raises:
        DataFault: it cannot be read.
    """
    with reading(), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        whole = size <= BLOCK * BLOCKS
        sha256 = hashlib.sha256()
        for number in range(BLOCKS):
            file.seek(number * BLOCK if whole else number * (size - BLOCK) // (BLOCKS - 1))
            sha256.update(file.read(BLOCK))
    return sha256.hexdigest()[:32]


@contextmanager
def reading(kind: str = "") -> Iterator[None]:
    """Turns any error of the calls inside into DataFault; put only calls of the system and of the reading library inside."""
    try:
        yield
    except (DataFault, MemoryError):
        raise
    except Exception as error:
        raise DataFault(f"{UNREADABLE}{kind} ({printable(error)[:LONGEST]}); copy it again") from None
