"""Files that appear whole or not at all, and one clear line where they cannot."""

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
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes its name when it is complete."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", suffix=".part", delete=False) as file:
        try:
            yield file  # type: ignore[misc]
            file.close()
            os.chmod(file.name, 0o666 & ~_umask())  # temporary files are for their maker alone
            os.replace(file.name, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(file.name)
            raise


@contextmanager
def whole_hdf5(path: Path) -> Iterator[h5py.File]:
    """As `whole`, an HDF5 file. It is made in memory, for HDF5 itself does not survive a full disk."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        yield file
    with whole(path) as stream:
        stream.write(content.getbuffer())


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raises InputError where the folder cannot be written, or the disk is full."""
    try:
        yield
    except OSError as error:
        full = error.errno in FULL
        remedy = "what is done is kept: free some space" if full else "make it writable"
        raise InputError(f"data.cache: cannot write to {folder} ({error}); {remedy}, or choose another, data.cache=DIR") from None


def demand_no_way_out(folder: Path, run: Path) -> None:
    """Raise InputError where something in a folder of a run is a link out of the run, or a FIFO or a device.

    A run from elsewhere may bring links to anywhere along, and what is written to them is written there.
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
