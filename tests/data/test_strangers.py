"""Files that anyone may have written: refused by name, or read to the same images as the plain file."""

import csv
import logging
import os
import re

import h5py
import numpy as np
import pytest
import torch

from condiff.data.cache import VolumeCache
from condiff.data.fastmri import ismrmrd
from condiff.data.fastmri.layout import FastMRI
from condiff.data.fastmri.raw_scan import read_raw_scan
from condiff.data.fastmri.reader import probe, read_identity, read_kspace, read_magnitude
from condiff.data.index import index
from condiff.data.transforms import Complex, Magnitude
from condiff.errors import DataFault, InputError, printable
from condiff.files import foreign
from tests.conftest import write_raw, write_volume

KSPACE, RSS, XML = "kspace", "reconstruction_rss", "ismrmrd_header"
SHAPE = (2, 4, 64, 32)
MAGNITUDE, COMPLEX = Magnitude(matrix=32, downsample=1), Complex(matrix=32, downsample=1)


def replaced(name, content=None, **how):
    def change(file):
        del file[name]
        file.create_dataset(name, data=content, **how)

    return change


def changed(name, function):
    return lambda file: replaced(name, function(file[name][()]))(file)


def linked(name, link):
    def change(file):
        del file[name]
        file[name] = link

    return change


def virtual(source):
    def change(file):
        layout = h5py.VirtualLayout(SHAPE, "c8")
        layout[...] = h5py.VirtualSource(source, KSPACE, SHAPE)
        del file[KSPACE]
        file.create_virtual_dataset(KSPACE, layout)

    return change


def declared(name, shape, dtype, **how):
    return replaced(name, shape=shape, dtype=dtype, chunks=(1, *shape[1:]), **how)


def attribute(name, value):
    return lambda file: file.attrs.__setitem__(name, value)


def in_header(old, new):
    return changed(XML, lambda xml: re.sub(old.encode(), new.encode(), bytes(xml)))


def one_value(value):
    return lambda file: file[KSPACE].__setitem__((1, 0, 32, 5), value)


def bomb(file):
    replaced(KSPACE, shape=(1000, 5, 64, 32), dtype="c8", chunks=(1000, 5, 64, 32), compression="gzip")(file)
    file[KSPACE][:1] = 1


def filtered(file):
    """By Blosc, which h5py lacks."""
    del file[KSPACE]
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((1, *SHAPE[1:]))
    properties.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, ())
    h5py.h5d.create(file.id, KSPACE.encode(), h5py.h5t.py_create(np.dtype("c8")), h5py.h5s.create_simple(SHAPE), properties)


def both(convert):
    return lambda file: [attribute(name, convert(file.attrs[name].encode()))(file) for name in ("acquisition", "patient_id")]


REFUSED = {  # what is done to a good file -> what the reason names
    "itself": (virtual("."), "kspace is stored in other files"),
    "other file": (virtual("/etc/passwd"), "kspace is stored in other files"),
    "external": (replaced(KSPACE, shape=SHAPE, dtype="c8", external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)]), "in other files"),
    "external link": (linked(KSPACE, h5py.ExternalLink("/etc/passwd", "/x")), "kspace is a link"),
    "external header": (linked(XML, h5py.ExternalLink("/etc/passwd", "/x")), "ismrmrd_header is a link"),
    "link in a ring": (linked(KSPACE, h5py.SoftLink("/kspace")), "kspace is a link"),
    "dangling link": (linked(XML, h5py.SoftLink("/gone")), "ismrmrd_header is a link"),
    "text": (replaced(KSPACE, "hello"), "kspace is of type object"),
    "vlen": (replaced(KSPACE, shape=(2, 2), dtype=h5py.vlen_dtype(np.float32)), "kspace is of type object"),
    "references": (replaced(KSPACE, shape=(2, 2), dtype=h5py.ref_dtype), "kspace is of type object"),
    "compound": (replaced(KSPACE, np.zeros(SHAPE, [("a", "f4"), ("b", "S3")])), "kspace is of type .*'a'"),
    "empty": (replaced(KSPACE, h5py.Empty("f")), "kspace is empty"),
    "group": (lambda file: (file.__delitem__(KSPACE), file.create_group(KSPACE)), "kspace is no dataset"),
    "terabytes": (declared(KSPACE, (10**9, *SHAPE[1:]), "c8"), "kspace declares .* GiB"),
    "never written": (declared(KSPACE, (1000, 32, 64, 32), "c8"), "declares .* and 0 bytes are stored"),
    "bomb": (bomb, "kspace declares .* bytes are stored"),
    "tiny chunks": (replaced(KSPACE, shape=(2, 4, 640, 320), dtype="c8", chunks=(1, 1, 1, 1)), "in 1638400 chunks of 8 bytes"),
    "shared texts": (attribute("acquisition", ["A" * 10**6] * 200), r"acquisition is an array of shape \(200,\)"),
    "unknown filter": (filtered, "kspace is compressed by the filter 32001 .* h5repack"),
    "many slices": (declared(KSPACE, (2000, 1, 64, 32), "c8"), "kspace has 2000 slices; at most 1024"),
    "NaN": (changed(KSPACE, lambda k: k * np.nan), "not finite"),
    "other matrix": (changed(KSPACE, lambda k: k[..., ::2]), "header has 64 x 32"),
    "mask of text": (lambda file: file.__setitem__("mask", "hello"), "mask is of type object"),
    "mask of NaN": (lambda file: file.__setitem__("mask", np.full(32, np.nan)), "mask holds values that are not finite"),
    "long mask": (lambda file: file.__setitem__("mask", np.ones(33)), "mask has the shape .33,."),
    "long header": (replaced(XML, b"<a>" * 2**19), "ismrmrd_header is longer than 1048576 bytes"),
    "deep header": (replaced(XML, b"<a>" * 99 + b"</a>" * 99), "nested more than 50 deep"),
    "document type": (in_header(r"<ismrmrdHeader", '<!DOCTYPE l [<!ENTITY a "b">]><ismrmrdHeader'), "declares a document type"),
    "several headers": (replaced(XML, np.array([b"a", b"b"])), "ismrmrd_header is of type .* a text expected"),
    "tiny field": (in_header("<x>440.0</x>", "<x>1e-9</x>"), "encodedSpace/fieldOfView_mm is '1e-9' x '220.0'"),
    "vast field": (in_header("<x>220.0</x>", "<x>1e9</x>"), "reconSpace/fieldOfView_mm is '1e9'"),
    "exploding ratio": (in_header("<x>220.0</x>", "<x>999</x>"), "2.27 times the encodedSpace's 440"),
    "coarse pixels": (in_header("<x>440.0</x>", "<x>1900</x>"), "pixels of 29.7 x"),
    "broken matrix": (in_header("<x>64</x>", "<x>64.7</x>"), "matrixSize is 64.7 x 32, not whole numbers"),
    "long sequence": (in_header("TurboSpinEcho", "A" * 2000), "sequence_type is longer than 1024"),
    "no patient": (lambda file: file.attrs.__delitem__("patient_id"), "lacks patient_id"),
    "blank patient": (attribute("patient_id", "  "), "patient_id is empty"),
    "patient NaN": (attribute("patient_id", np.nan), "patient_id is empty"),
    "several patients": (attribute("patient_id", np.array([b"a", b"b"])), "patient_id is an array"),
    "long patient": (attribute("patient_id", "A" * 5000), "patient_id is longer than 1024"),
    "escape sequence": (attribute("acquisition", "\x1b[2J"), r"\\x1b"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(tmp_path, name):
    """Nothing but `DataFault` comes of it, whatever reads it, and it names the reason; `read_identity` survives all."""
    change, reason = REFUSED[name]
    path = write_raw(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(DataFault, match=reason):
        probe(path)
    for read in (read_raw_scan, lambda path: MAGNITUDE(*read_magnitude(path)), lambda path: COMPLEX(*read_kspace(path))):
        try:
            read(path)
        except DataFault as fault:
            assert str(fault).startswith(f"{path}: ")
    assert read_identity(path).path == path


def pairs(kspace):
    made = np.zeros(kspace.shape, [("r", "f4"), ("i", "f4")])
    made["r"], made["i"] = kspace.real, kspace.imag
    return made


READ = {
    "complex128": changed(KSPACE, lambda k: k.astype("c16")),
    "big-endian": changed(KSPACE, lambda k: k.astype(">c8")),
    "MATLAB's pairs": changed(KSPACE, lambda k: pairs(k).astype([("real", ">f8"), ("imag", ">f8")])),
    "compressed over slices": lambda file: replaced(KSPACE, file[KSPACE][()], chunks=SHAPE, compression="gzip")(file),
    "header of an array": changed(XML, lambda xml: np.array([xml])),
    "header of bytes": changed(XML, lambda xml: np.frombuffer(xml, np.uint8)),
    "header of text": changed(XML, lambda xml: xml.decode()),
    "Latin-1 header": changed(XML, lambda xml: xml.replace(b"<protocolName>", b"<protocolName>Sch\xe4del")),
    "attributes of arrays": both(lambda text: np.array([text])),
    "attributes of bytes": both(lambda text: np.frombuffer(text, np.uint8)),
    "odd norm": attribute("norm", "much"),
    "no encoding limits": in_header(r"(?s)<encodingLimits>.*</encodingLimits>", ""),
    "mask of all columns": lambda file: file.__setitem__("mask", np.ones((1, 1, 32, 1), np.int64)),
    "mask of all samples": lambda file: file.__setitem__("mask", np.ones((64, 32), np.float32)),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_read_to_the_same_images(tmp_path, name):
    path = write_raw(tmp_path / "a.h5")
    truth, volume = [MAGNITUDE(*read_magnitude(path))[0], COMPLEX(*read_kspace(path))[0]], probe(path)
    with h5py.File(path, "r+") as file:
        READ[name](file)
    assert (probe(path).patient, probe(path).acquisition) == (volume.patient, volume.acquisition)
    for images, expected in zip([MAGNITUDE(*read_magnitude(path))[0], COMPLEX(*read_kspace(path))[0]], truth, strict=True):
        torch.testing.assert_close(images, expected, rtol=0, atol=1e-5)
    assert read_raw_scan(path).full


@pytest.mark.parametrize("dtype", ["f2", "f8", ">f4", "u2", ">u4"])
def test_images_of_other_types(tmp_path, dtype):
    path = write_volume(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        changed(RSS, lambda images: images * 1e6)(file)
    truth = MAGNITUDE(*read_magnitude(path))[0]
    with h5py.File(path, "r+") as file:
        changed(RSS, lambda images: images.astype(dtype))(file)
    torch.testing.assert_close(MAGNITUDE(*read_magnitude(path))[0], truth, rtol=0, atol=1e-3)


def test_zeros_at_both_edges_are_padding(tmp_path):
    """Without encoding limits (M4Raw) they are what they are with them; zeros within are acceleration."""
    with_limits, without_limits, gaps, narrow = (tmp_path / f"{name}.h5" for name in ("a", "b", "c", "d"))
    for path, first in ((with_limits, 4), (without_limits, 4), (gaps, 4), (narrow, 10)):
        with h5py.File(write_raw(path, last=23, center=12), "r+") as file:
            file[KSPACE][..., :first] = file[KSPACE][..., 32 - first :] = 0
            if path == gaps:
                file[KSPACE][..., 9] = 0
            if path != with_limits:
                READ["no encoding limits"](file)
    assert probe(with_limits).header.columns == probe(without_limits).header.columns == (4, 28)
    one, other = read_raw_scan(with_limits), read_raw_scan(without_limits)
    assert one.full and other.full and other.volume.header.columns == (4, 28)
    for path in (gaps, narrow):
        assert not read_raw_scan(path).full
        with pytest.raises(DataFault, match="undersampled k-space"):
            probe(path)


def test_a_dead_coil_does_no_harm(tmp_path):
    path = write_raw(tmp_path / "a.h5", coils=4)
    with h5py.File(path, "r+") as file:
        file[KSPACE][:, 1] = 0
    found = [MAGNITUDE(*read_magnitude(path))[0], COMPLEX(*read_kspace(path))[0], read_raw_scan(path).kspace]
    assert probe(path).coils == 4 and found[2].shape[1] == 3
    with h5py.File(path, "r+") as file:
        changed(KSPACE, lambda kspace: kspace[:, [0, 2, 3]])(file)
    for one, other in zip(found, [MAGNITUDE(*read_magnitude(path))[0], COMPLEX(*read_kspace(path))[0]], strict=False):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("shape", [(32,), (1, 32), (1, 1, 32, 1), (64, 32)])
@pytest.mark.parametrize("dtype", [bool, int, float])
def test_masks_of_any_shape(tmp_path, shape, dtype):
    path = write_raw(tmp_path / "a.h5")
    columns = np.arange(32) % 3 > 0
    with h5py.File(path, "r+") as file:
        file["mask"] = np.broadcast_to(columns.reshape(shape[-2:] if shape[-1] == 1 else -1), shape).astype(dtype)
    acquired = read_raw_scan(path)
    assert torch.equal(acquired.sampled, torch.from_numpy(columns).expand(32, 32)) and not acquired.full
    assert torch.equal((acquired.kspace != 0).any(0).any(0), acquired.sampled)
    with pytest.raises(DataFault, match="undersampled"):
        probe(path)


@pytest.mark.parametrize("value", [1e38, 1e30j, np.inf, np.nan])
def test_damaged_kspace_makes_no_images(tmp_path, value):
    path = write_raw(tmp_path / "a.h5")
    volume = probe(path)
    with h5py.File(path, "r+") as file:
        one_value(value)(file)
    for read, transform in ((read_magnitude, MAGNITUDE), (read_kspace, COMPLEX)):
        cache = VolumeCache(tmp_path / "cache", read, transform)
        cache.prepare([volume], 0, "all")
        assert "not finite" in cache.failures([volume])[path]


@pytest.mark.parametrize("value", [3.4e38, 1e38, 1.0])
def test_a_spike_makes_no_images(tmp_path, value):
    path = write_volume(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file[RSS][0, 3, 3] = value
    with pytest.raises(DataFault, match="a pixel 100 times as bright as white"):
        MAGNITUDE(*read_magnitude(path))


@pytest.mark.parametrize("images", [np.full((2, 32, 32), 0.5), np.eye(32)[None] * (np.arange(32) == 3)])
def test_nothing_to_see_makes_no_images(tmp_path, images):
    path = write_volume(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        replaced(RSS, images)(file)
    with pytest.raises(DataFault, match="nothing is seen"):
        MAGNITUDE(*read_magnitude(path))


def test_more_than_the_memory(tmp_path, monkeypatch):
    path = write_raw(tmp_path / "a.h5")
    monkeypatch.setattr(foreign, "MEMORY_SHARE", 1e-9)
    for read in (read_kspace, read_raw_scan, read_magnitude):
        with pytest.raises(DataFault, match="a.h5: cannot be read into memory: .* GiB"):
            read(path)


def test_special_files_are_never_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo.h5")
    for read in (probe, read_magnitude, read_kspace, read_raw_scan):
        with pytest.raises(DataFault, match="no regular file"):
            read(tmp_path / "fifo.h5")
    assert read_identity(tmp_path / "fifo.h5").patient == ""


def test_one_bad_file_stops_no_other(tmp_path, caplog, monkeypatch):
    """Names that are no UTF-8, escape sequences, FIFOs, dangling links and folders that cannot be listed: all reported."""
    root = tmp_path / "data"
    (root / "closed").mkdir(parents=True)
    good = write_volume(root / "good.h5", patient="p0")
    os.rename(write_volume(root / "a.h5", patient="p1"), os.fsencode(root) + b"/M\xfcller.h5")
    os.mkfifo(root / "fifo.h5")
    os.symlink(root / "gone.h5", root / "dangling.h5")
    with open(os.fsencode(root) + b"/\xff\x1b[2J.h5", "w") as file:
        file.write("no HDF5")
    with h5py.File(write_volume(root / "patient.h5"), "r+") as file:
        file.attrs["patient_id"] = np.bytes_(b"J\xf6rg \x1b[31m")
    scandir = os.scandir

    def closed(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", closed)
    with caplog.at_level(logging.WARNING):
        found, again = index(root, tmp_path / "cache", FastMRI()), index(root, tmp_path / "cache", FastMRI())
    assert found == again
    assert [volume.patient for volume in found.volumes] == ["p1", "p0", r"J\xf6rg \x1b[31m"]
    assert found.volumes[1].path == good and {path.name for path in found.skipped} == {
        "closed", "dangling.h5", "fifo.h5", os.fsdecode(b"\xff\x1b[2J.h5"),
    }  # fmt: skip
    with found.report.open(encoding="utf-8") as file:
        rows = {row["file"]: row["reason"] for row in csv.DictReader(file)}
    assert "Permission denied" in rows[str(root / "closed")] and len(rows) == 4
    for text in (caplog.text, *rows, *rows.values()):
        assert "\x1b" not in text and text.encode()
    cache = VolumeCache(tmp_path / "cache", read_magnitude, MAGNITUDE)
    cache.prepare(found.volumes, 0, "all")
    assert not cache.failures(found.volumes)


@pytest.mark.parametrize(("one", "other"), [(7, 7.0), ("Zoë", "Zoe\u0308"), ("p ", "p")])
def test_one_patient_however_it_is_written(tmp_path, one, other):
    paths = [write_volume(tmp_path / f"{number}.h5") for number in range(2)]
    for path, patient in zip(paths, (one, other), strict=True):
        with h5py.File(path, "r+") as file:
            file.attrs["patient_id"] = patient
    assert probe(paths[0]).patient == probe(paths[1]).patient == read_identity(paths[1]).patient


def test_a_long_reason_stops_no_later_call(tmp_path):
    """The table of a folder with such a file can be read again."""
    (tmp_path / "data").mkdir()
    write_volume(tmp_path / "data/good.h5")
    with h5py.File(write_volume(tmp_path / "data/bad.h5"), "r+") as file:
        del file[RSS]
        file[RSS] = np.zeros((2, 2), [(f"{number}" + "\x01" * 1000, "f4") for number in range(40)])
    for _ in range(2):
        found = index(tmp_path / "data", tmp_path / "cache", FastMRI())
        assert len(found.volumes) == 1 and all(len(reason) <= 500 for reason in found.skipped.values())


def test_caches_that_a_power_cut_left_are_made_again(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("a", "b"):
        write_volume(tmp_path / f"data/{name}.h5", patient=name)
    found = index(tmp_path / "data", tmp_path / "cache", FastMRI())
    cache = VolumeCache(tmp_path / "cache", read_magnitude, MAGNITUDE)
    cache.prepare(found.volumes, 0, "all")
    whole = [cache.file(volume).read_bytes() for volume in found.volumes]
    for cut in (0, 10, -1):
        cache.file(found.volumes[0]).write_bytes(whole[0][:cut])
        cache.prepare(found.volumes, 0, "all")
        assert [cache.file(volume).read_bytes() for volume in found.volumes] == whole
    [table] = (tmp_path / "cache").glob("index-*/index.csv")
    text = table.read_bytes()
    for cut in (0, 10, len(text) // 2, len(text) - 20):
        table.write_bytes(text[:cut])
        assert index(tmp_path / "data", tmp_path / "cache", FastMRI()).volumes == found.volumes


def test_messages_are_one_safe_line():
    assert str(InputError("init=\udcfc\x1b[2J: no\nsuch  file\u202e")) == r"init=\udcfc\x1b[2J: no such  file\u202e"
    assert printable("Müller 5 °") == "Müller 5 °"


def test_a_measurement_is_one_patients(tmp_path):
    """Equal measurement and norm are a copy where the patient is the same, and another head where it is not."""
    root = tmp_path / "data"
    for name, patient in (("a", "p0"), ("b", "p1"), ("copy", "p0"), ("repeat", "p0")):
        (root / name).mkdir(parents=True)
        with h5py.File(write_volume(root / name / "x.h5", patient=patient), "r+") as file:
            file.attrs["norm"] = 2.0 if name == "repeat" else 1.0
            file.attrs["note"] = name
    found = index(root, tmp_path / "cache", FastMRI())
    assert [volume.path.parent.name for volume in found.volumes] == ["a", "b", "repeat"]
    assert [path.parent.name for path in found.skipped] == ["copy"]


def test_headers_own_bounds():
    """Values that no scanner has count as not given; they would stretch the ranges of all others."""
    about = {
        "measurement": "m", "acquisition": "AXT1", "coils": 1, "rows": 64, "cols": 32, "readout": 440, "fov": 220, "recon": 220,
        "thickness": 5, "last": 31, "center": 16, "tr": 1e300, "te": float("nan"), "ti": 1e-300, "flip": 1000, "field": 1e9,
        "sequence": "\u202ex",
    }  # fmt: skip
    found = ismrmrd.parse(ismrmrd.TEMPLATE.format(**about).encode())
    assert (found.tr, found.te, found.ti, found.flip, found.field_t) == (None,) * 5 and found.sequence == r"\u202ex"
    for limits in ({"last": -1}, {"center": 1e300}, {"last": 2, "center": 999}):
        assert ismrmrd.parse(ismrmrd.TEMPLATE.format(**about | limits).encode()).columns == (0, 0)
