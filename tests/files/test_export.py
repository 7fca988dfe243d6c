"""Pictures and files: the right way up, the right place, the right numbers."""

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from condiff.errors import InputError
from condiff.files import export


def head():
    """[1, 64, 64]: bright at the front, whose rows come last in fastMRI's arrays, and on the left of the array."""
    image = torch.zeros(1, 64, 64)
    image[0, 56:, :8] = 1.0
    return image


def test_front_of_the_head_is_at_the_top():
    picture = np.asarray(export.tiles(head()))
    assert picture.shape == (128, 128)
    assert picture[:8, :8].min() > 200 and picture[64:].max() == 0


def test_grid_leaves_out_what_is_not_there():
    picture = export.grid({"generated": {"a": head(), "b": head()}, "real": {"a": head(), "b": torch.empty(0, 64, 64)}})
    expected = export.MARGIN + 128 + export.GAP + 128, export.HEADING + 2 * 128
    assert picture.size == expected
    assert np.asarray(picture)[export.HEADING + 128 :, -128:].max() == 0


def test_gif_has_every_frame(tmp_path):
    frames = [Image.new("L", (8, 8), value) for value in (0, 100, 200)]
    export.save_gif(tmp_path / "x.gif", frames)
    with Image.open(tmp_path / "x.gif") as gif:
        assert gif.n_frames == 3
        gif.seek(2)
        assert gif.info["duration"] == 2000


def test_nifti_has_the_array_its_pixels_and_no_orientation(tmp_path):
    export.save_nifti(tmp_path, head(), ["AXT2"], [7], pixel_mm=2.0)
    image = nib.load(tmp_path / "AXT2_000007.nii.gz")
    assert np.array_equal(image.get_fdata()[:, :, 0].T, head()[0].numpy())
    assert image.header.get_zooms() == (2, 2, export.SLICE_THICKNESS_MM)
    assert image.header["qform_code"] == image.header["sform_code"] == 0
    assert image.header["descrip"].item() == b"synthetic (condiff)"


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/b", "..", "", "a\nb", "a.b"])
def test_nifti_stays_in_its_folder(tmp_path, name):
    with pytest.raises(InputError, match="not a plain word"):
        export.save_nifti(tmp_path / "out", head(), [name], [0], pixel_mm=2.0)
    assert not any(tmp_path.iterdir())


def test_a_file_of_samples_is_whole_or_not_there(tmp_path, size_limit):
    image = torch.zeros(1, 1, 4, 4)
    export.save_h5(tmp_path / "x.h5", image, ["AXT1"], [1])
    before = (tmp_path / "x.h5").read_bytes()
    with pytest.raises(InputError, match=r"x.h5: cannot be written"), size_limit(1000):
        export.save_h5(tmp_path / "x.h5", torch.rand(1, 1, 64, 64), ["AXT1"], [1])
    assert (tmp_path / "x.h5").read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["x.h5"]
