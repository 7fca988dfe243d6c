"""Folders of results, that never mix those of two commands."""

import pytest

from condiff.errors import InputError
from condiff.files.results import check_folder, digest, keep


def test_results_of_other_settings_are_refused(tmp_path):
    out = tmp_path / "a/b"
    check_folder(out, {"seed": 0}, ["samples.h5"])
    assert not out.parent.exists()  # a check leaves nothing
    keep(out, {"seed": 0})
    (out / "samples.h5").touch()
    check_folder(out, {"seed": 0}, ["samples.h5"])
    check_folder(out)
    with pytest.raises(InputError, match="holds results of other settings"):
        check_folder(out, {"seed": 1}, ["samples.h5"])
    (out / "settings.json").unlink()
    with pytest.raises(InputError, match="holds results of other settings"):
        check_folder(out, {"seed": 0}, ["samples.h5"])


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("abc")
    for path in (tmp_path / "file", tmp_path / "file/out"):
        with pytest.raises(InputError, match="is a file; give a folder"):
            check_folder(path)
    assert digest(tmp_path / "file").startswith("ba7816bf")
