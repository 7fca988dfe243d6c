"""Torch files from strangers, read as plain values.

``torch.load(weights_only=True)`` runs no code, but what it returns can lie: an OrderedDict whose ``keys`` is replaced, a tensor
that claims a terabyte in four bytes, a list that contains itself. `read` verifies the checksums, admits a short list of names in
the pickle, and rebuilds the result from exact built-in types within limits of depth, number and size. What walks over the result
sees all that is in it.
"""

import io
import pickle
import pickletools
import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from condiff.errors import InputError

DEPTH = 40  # containers in one another; a checkpoint of Lightning's has some 10
VALUES = 3_000_000  # in all; an optimizer has a few for each tensor of the model
TEXT = 1 << 24  # characters in all
PICKLE = 1 << 27  # bytes; weights lie outside of it
INTEGER = 1 << 63
RECORD = re.compile(
    r"[^/\\]+/(data\.pkl|data/\d+|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id)"
)
NAMES = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(f"torch {kind}Storage" for kind in ["Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"]),
}
FOREIGN = {
    "STACK_GLOBAL",
    "INST",
    "OBJ",
    "EXT1",
    "EXT2",
    "EXT4",
    "NEWOBJ",
    "NEWOBJ_EX",
    "PERSID",
}  # ways torch.save does not take
UNREADABLE = (
    RuntimeError,
    EOFError,
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    pickle.UnpicklingError,
    zipfile.error,
)


def read(path: str | Path) -> Any:
    """The value in a file of ``torch.save``: dict, list, tuple, str, int, float, bool, None and dense CPU tensors.

    Raises:
        InputError: damaged, of another kind, or holding what `condiff` never writes; the line says which.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            _verify(file, path)
            file.seek(0)
            value = torch.load(file, map_location="cpu", weights_only=True)
        return _Plain(path)(value)
    except InputError:
        raise
    except PermissionError:
        raise InputError(f"{path}: permission denied; make it readable, or copy it") from None
    except (*UNREADABLE, MemoryError, RecursionError, OverflowError):
        raise InputError(
            f"{path}: not a readable checkpoint; truncated (copy it again) or another kind of file (give one made by train.py)"
        ) from None


def _verify(file: BinaryIO, path: Path) -> None:
    """Raise InputError unless the archive is whole, unpacked, and its pickle names nothing but containers and tensors."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        odd = next((name for name in names if not RECORD.fullmatch(name)), None)
        if odd is not None or len({name.partition("/")[0] for name in names}) != 1 or len({*names}) != len(names):
            raise InputError(f"{path}: not a checkpoint (it holds {odd or 'one entry twice'!r}); give one made by train.py")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise InputError(f"{path}: its entries are compressed, which torch.save does not do; refused")
        if sum(entry.file_size for entry in entries) > file.seek(0, io.SEEK_END):
            raise InputError(f"{path}: its entries overlap; refused")
        damaged = archive.testzip()
        if damaged is not None:
            raise InputError(f"{path}: damaged (the checksum of {damaged} is wrong); copy it again")
        root = names[0].partition("/")[0]
        if archive.getinfo(f"{root}/data.pkl").file_size > PICKLE:
            raise InputError(f"{path}: holds more than {PICKLE >> 20} MB beside its weights; refused")
        for operation, argument, _ in pickletools.genops(archive.read(f"{root}/data.pkl")):
            foreign = argument if operation.name == "GLOBAL" and argument not in NAMES else None
            if foreign or operation.name in FOREIGN:
                name = str(foreign or operation.name).replace(" ", ".")
                raise InputError(f"{path}: holds {name[:100]!r}, which is no container, number, text or tensor; refused")


class _Plain:
    """Rebuilds values from exact types; counts what it rebuilds, so shared references cost as much as copies."""

    def __init__(self, path: Path):
        self.path, self.values, self.text = path, VALUES, TEXT

    def __call__(self, value: Any, depth: int = 0) -> Any:
        """Raises InputError for a type that no checkpoint has, and beyond the limits."""
        self.values -= 1
        if depth > DEPTH or self.values < 0:
            raise InputError(f"{self.path}: holds more than {VALUES} values, or containers in one another {DEPTH} times; refused")
        kind = type(value)
        if kind is dict or kind is OrderedDict:  # dict.items, for an OrderedDict's own can be replaced
            return {self._key(key): self(item, depth + 1) for key, item in dict.items(value)}
        if kind is list or kind is tuple:
            return kind(self(item, depth + 1) for item in value)
        if kind is str:
            self.text -= len(value)
            if self.text < 0:
                raise InputError(f"{self.path}: holds more than {TEXT} characters of text; refused")
        elif kind is int and not -INTEGER <= value < INTEGER:
            raise InputError(f"{self.path}: holds a whole number of {value.bit_length()} bits; refused")
        elif kind is Tensor or kind is torch.nn.Parameter:
            return self._tensor(value.detach())
        elif kind not in (int, float, bool, type(None)):
            raise InputError(f"{self.path}: holds a {kind.__name__}, which no checkpoint of condiff does; refused")
        return value

    def _key(self, key: Any) -> str | int:
        if type(key) not in (str, int):
            raise InputError(f"{self.path}: holds a dictionary with a {type(key).__name__} for a key; refused")
        return self(key)

    def _tensor(self, tensor: Tensor) -> Tensor:
        dense = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_complex()
        if not dense or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise InputError(f"{self.path}: holds a tensor {list(tensor.shape)} that is not dense numbers; refused")
        return tensor
