"""Safe reading of HDF5 files from any source: nothing outside the file is opened, and sizes are checked before reading.

In HDF5 a dataset may be a link to another file, a view of other datasets (of itself too, which crashes the library), or bytes of
any file of this machine; a header of a kilobyte may declare terabytes. So links, types and sizes are checked first.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import h5py
import numpy as np

from condiff.errors import DataFault
from condiff.files import foreign
from condiff.files.foreign import check_memory, check_regular

LARGEST = 16 * 2**30  # bytes of a dataset; fastMRI's largest has one GiB
SMALL = 64 * 2**20  # bytes that may be declared, however few are stored
RATIO = 200  # of declared to stored bytes beyond that; compressed images and zero-filled k-space have less than 50
FEW_CHUNKS, SMALLEST_CHUNK = 10_000, 4096  # as many chunks are read whatever their size; of more, each must have as many bytes
LONGEST = 1024  # characters of an attribute


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, for reading. Raises DataFault where it is no regular file, no HDF5, or cannot be read."""
    check_regular(path)
    with reading():
        file = h5py.File(path)
    try:
        yield file
    finally:
        with reading():
            file.close()


def holds(file: h5py.File, name: str) -> bool:
    """Whether the file has an entry of that name. Opens nothing, unlike ``name in file``, which follows links."""
    with reading():
        return file.id.links.exists(name.encode())


def dataset(file: h5py.File, name: str, kinds: str, expected: str) -> h5py.Dataset | None:
    """A dataset that lies in the file itself; None if it is missing.

    Args:
        kinds: allowed kinds of types, as in `numpy.dtype.kind`.
        expected: these in words, for the error.

    Raises:
        DataFault: it is a link, virtual, stored in other files, of another type, compressed by a filter that is not installed, or
            declares more than ``LARGEST`` bytes, or far more than are stored.
    """
    if not holds(file, name):
        return None
    with reading():
        if file.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise DataFault(f"{name} is a link, and links are not followed; store the data in the file itself")
        stored = file[name]
        if not isinstance(stored, h5py.Dataset):
            raise DataFault(f"{name} is no dataset but a {type(stored).__name__.lower()}")
        properties = stored.id.get_create_plist()
        if stored.is_virtual or properties.get_external_count():
            raise DataFault(f"{name} is stored in other files, which are not opened; store the data in the file itself")
        dtype = stored.dtype
        if stored.shape is None or dtype.kind not in kinds:
            raise DataFault(f"{name} is {'empty' if stored.shape is None else f'of type {dtype}'}; {expected} expected")
        for number in range(properties.get_nfilters()):
            code, _, _, title = properties.get_filter(number)
            if not h5py.h5z.filter_avail(code):
                raise DataFault(
                    f"{name} is compressed by the filter {code} ({title.decode(errors='replace')}), which is not installed; "
                    "rewrite it, h5repack -f GZIP=4 OLD NEW"
                )
        _check_size(file, stored, name)
    return stored


def array(stored: h5py.Dataset, index: object = ()) -> np.ndarray:
    """The values of a dataset. Raises DataFault where they cannot be read."""
    with reading():
        return np.asarray(stored[index])


def slices(stored: h5py.Dataset) -> Iterator[np.ndarray]:
    """The slices along the first axis, one after another; each compressed chunk is read once."""
    step = stored.chunks[0] if stored.chunks else 1
    for begin in range(0, len(stored), step):
        yield from array(stored, slice(begin, begin + step))


def content(file: h5py.File, name: str, longest: int) -> bytes:
    """The bytes of a text, stored as a string of either kind, an array of one, or an array of bytes.

    Raises:
        DataFault: as of `dataset`; or it is missing, an array of several, or longer than ``longest``.
    """
    stored = dataset(file, name, "SOui", "a text")
    if stored is None:
        raise DataFault(f"lacks {name}")
    characters = stored.dtype.kind in "ui" and stored.dtype.itemsize == 1 and stored.ndim == 1
    if not characters and (h5py.check_string_dtype(stored.dtype) is None or stored.size != 1):
        raise DataFault(f"{name} is of type {stored.dtype} and shape {stored.shape}; a text expected")
    if stored.nbytes <= longest:
        values = array(stored)
        text = values.tobytes() if characters else values.item()
        text = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        if len(text) <= longest:
            return text
    raise DataFault(f"{name} is longer than {longest} bytes")


def attribute(file: h5py.File, name: str, longest: int = LONGEST) -> object:
    """An attribute of the file that is one text or number, or an array of one; None where it is missing or empty.

    Invalid UTF-8 becomes escapes.

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
        content = values.tobytes()
    elif values.size == 1 and values.dtype.kind in "SUOuifb":
        content = values.item()
    else:
        raise DataFault(f"{name} is an array of shape {values.shape} and type {values.dtype}; one text or number expected")
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogateescape")
    text = content.decode("utf-8", "backslashreplace") if isinstance(content, bytes) else content
    if isinstance(text, str) and len(text) > longest:
        raise DataFault(f"{name} is longer than {longest} characters")
    return text


def reading() -> AbstractContextManager[None]:
    """`foreign.reading` of HDF5."""
    return foreign.reading(" as HDF5")


def _check_size(file: h5py.File, item: h5py.Dataset, name: str) -> None:
    """Raise DataFault where a dataset declares more than can be stored or read."""
    stored, declared = item.id.get_storage_size(), math.prod(item.shape) * item.dtype.itemsize
    chunk = math.prod(item.chunks or ()) * item.dtype.itemsize
    size = f"{name} declares {declared / 2**30:.3g} GiB of shape {item.shape}"
    if max(declared, chunk) > LARGEST:
        raise DataFault(f"{size}; at most {LARGEST / 2**30:.0f} GiB are read")
    if max(declared, chunk) > max(SMALL, RATIO * stored) or stored > max(file.id.get_filesize(), SMALL):
        raise DataFault(f"{size}, and {stored} bytes are stored, which is no image; copy it again")
    check_memory(chunk)  # is unpacked whole
    if item.chunks:
        pieces = math.prod(-(-n // size) for n, size in zip(item.shape, item.chunks, strict=True))
        if pieces > max(FEW_CHUNKS, declared // SMALLEST_CHUNK):  # HDF5 takes a kilobyte of memory for each
            raise DataFault(
                f"{size}, in {pieces} chunks of {chunk} bytes; rewrite it with larger ones, h5repack -l CONTI OLD NEW"
            )
