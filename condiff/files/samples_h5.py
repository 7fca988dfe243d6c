"""``samples.h5``: images as the model made them."""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from torch import Tensor

from condiff.errors import InputError
from condiff.files.atomic import atomic_write_hdf5


def save_h5(path: Path, images: Tensor, contrasts: Sequence[str], seeds: Sequence[int], **attributes) -> None:
    """``images`` [N, C, H, W] float32 as the model made them, with the contrast and the seed of each."""
    try:
        with atomic_write_hdf5(path) as file:
            file["images"] = images.float().numpy()
            file.create_dataset("contrast", data=list(contrasts), dtype=h5py.string_dtype())
            file["seed"] = np.asarray(seeds, dtype=np.int64)
            file.attrs.update(attributes)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error}); free some space, or choose another folder, out=DIR") from None
