"""Atomic writes: a file appears whole or not at all, with one clear line of error where that fails."""

import errno
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import h5py

from condiff.errors import InputError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Gives a file to write, which takes its name when it is complete."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", suffix=".part", delete=False) as file:
        try:
            yield file  # type: ignore[misc]
            file.close()
            os.chmod(file.name, 0o666 & ~_umask())  # a temporary file is readable by its owner alone
            os.replace(file.name, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(file.name)
            raise


@contextmanager
def atomic_write_hdf5(path: Path) -> Iterator[h5py.File]:
    """As `atomic_write`, for an HDF5 file. It is made in memory, because HDF5 itself does not survive a full disk."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        yield file
    with atomic_write(path) as stream:
        stream.write(content.getbuffer())


@contextmanager
def friendly_disk_errors(folder: Path) -> Iterator[None]:
    """Raises InputError where the folder cannot be written, or the disk is full."""
    try:
        yield
    except OSError as error:
        full = error.errno in FULL
        remedy = "what is done is kept: free some space" if full else "make it writable"
        raise InputError(f"data.cache: cannot write to {folder} ({error}); {remedy}, or choose another, data.cache=DIR") from None


def check_links_stay_inside(folder: Path, run: Path) -> None:
    """Raise InputError where a folder of a run holds a link out of the run, a FIFO or a device.

    A run that was copied from elsewhere may hold links to any place, and writing to a link writes to that place.
    """
    run = run.resolve()
    for path in (folder, *folder.rglob("*")):
        special = path.exists() and not (path.is_file() or path.is_dir())
        if special or (path.is_symlink() and not path.resolve().is_relative_to(run)):
            raise InputError(f"{path}: is {'no file' if special else 'a link out of the run'}; delete it, or give another folder")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
