"""Volumes that are damaged, hostile or odd: ``MUTANTS`` maps a name to a function that changes an open file.

``volume`` writes the good file they start from. Links and external storage lead to ``secret`` beside it, or to a pipe there.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from condiff.data.fastmri.ismrmrd import TEMPLATE

Mutant = Callable[[h5py.File], object]
MUTANTS: dict[str, Mutant] = {}
PARTS = ("kspace", "reconstruction_rss", "ismrmrd_header")
MATRIX, SLICES, COILS = 32, 2, 2
ROWS, KSPACE = 2 * MATRIX, (SLICES, COILS, 2 * MATRIX, MATRIX)


def header(**other: Any) -> str:
    """An ISMRMRD header; text replaces a field as it is, without a format."""
    values = {
        "measurement": "m",
        "acquisition": "AXT1",
        "coils": COILS,
        "rows": ROWS,
        "cols": MATRIX,
        "readout": 440.0,
        "fov": 220.0,
        "recon": 220.0,
        "thickness": 5,
        "last": MATRIX - 1,
        "center": MATRIX // 2,
        "tr": 446,
        "te": 9,
        "ti": 100,
        "flip": 140,
        "field": 2.89,
        "sequence": "TurboSpinEcho",
    }
    text = TEMPLATE
    for key, value in other.items():
        text = re.sub(r"\{" + key + r"(:g)?\}", lambda _, value=value: value.replace("{", "{{").replace("}", "}}"), text)
    return text.format(**values)


def volume(path: Path) -> Path:
    """A noisy square in two coils, k-space and reconstruction, as fastMRI stores them."""
    rng = np.random.default_rng(0)
    image = np.zeros((SLICES, ROWS, MATRIX), np.complex64)
    image[:, MATRIX // 2 + 6 : MATRIX // 2 + MATRIX - 6, 6:-6] = 1 + rng.random((SLICES, MATRIX - 12, MATRIX - 12))
    ramp = np.linspace(0.3, 1, MATRIX)[None]
    maps = np.stack([ramp, 1j * ramp[:, ::-1]])
    axes = (-2, -1)
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image[:, None] * maps[None], axes), norm="ortho"), axes)
    kspace = kspace + 0.01 * (rng.normal(size=kspace.shape) + 1j * rng.normal(size=kspace.shape))
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace.astype(np.complex64)
        file["reconstruction_rss"] = np.abs(image[:, MATRIX // 2 : MATRIX // 2 + MATRIX]).astype(np.float32)
        file["ismrmrd_header"] = header().encode()
        file.attrs.update({"acquisition": "AXT1", "patient_id": "p", "max": 2.0, "norm": 3.0})
    return path


def create(name: str, *shape: Any, **how: Any) -> Mutant:
    """Another dataset in the place of one."""

    def mutant(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, *shape, **how)

    return mutant


def change(name: str, function: Callable[[Any], Any]) -> Mutant:
    """The values of a dataset passed through a function."""

    def mutant(file: h5py.File) -> None:
        values = file[name][()]
        del file[name]
        file[name] = function(values)

    return mutant


def store(name: str, value: Any) -> Mutant:
    """Another object or link in the place of one, or a new one; a function of the folder makes it."""

    def mutant(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = value(Path(file.filename).parent) if callable(value) else value

    return mutant


def set_one(values: np.ndarray, value: float) -> np.ndarray:
    values[(0,) * (values.ndim - 1) + (3,)] = value
    return values


# ---- any dataset

for part in PARTS:
    MUTANTS |= {
        f"absent_{part}": lambda file, part=part: file.__delitem__(part),
        f"group_{part}": lambda file, part=part: (file.__delitem__(part), file.create_group(part)),
        f"empty_{part}": create(part, data=h5py.Empty("f")),
        f"number_{part}": store(part, 1.0),
        f"text_{part}": store(part, "hello"),
        f"int8_{part}": store(part, np.ones(KSPACE, np.int8)),
        f"bool_{part}": store(part, np.ones(KSPACE, bool)),
        f"compound_{part}": store(part, np.zeros(KSPACE, [("a", "f4"), ("b", "S3")])),
        f"texts_{part}": create(part, KSPACE, h5py.string_dtype()),
        f"ragged_{part}": create(part, (2, 2), h5py.vlen_dtype(np.float32)),
        f"references_{part}": create(part, (2, 2, 4, 4), h5py.ref_dtype),
        f"no_slices_{part}": create(part, (0, *KSPACE[1:]), "c8"),
        f"rank_9_{part}": store(part, np.zeros((1,) * 9, np.complex64)),
        f"rank_1_{part}": store(part, np.zeros(9, np.complex64)),
        f"terabytes_{part}": create(part, (10**7, *KSPACE[1:]), "c8", chunks=(1, 1, *KSPACE[2:])),
        f"astronomic_{part}": create(part, (2**40, *KSPACE[1:]), "c8", chunks=(1, 1, *KSPACE[2:])),
        f"many_images_{part}": create(part, (10**7, MATRIX, MATRIX), "f4", chunks=(1, MATRIX, MATRIX)),
        f"compressed_bomb_{part}": create(
            part, (20000, *KSPACE[1:]), "c8", chunks=(5000, *KSPACE[1:]), compression="gzip", fillvalue=1 + 1j
        ),
        f"link_outside_{part}": store(part, lambda _: h5py.ExternalLink("/etc/passwd", "/x")),
        f"link_to_another_{part}": store(part, lambda folder, part=part: h5py.ExternalLink(str(folder / "good.h5"), f"/{part}")),
        f"link_to_a_pipe_{part}": store(part, lambda folder, part=part: h5py.ExternalLink(str(folder / "pipe"), f"/{part}")),
        f"link_to_itself_{part}": store(part, lambda _, part=part: h5py.SoftLink(f"/{part}")),
        f"link_to_nothing_{part}": store(part, lambda _: h5py.SoftLink("/gone")),
        f"link_in_a_ring_{part}": lambda file, part=part: (
            file.__delitem__(part),
            file.__setitem__(part, h5py.SoftLink("/ring")),
            file.__setitem__("ring", h5py.SoftLink(f"/{part}")),
        ),
    }


# ---- storage elsewhere


def external(name: str, shape: tuple[int, ...], kind: str, path: str) -> Mutant:
    """Bytes of another file as a dataset."""

    def mutant(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, shape, kind, external=[(str(Path(file.filename).parent / path), 0, h5py.h5f.UNLIMITED)])

    return mutant


def virtual(name: str, source: str, shape: tuple[int, ...], kind: str) -> Mutant:
    """A view of a dataset of another file, or of itself."""

    def mutant(file: h5py.File) -> None:
        del file[name]
        layout = h5py.VirtualLayout(shape, kind)
        layout[...] = h5py.VirtualSource(source if source == "." else str(Path(file.filename).parent / source), name, shape)
        file.create_virtual_dataset(name, layout)

    return mutant


IMAGES = (SLICES, MATRIX, MATRIX)
for label, path in {
    "secret": "secret",
    "passwd": "/etc/passwd",
    "nothing": "/nowhere",
    "zeros": "/dev/zero",
    "random": "/dev/urandom",
    "pipe": "pipe",
}.items():
    MUTANTS[f"external_{label}_kspace"] = external("kspace", KSPACE, "c8", path)
    MUTANTS[f"external_{label}_images"] = external("reconstruction_rss", IMAGES, "f4", path)
    MUTANTS[f"external_{label}_header"] = external("ismrmrd_header", (), "S200", path)
for label, source in {"itself": ".", "another": "good.h5", "passwd": "/etc/passwd", "pipe": "pipe"}.items():
    MUTANTS[f"virtual_{label}_kspace"] = virtual("kspace", source, KSPACE, "c8")
    MUTANTS[f"virtual_{label}_images"] = virtual("reconstruction_rss", source, IMAGES, "f4")

# ---- values

for part, values in {
    "kspace": (np.nan, np.inf, 0, 1e38, 1e-45),
    "reconstruction_rss": (np.nan, np.inf, 0, -1, 1e38, 3e38, 1e-44),
}.items():
    for value in values:
        MUTANTS[f"all_{value}_{part}"] = change(part, lambda old, value=value: np.full_like(old, value))
        MUTANTS[f"one_{value}_{part}"] = change(part, lambda old, value=value: set_one(old, value))
MUTANTS |= {
    "kspace_no_coils": change("kspace", lambda old: old[:, :0]),
    "kspace_one_coil": change("kspace", lambda old: old[:, :1]),
    "kspace_dead_coil": change("kspace", lambda old: old * np.array([1, 0])[None, :, None, None]),
    "kspace_equal_coils": change("kspace", lambda old: np.repeat(old[:, :1], 2, 1)),
    "kspace_one_slice": change("kspace", lambda old: old[:1]),
    "kspace_empty_slice": change("kspace", lambda old: old * np.array([0, 1])[:, None, None, None]),
    "kspace_complex128": change("kspace", lambda old: old.astype("c16")),
    "kspace_big_endian": change("kspace", lambda old: old.astype(">c8")),
    "kspace_long_double": change("kspace", lambda old: old.astype(np.clongdouble)),
    "kspace_half": store("kspace", np.zeros(KSPACE, [("r", "f2"), ("i", "f2")])),
    "kspace_real": change("kspace", lambda old: old.real),
    "kspace_transposed": change("kspace", lambda old: old.transpose(0, 1, 3, 2)),
    "kspace_zero_padded": change("kspace", lambda old: old * (np.abs(np.arange(MATRIX) - MATRIX // 2) < 12)),
    "images_more_slices": change("reconstruction_rss", lambda old: np.repeat(old, 9, 0)),
    "images_of_another_size": change("reconstruction_rss", lambda old: old[:, :7, :3]),
    "images_of_one_pixel": change("reconstruction_rss", lambda old: old[:, 16:17, 16:17]),
    "images_one": change("reconstruction_rss", lambda old: old[0]),
    **{
        f"images_{kind}": change("reconstruction_rss", lambda old, kind=kind: (1000 * old).astype(kind))
        for kind in ("f8", "f2", ">f4", "c8", "u2", "u8", ">i2")
    },
    "mask_text": store("mask", "hello"),
    "mask_number": store("mask", 1),
    "mask_nan": store("mask", np.full(MATRIX, np.nan, "f4")),
    "mask_long": store("mask", np.ones(10**6, bool)),
    "mask_2d": store("mask", np.ones((ROWS, MATRIX), bool)),
    "mask_zero": store("mask", np.zeros(MATRIX, bool)),
    "mask_group": lambda file: file.create_group("mask"),
    "group_in_itself": lambda file: file.__setitem__("loop", file["/"]),
    "many_links": lambda file: [file.__setitem__(f"x{number}", h5py.SoftLink("/kspace")) for number in range(3000)],
}


def broken_chunk(file: h5py.File) -> None:
    """A chunk that says of itself to be unfiltered, and is zeros."""
    del file["kspace"]
    made = file.create_dataset("kspace", KSPACE, "c8", chunks=(1, 1, *KSPACE[2:]), compression="gzip")
    made.id.write_direct_chunk((0, 0, 0, 0), b"\0" * 100, 0)


MUTANTS["broken_chunk"] = broken_chunk

# ---- attributes

ATTRIBUTES = {
    "bytes": b"\xff\xfe",
    "latin1": np.bytes_("Müller".encode("latin-1")),
    "number": 5,
    "nan": np.nan,
    "array": np.arange(5),
    "texts": np.array([b"AXT1", b"x"]),
    "one_text": np.array([b"AXT1"]),
    "empty": "",
    "null": h5py.Empty("f"),
    "long": "A" * 60000,
    "lines": "AXT1\nerror: x",
    "escape": "\x1b[2J\x1b[31mAXT1",
    "reversed": "AX\u202eT1",
    "path": "../../../../x",
    "formula": "=cmd()",
    "spaces": "  p  ",
}
for name in ("acquisition", "patient_id", "norm", "max"):
    MUTANTS[f"attribute_{name}_absent"] = lambda file, name=name: file.attrs.__delitem__(name)
    for label, value in ATTRIBUTES.items():
        MUTANTS[f"attribute_{name}_{label}"] = lambda file, name=name, value=value: file.attrs.__setitem__(name, value)

# ---- headers

BODY = header().split("?>", 1)[1]
ENTITIES = '<?xml version="1.0"?><!DOCTYPE l [{}]>'
LAUGHS = '<!ENTITY a "aaaaaaaaaa">' + "".join(f'<!ENTITY {chr(98 + i)} "{("&" + chr(97 + i) + ";") * 10}">' for i in range(9))
HEADERS: dict[str, str | bytes] = {
    "empty": "",
    "text": "hello",
    "utf16": np.bytes_(header().replace("utf-8", "utf-16").encode("utf-16")),
    "latin1": header(acquisition="\xe9").encode("latin-1"),
    "text_of_10_MB": header(acquisition="A" * 10**7),
    "attribute_of_10_MB": header().replace("<encoding>", f'<encoding a="{"A" * 10**7}">'),
    "measurement_of_10_MB": header(measurement="A" * 10**7),
    "garbage_of_10_MB": "<" * 10**7,
    "deep": "<a>" * 10**6,
    "deep_and_closed": "<a>" * 10**5 + "</a>" * 10**5,
    "many": "<a>" + "<b/>" * 10**6 + "</a>",
    "laughs": ENTITIES.format(LAUGHS) + header(measurement="&j;").split("?>", 1)[1],
    "laughs_as_number": ENTITIES.format(LAUGHS) + header(tr="&j;").split("?>", 1)[1],
    "quadratic": ENTITIES.format(f'<!ENTITY a "{"A" * 50000}">') + header(measurement="&a;" * 50000).split("?>", 1)[1],
    "entity_of_a_file": ENTITIES.format('<!ENTITY a SYSTEM "file:///etc/passwd">') + header(measurement="&a;").split("?>", 1)[1],
    "parameter_of_a_file": ENTITIES.format('<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;') + BODY,
    "type_from_the_net": '<?xml version="1.0"?><!DOCTYPE l SYSTEM "http://127.0.0.1:9/x.dtd">' + BODY,
    "lines_in_measurement": header(measurement='a\r\nb,"c'),
    "reference": header(measurement="&#1;"),
    "no_namespace": header().replace(' xmlns="http://www.ismrm.org/ISMRMRD"', ""),
    "no_limits": re.sub(r"<encodingLimits>.*?</encodingLimits>", "", header(), flags=re.DOTALL),
    "path": header(measurement="../../../../x"),
}
NUMBERS = {
    "rows": "0 -5 nan 1e400 1e18 1e300 64.7 ٦٤ 0x40 6_4",
    "cols": "0 -5 nan 1e300 32.9 1e18",
    "readout": "0 -1 nan 1e300 1e-300 1e18 0.001 1e9",
    "fov": "0 1e300 1e-300 nan 1e9 1e-9",
    "recon": "0 1e300 1e-300 nan 1e9 1e-9",
    "last": "-1 1e300 nan 0 99999999999999999999",
    "center": "1e300 -1 nan 99999 1e18",
    "tr": "1e300 -1 nan 1e-300 0",
    "te": "nan 1e300",
    "ti": "1e400",
    "flip": "1e300",
    "field": "1e300 nan",
    "thickness": "nan -1 1e300",
    "sequence": "\u202ex",
}
HEADERS |= {f"{key}_{value}": header(**{key: value}) for key, values in NUMBERS.items() for value in values.split()}
for label, text in HEADERS.items():
    MUTANTS[f"header_{label}"] = store("ismrmrd_header", text if isinstance(text, bytes) else text.encode())
MUTANTS |= {
    "header_as_array_of_one": store("ismrmrd_header", np.array([header().encode()])),
    "header_as_array_of_two": store("ismrmrd_header", np.array([b"a", b"b"])),
    "header_as_text": store("ismrmrd_header", header()),
    "header_as_numbers": store("ismrmrd_header", np.frombuffer(header().encode(), np.uint8)),
}


def flipped(good: bytes, number: int) -> bytes:
    """A whole file with bits flipped, cut short, or overwritten, the number-th way."""
    rng = np.random.default_rng(number)
    data, reach = bytearray(good), 3000 if number % 2 else len(good)  # half of them where the structure is
    if number % 3 == 0:
        for at in rng.integers(reach, size=rng.choice([1, 3, 30])):
            data[at] ^= 1 << int(rng.integers(8))
    elif number % 3 == 1:
        return bytes(data[: rng.integers(len(good))])
    else:
        at, length = int(rng.integers(reach)), int(rng.choice([1, 8, 64]))
        data[at : at + length] = bytes([int(rng.choice([0, 255, int(rng.integers(256))]))]) * length
    return bytes(data)
