"""The kinds of files in a folder."""

import pytest

from condiff.files.listing import describe_files


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], "no files"),
        ([".DS_Store"], "no files"),
        (["a.png"], "1 .png file"),
        ([f"sub-{i}/anat/t1.nii.gz" for i in range(12)], "12 .nii.gz files"),
        (["a.NII.GZ", "b.nii.gz", "scan.1.2.dcm", "IM0001", "IM0002", "IM0003"], "3 suffix-less, 2 .nii.gz and 1 .dcm files"),
    ],
)
def test_describe_files(tmp_path, names, text):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert describe_files(tmp_path) == text
