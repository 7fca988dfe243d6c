"""Pictures: the right way up, the right place."""

import numpy as np
import torch
from PIL import Image

from condiff.files import pictures


def head():
    """[1, 64, 64]: bright at the front, whose rows come last in fastMRI's arrays, and on the left of the array."""
    image = torch.zeros(1, 64, 64)
    image[0, 56:, :8] = 1.0
    return image


def test_front_of_the_head_is_at_the_top():
    picture = np.asarray(pictures.tiles(head()))
    assert picture.shape == (128, 128)
    assert picture[:8, :8].min() > 200 and picture[64:].max() == 0


def test_grid_leaves_out_what_is_not_there():
    picture = pictures.grid({"generated": {"a": head(), "b": head()}, "real": {"a": head(), "b": torch.empty(0, 64, 64)}})
    expected = pictures.MARGIN + 128 + pictures.GAP + 128, pictures.HEADING + 2 * 128
    assert picture.size == expected
    assert np.asarray(picture)[pictures.HEADING + 128 :, -128:].max() == 0


def test_gif_has_every_frame(tmp_path):
    frames = [Image.new("L", (8, 8), value) for value in (0, 100, 200)]
    pictures.save_gif(tmp_path / "x.gif", frames)
    with Image.open(tmp_path / "x.gif") as gif:
        assert gif.n_frames == 3
        gif.seek(2)
        assert gif.info["duration"] == 2000
