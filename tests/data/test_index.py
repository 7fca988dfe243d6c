"""The index: read once, in parallel, whole at any time."""

import os
from pathlib import Path

import pytest

from condiff.data import index as indexing
from condiff.data.fastmri.layout import FastMRI
from condiff.data.fastmri.reader import probe
from condiff.data.index import index
from condiff.errors import InputError
from tests.conftest import write_raw, write_volume


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for i in range(4):
        write_volume(folder / f"{i}.h5", patient=f"p{i}")
    return folder


def counting(looked):
    """`probe`, which adds the names of the files it was called for."""
    return lambda path: looked.append(path.name) or probe(path)


def test_table_gives_what_probing_gave(root, tmp_path):
    write_raw(root / "raw.h5", patient="raw")
    first, again = index(root, tmp_path / "cache", FastMRI()), index(root, tmp_path / "cache", FastMRI())
    assert first == again and len(first.volumes) == 5
    for volume in again.volumes:
        assert volume == probe(volume.path)


def test_only_what_changed_is_read_again(root, tmp_path):
    looked = []
    index(root, tmp_path / "cache", FastMRI(counting(looked)))
    assert sorted(looked) == ["0.h5", "1.h5", "2.h5", "3.h5"]
    looked.clear()
    write_volume(root / "1.h5", patient="other")
    (root / "2.h5").unlink()
    (root / "deep" / "er").mkdir(parents=True)
    write_volume(root / "deep" / "er" / "new.h5", patient="new")
    found = index(root, tmp_path / "cache", FastMRI(counting(looked)))
    assert sorted(looked) == ["1.h5", "new.h5"]
    assert [v.patient for v in found.volumes] == ["p0", "other", "p3", "new"]
    looked.clear()
    index(root, tmp_path / "cache", FastMRI(counting(looked)))
    assert not looked


def test_an_interrupted_index_goes_on(root, tmp_path, monkeypatch):
    monkeypatch.setattr(indexing, "FILES_PER_SAVE", 2)
    looked = []

    def killed(path):
        if len(looked) == 3:
            raise KeyboardInterrupt
        looked.append(path.name)
        return probe(path)

    with pytest.raises(KeyboardInterrupt):
        index(root, tmp_path / "cache", FastMRI(killed))
    looked = []
    assert len(index(root, tmp_path / "cache", FastMRI(counting(looked))).volumes) == 4
    assert len(looked) == 2  # the first two were kept


def test_several_processes_find_the_same(root, tmp_path, monkeypatch):
    monkeypatch.setattr(indexing, "FILES_PER_PROCESS", 1)
    (root / "bad.h5").write_text("no HDF5")
    one, two = index(root, tmp_path / "one", FastMRI()), index(root, tmp_path / "two", FastMRI(), workers=2)
    assert one.volumes == two.volumes and one.skipped == two.skipped


def test_official_folders(tmp_path):
    for name in ("multicoil_train", "multicoil_val", "multicoil_test_full", "else"):
        (tmp_path / name).mkdir()
        write_volume(tmp_path / name / "a.h5", patient=name)
    found = {Path(v.path).parent.name: v.official for v in index(tmp_path, tmp_path / "cache", FastMRI()).volumes}
    assert found == {"multicoil_train": "train", "multicoil_val": "val", "multicoil_test_full": "test", "else": ""}


def test_dangling_link_and_unwritable_cache(root, tmp_path):
    os.symlink(root / "gone.h5", root / "link.h5")
    assert "cannot be read" in next(iter(index(root, tmp_path / "cache", FastMRI()).skipped.values()))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="data.cache: cannot write to"):
        index(root, tmp_path / "file", FastMRI())
