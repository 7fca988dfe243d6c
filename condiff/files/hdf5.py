"""HDF5 files that anyone may have written: nothing outside the file is opened, nothing is read before its size is known.

HDF5 lets a dataset be a link to another file, a view of other datasets (of itself, too, which crashes the library), or bytes of
any file of this machine; a header of a kilobyte may declare terabytes. So links, types and sizes are looked at first.
"""

import hashlib
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from condiff.errors import DataFault

UNREADABLE = "cannot be read"  # in the reason, where another try may go better
MOST = 16 * 2**30  # bytes of a dataset; fastMRI's largest has one GiB
SMALL = 64 * 2**20  # bytes that may be declared whatever is stored
RATIO = 200  # of declared to stored bytes beyond that; compressed images and zero-filled k-space have less than 50
FEW_CHUNKS, SMALLEST_CHUNK = 10_000, 4096  # so many are read whatever their size; of more each has so many bytes
MEMORY = 4  # a volume may take one part in so many of this machine's memory, because processing takes a few times its size
LONGEST = 1024  # characters of an attribute
BLOCK, BLOCKS = 2**16, 8  # of a digest


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, for reading. Raises DataFault where it is no regular file, no HDF5, or cannot be read."""
    with reading():
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataFault("is no regular file, and is not opened; leave FIFOs, sockets and devices out of the folder")
        file = h5py.File(path)
    try:
        yield file
    finally:
        with reading():
            file.close()


def holds(file: h5py.File, name: str) -> bool:
    """Whether there is anything of that name; opens nothing, unlike ``name in file``, which follows links."""
    with reading():
        return file.id.links.exists(name.encode())


def dataset(file: h5py.File, name: str, kinds: str, expected: str) -> h5py.Dataset | None:
    """A dataset that lies in the file itself; None where there is none.

    Args:
        kinds: codes of NumPy's kinds of types that are allowed.
        expected: these in words.

    Raises:
        DataFault: it is a link, virtual, stored in other files, of another type, compressed by a filter that is not installed, or
            declared larger than ``MOST`` or than what is stored can be.
    """
    if not holds(file, name):
        return None
    with reading():
        if file.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise DataFault(f"{name} is a link, and links are not followed; store the data in the file itself")
        found = file[name]
        if not isinstance(found, h5py.Dataset):
            raise DataFault(f"{name} is no dataset but a {type(found).__name__.lower()}")
        properties = found.id.get_create_plist()
        if found.is_virtual or properties.get_external_count():
            raise DataFault(f"{name} is stored in other files, which are not opened; store the data in the file itself")
        dtype = found.dtype
        if found.shape is None or dtype.kind not in kinds:
            raise DataFault(f"{name} is {'empty' if found.shape is None else f'of type {dtype}'}; {expected} expected")
        for number in range(properties.get_nfilters()):
            code, _, _, title = properties.get_filter(number)
            if not h5py.h5z.filter_avail(code):
                raise DataFault(
                    f"{name} is compressed by the filter {code} ({title.decode(errors='replace')}), which is not installed; "
                    "rewrite it, h5repack -f GZIP=4 OLD NEW"
                )
        _check_size(file, found, name)
    return found


def array(found: h5py.Dataset, index: object = ()) -> np.ndarray:
    """Values of a dataset. Raises DataFault where they cannot be read."""
    with reading():
        return np.asarray(found[index])


def slices(found: h5py.Dataset) -> Iterator[np.ndarray]:
    """Along the first axis, one after another; what is compressed together is read once."""
    step = found.chunks[0] if found.chunks else 1
    for begin in range(0, len(found), step):
        yield from array(found, slice(begin, begin + step))


def check_memory(nbytes: int) -> None:
    """Raises DataFault where so many bytes are too much for this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else MEMORY * MOST
    if nbytes > memory / MEMORY:
        raise DataFault(
            f"{UNREADABLE} into memory: its arrays take {nbytes / 2**30:.1f} GiB and processing a few times that, of the "
            f"{memory / 2**30:.0f} GiB here; use a larger machine, or split the volume"
        )


def content(file: h5py.File, name: str, longest: int) -> bytes:
    """A text as it is stored, be it a string of either kind, an array of one, or an array of bytes.

    Raises:
        DataFault: as of `dataset`; or it is missing, an array of several, or longer than ``longest``.
    """
    found = dataset(file, name, "SOui", "a text")
    if found is None:
        raise DataFault(f"lacks {name}")
    characters = found.dtype.kind in "ui" and found.dtype.itemsize == 1 and found.ndim == 1
    if not characters and (h5py.check_string_dtype(found.dtype) is None or found.size != 1):
        raise DataFault(f"{name} is of type {found.dtype} and shape {found.shape}; a text expected")
    if found.nbytes <= longest:
        values = array(found)
        text = values.tobytes() if characters else values.item()
        text = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        if len(text) <= longest:
            return text
    raise DataFault(f"{name} is longer than {longest} bytes")


def attribute(file: h5py.File, name: str, longest: int = LONGEST) -> object:
    """A text or number among the file's attributes, also out of an array of one; None where it is missing or empty.

    Bytes that are no UTF-8 become escapes.

    Raises:
        DataFault: it is neither, or has more than ``longest`` characters.
    """
    with reading():
        if not h5py.h5a.exists(file.id, name.encode()):
            return None
        stored = h5py.h5a.open(file.id, name.encode())
        if stored.get_space().get_simple_extent_type() == h5py.h5s.NULL:
            return None
        if stored.get_storage_size() > longest * 4:
            raise DataFault(f"{name} is longer than {longest} characters")
        if stored.dtype.kind == "O" and h5py.check_string_dtype(stored.dtype) is None:
            raise DataFault(f"{name} is neither a text nor a number")
        if math.prod(stored.shape) != 1 and not (stored.dtype == np.uint8 and len(stored.shape) == 1):
            raise DataFault(f"{name} is an array of shape {stored.shape} and type {stored.dtype}; one text or number expected")
        value = file.attrs[name]
    values = np.asarray(value)
    if values.dtype == np.uint8 and values.ndim == 1:
        one = values.tobytes()
    elif values.size == 1 and values.dtype.kind in "SUOuifb":
        one = values.item()
    else:
        raise DataFault(f"{name} is an array of shape {values.shape} and type {values.dtype}; one text or number expected")
    if isinstance(one, str):
        one = one.encode("utf-8", "surrogateescape")
    text = one.decode("utf-8", "backslashreplace") if isinstance(one, bytes) else one
    if isinstance(text, str) and len(text) > longest:
        raise DataFault(f"{name} is longer than {longest} characters")
    return text


def digest(path: Path) -> str:
    """Of what the file holds: of all of it up to half a megabyte, else of blocks spread evenly from its beginning to its end.

    A volume of a gigabyte is known by 8 reads. They are enough to tell two scans apart, for noise is in every block of k-space
    or images; what changes a file in place within the other blocks alone changes its time as well. Raw bytes and not decoded
    values, because they include attributes and header.

    Raises:
        DataFault: it cannot be read.
    """
    with reading(), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        whole = size <= BLOCK * BLOCKS
        found = hashlib.sha256()
        for number in range(BLOCKS):
            file.seek(number * BLOCK if whole else number * (size - BLOCK) // (BLOCKS - 1))
            found.update(file.read(BLOCK))
    return found.hexdigest()[:32]


@contextmanager
def reading() -> Iterator[None]:
    """Around calls of HDF5 and the system alone, whose errors of any type are then the file's. Raises DataFault for them."""
    try:
        yield
    except (DataFault, MemoryError):
        raise
    except Exception as error:
        raise DataFault(f"{UNREADABLE} as HDF5 ({error}); copy it again") from None


def _check_size(file: h5py.File, found: h5py.Dataset, name: str) -> None:
    stored, declared = found.id.get_storage_size(), math.prod(found.shape) * found.dtype.itemsize
    chunk = math.prod(found.chunks or ()) * found.dtype.itemsize
    size = f"{name} declares {declared / 2**30:.3g} GiB of shape {found.shape}"
    if max(declared, chunk) > MOST:
        raise DataFault(f"{size}; at most {MOST / 2**30:.0f} GiB are read")
    if max(declared, chunk) > max(SMALL, RATIO * stored) or stored > max(file.id.get_filesize(), SMALL):
        raise DataFault(f"{size}, and {stored} bytes are stored, which is no image; copy it again")
    check_memory(chunk)  # is unpacked whole
    if found.chunks:
        pieces = math.prod(-(-n // size) for n, size in zip(found.shape, found.chunks, strict=True))
        if pieces > max(FEW_CHUNKS, declared // SMALLEST_CHUNK):  # HDF5 takes a kilobyte of memory for each
            raise DataFault(
                f"{size}, in {pieces} chunks of {chunk} bytes; rewrite it with larger ones, h5repack -l CONTI OLD NEW"
            )
