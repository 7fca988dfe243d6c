"""Writes the maps of the template head, condiff/data/phantom/mni152.npz: python scripts/make_mni152.py [FILE].

Needs nilearn (pip install "nilearn==0.14.1"), which ships the ICBM 2009a symmetric templates as 8-bit images of 1 mm (NOTICE
holds their licences). At 2 mm nilearn interpolates between voxels with cubic splines that pass through the voxels, so every
second voxel keeps its 8-bit value; spline rounding in the background, below 2e-16, is dropped. The file holds

    white, grey: 255 times the probability of white and grey matter, uint8 [X, Y, Z]
    brain: the T1 template is brighter than 0.2 of its maximum, bits of bool [X, Y, Z]
    origin: position of voxel 0 in MNI space, float32 [3] (x, y, z in mm)
"""

import sys
from pathlib import Path

import numpy as np
from nilearn import datasets

FILE = Path(__file__).parents[1] / "condiff/data/phantom/mni152.npz"
RESOLUTION_MM = 2


def to_bytes(probability: np.ndarray) -> np.ndarray:
    """255 times the probability, uint8. Raises ValueError where that is no whole number, so that nothing is lost."""
    values = np.round(255 * probability).astype(np.uint8)
    if np.abs(probability - values / 255).max() > 1e-7:
        raise ValueError("the template does not have 8 bits")
    return values


def main(path: Path) -> None:
    white = datasets.load_mni152_wm_template(resolution=RESOLUTION_MM)
    grey = datasets.load_mni152_gm_template(resolution=RESOLUTION_MM)
    brain = datasets.load_mni152_brain_mask(resolution=RESOLUTION_MM).get_fdata() > 0
    np.savez_compressed(
        path,
        white=to_bytes(white.get_fdata()),
        grey=to_bytes(grey.get_fdata()),
        brain=np.packbits(brain),
        origin=white.affine[:3, 3].astype(np.float32),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
