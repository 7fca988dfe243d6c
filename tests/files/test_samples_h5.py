"""``samples.h5``."""

import pytest
import torch

from condiff.errors import InputError
from condiff.files import samples_h5


def test_a_file_of_samples_is_whole_or_not_there(tmp_path, size_limit):
    image = torch.zeros(1, 1, 4, 4)
    samples_h5.save_h5(tmp_path / "x.h5", image, ["AXT1"], [1])
    before = (tmp_path / "x.h5").read_bytes()
    with pytest.raises(InputError, match=r"x.h5: cannot be written"), size_limit(1000):
        samples_h5.save_h5(tmp_path / "x.h5", torch.rand(1, 1, 64, 64), ["AXT1"], [1])
    assert (tmp_path / "x.h5").read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["x.h5"]
