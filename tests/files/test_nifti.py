"""NIfTI: the numbers and pixels of the array, in its folder."""

import nibabel as nib
import numpy as np
import pytest

from condiff.errors import InputError
from condiff.files import nifti
from condiff.files.place import SLICE_MM, Place
from tests.files.test_pictures import head

PLACE = Place.nominal((1, *head().shape[1:]), (2.0, 2.0))


def test_nifti_has_the_array_its_pixels_and_no_orientation(tmp_path):
    nifti.save_nifti(tmp_path, head(), ["AXT2"], [7], PLACE)
    image = nib.load(tmp_path / "AXT2_000007.nii.gz")
    assert np.array_equal(image.get_fdata()[:, :, 0].T, head()[0].numpy())
    assert image.header.get_zooms() == (2, 2, SLICE_MM)
    assert image.header["qform_code"] == image.header["sform_code"] == 0
    assert image.header["descrip"].item() == b"synthetic (condiff)"


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/b", "..", "", "a\nb", "a.b"])
def test_nifti_stays_in_its_folder(tmp_path, name):
    with pytest.raises(InputError, match="not a plain word"):
        nifti.save_nifti(tmp_path / "out", head(), [name], [0], PLACE)
    assert not any(tmp_path.iterdir())
