"""Torch files from strangers, read as plain values.

A file of ``torch.save`` is a zip archive of a pickle and of the tensors' bytes. A pickle is a program: here its operations that
build containers, numbers, text and tensors are carried out, and every other one is refused. So nothing in a file is imported,
called or restored into an object, the checksums are verified, and the work is bounded by the size of the file.
"""

import io
import math
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condiff.errors import InputError

DEPTH = 40  # containers in one another; a checkpoint of Lightning's has some 10
VALUES = 1_000_000  # in all; an optimizer has a few for each tensor of the model
SHARED = 8  # times that tensors may have the size of their bytes; the weights of a checkpoint have bytes of their own
MOST_ARGUMENTS = 8  # of a call; a tensor's has 7
PICKLE = 1 << 25  # bytes, without the tensors
RECORD = re.compile(
    r"([^/\\]+)/(data\.pkl|data/\d+|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id)"
)
STORAGES = {
    "torch DoubleStorage": torch.float64, "torch FloatStorage": torch.float32, "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16, "torch LongStorage": torch.int64, "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16, "torch CharStorage": torch.int8, "torch ByteStorage": torch.uint8,
    "torch BoolStorage": torch.bool,
}  # fmt: skip
CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "NONE": lambda: None, "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
}  # fmt: skip
ARGUMENTS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
UNREADABLE = (OSError, EOFError, LookupError, ValueError, TypeError, RuntimeError, OverflowError, MemoryError, zipfile.error)


def read(path: str | Path) -> Any:
    """The value in a file of ``torch.save``: dict, list, tuple, str, int, float, bool, None and dense CPU tensors.

    Raises:
        InputError: damaged, of another kind, or holding what `condiff` never writes; the line says which.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            root = _root(archive, path)
            value = _unpickled(archive.read(f"{root}/data.pkl"), _Storages(archive, root))
        _demand_plain(value)
        return value
    except Refused as reason:
        raise InputError(f"{path}: {reason}; refused") from None
    except InputError:
        raise
    except PermissionError:
        raise InputError(f"{path}: permission denied; make it readable, or copy it") from None
    except UNREADABLE:
        raise InputError(
            f"{path}: not a readable checkpoint; truncated (copy it again) or another kind of file (give one made by train.py)"
        ) from None


class Refused(Exception):
    """What a file holds that no checkpoint does."""


def _root(archive: zipfile.ZipFile, path: Path) -> str:
    """The folder of all entries. Raises InputError or `Refused` unless the archive is one of ``torch.save``, and whole."""
    entries = archive.infolist()
    records = [RECORD.fullmatch(entry.filename) for entry in entries]
    roots = {record.group(1) for record in records if record}
    if not all(records) or len(roots) != 1 or len({entry.filename for entry in entries}) != len(entries):
        raise InputError(f"{path}: not a checkpoint, but another zip archive; give one made by train.py")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise Refused("its entries are compressed, which torch.save does not do")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise Refused("its entries overlap")
    damaged = archive.testzip()
    if damaged is not None:
        raise InputError(f"{path}: damaged (the checksum of {damaged} is wrong); copy it again")
    (root,) = roots
    if archive.getinfo(f"{root}/data.pkl").file_size > PICKLE:
        raise Refused(f"holds more than {PICKLE >> 20} MB beside its tensors")
    if f"{root}/byteorder" in archive.namelist() and archive.read(f"{root}/byteorder") != b"little":
        raise Refused("its numbers are big-endian")
    return root


class _Storages:
    """The tensors' bytes, each read once."""

    def __init__(self, archive: zipfile.ZipFile, root: str):
        self.archive, self.root = archive, root
        self.read: dict[str, Tensor] = {}
        self.handed, self.limit = 0, SHARED * sum(entry.file_size for entry in archive.infolist())

    def __call__(self, saved: Any) -> Tensor:
        """("storage", dtype, key, device, length) -> [length]."""
        kind, dtype, key, _, length = saved
        if kind != "storage" or type(dtype) is not torch.dtype or type(key) is not str or type(length) is not int:
            raise Refused("holds a reference that is no tensor's")
        if key not in self.read:
            content = self.archive.read(f"{self.root}/data/{key}")
            self.read[key] = torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)
        found = self.read[key]
        self.handed += found.numel() * found.element_size()
        if self.handed > self.limit:
            raise Refused("holds many tensors of the same bytes")
        if found.dtype != dtype or len(found) != length:
            raise Refused("holds a tensor of another size or type than its bytes")
        return found


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """torch._utils._rebuild_tensor_v2, within the bytes there are."""
    whole = type(storage) is Tensor and type(size) is tuple and type(stride) is tuple and len(size) == len(stride)
    if not whole or any(type(n) is not int or n < 0 for n in (offset, *size, *stride)) or math.prod(size) > len(storage):
        raise Refused("holds a tensor that is larger than its bytes")
    if any(step == 0 and n > 1 for n, step in zip(size, stride, strict=True)):
        raise Refused("holds a tensor whose elements share their bytes")
    return storage.as_strided(size, stride, offset)


CALLABLE: Mapping[str, Callable[..., Any]] = {
    "collections OrderedDict": dict,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": lambda data, *_: data,
}


def _unpickled(pickled: bytes, storage: Callable[[Any], Tensor]) -> Any:
    """The value that a pickle of containers, numbers, text and tensors builds. Raises `Refused` for any other operation."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def cut(begin: int) -> list[Any]:
        top = stack[begin:]
        del stack[begin:]
        return top

    for number, (operation, argument, _) in enumerate(_operations(pickled)):
        name = operation.name
        if number > VALUES:
            raise Refused(f"holds more than {VALUES} values")
        if name in CONSTANTS:
            stack.append(CONSTANTS[name]())
        elif name in ARGUMENTS:
            stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE" or name in TUPLES:
            stack.append(tuple(cut(marks.pop() if name == "TUPLE" else len(stack) - TUPLES[name])))
        elif name in ("APPEND", "APPENDS"):
            _list(cut(marks.pop() if name == "APPENDS" else len(stack) - 1), stack[-1])
        elif name in ("SETITEM", "SETITEMS"):
            _set(cut(marks.pop() if name == "SETITEMS" else len(stack) - 2), stack[-1])
        elif name == "GLOBAL":
            stack.append(_named(argument))
        elif name == "BINPERSID":
            stack.append(storage(stack.pop()))
        elif name == "REDUCE":
            function, arguments = cut(len(stack) - 2)
            few = type(arguments) is tuple and len(arguments) <= MOST_ARGUMENTS
            if not few or not any(function is known for known in CALLABLE.values()) or (function is dict and arguments):
                raise Refused("calls what is no tensor")
            stack.append(function(*arguments))
        elif name == "BUILD":
            stack.pop()  # the attributes of a state_dict, which nothing here needs
        elif name == "STOP":
            return stack.pop()
        elif name != "PROTO":
            raise Refused(f"has the operation {name}, which torch.save does not use")
    raise ValueError("no end")


def _operations(pickled: bytes) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]:
    return pickletools.genops(io.BytesIO(pickled))


def _list(items: list[Any], into: Any) -> None:
    if type(into) is not list:
        raise Refused("appends to what is no list")
    into.extend(items)


def _set(items: list[Any], into: Any) -> None:
    keys = items[::2]
    if type(into) is not dict or any(type(key) not in (str, int) for key in keys):
        raise Refused("holds a dictionary whose keys are not text or whole numbers")
    into.update(zip(keys, items[1::2], strict=True))


def _named(name: str) -> Any:
    if name in STORAGES:
        return STORAGES[name]
    if name in CALLABLE:
        return CALLABLE[name]
    raise Refused(f"holds {name.replace(' ', '.')[:100]!r}, which is no container, number, text or tensor")


def _demand_plain(value: Any) -> None:
    """Raise `Refused` for what is no plain value, and where nesting, or references to one value, would make a walk endless."""
    left = VALUES

    def walk(value: Any, depth: int) -> None:
        nonlocal left
        left -= 1
        if depth > DEPTH or left < 0:
            raise Refused(f"holds more than {VALUES} values, or {DEPTH} containers in one another")
        if isinstance(value, dict | list | tuple):
            for item in value.values() if isinstance(value, dict) else value:
                walk(item, depth + 1)
        elif not isinstance(value, Tensor | str | int | float | None):
            raise Refused(f"holds a {type(value).__name__} for a value")
        elif isinstance(value, int) and value.bit_length() > 63:
            raise Refused("holds a whole number of more than 64 bits")

    walk(value, 0)
