"""Tensors of a file of torch.save: as torch.load reads them, and mapped."""

import tracemalloc
import zipfile

import pytest
import torch

from condiff.errors import InputError
from condiff.files import torch_archive

CONTENT = {
    "shared": (matrix := torch.arange(12.0).view(3, 4)),
    "part": matrix[1:, ::2].T,
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "flags": torch.tensor([True, False, True]),
    "empty": torch.empty(0, 3),
    "number": torch.tensor(7),
}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_numbers_are_those_of_torch(tmp_path):
    """Also where another program has zipped the file, so that numbers begin anywhere."""
    path, again = tmp_path / "a.ckpt", tmp_path / "b.ckpt"
    torch.save(CONTENT, path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(again, "w") as other:
        for entry in archive.infolist():
            other.writestr(entry.filename, archive.read(entry))
    expected = torch.load(path, weights_only=True)
    for file in (path, again):
        assert same(torch_archive.read(file), expected)


def test_reading_takes_no_memory(tmp_path):
    """What nobody asks for, the state of an optimizer, stays on the disk."""
    path = tmp_path / "a.ckpt"
    torch.save({"state": torch.ones(4_000_000)}, path)
    tracemalloc.start()
    try:
        state = torch_archive.read(path)["state"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000 and state.sum() == 4_000_000


def test_changing_a_tensor_does_not_change_the_file(tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save(CONTENT, path)
    before = path.read_bytes()
    torch_archive.read(path)["shared"].zero_()
    assert path.read_bytes() == before


def test_a_tensor_needs_whole_numbers(tmp_path):
    path, odd = tmp_path / "a.ckpt", tmp_path / "odd.ckpt"
    torch.save({"x": torch.ones(3)}, path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(odd, "w") as other:
        for entry in archive.infolist():
            content = archive.read(entry)
            other.writestr(entry.filename, content[:-1] if entry.filename.endswith("data/0") else content)
    with pytest.raises(InputError, match="odd.ckpt: holds a tensor of another size or type than its bytes; refused"):
        torch_archive.read(odd)
