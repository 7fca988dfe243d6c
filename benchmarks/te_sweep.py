"""A sweep of sample.py over TE as an animation, one frame per TE.

python sample.py -m contrast=AXT2 slice=0.55 num_samples=4 te=65,75,85,95,105,115,125,135,145,155,164 out=DIR
python -m benchmarks.te_sweep DIR OUT.gif
"""

import sys
from pathlib import Path

import h5py
import torch

from condiff.files import pictures

SECONDS = 4.0
GREYS = 32  # of the animation, which is small for it


def frame(path: Path) -> tuple[float, torch.Tensor]:
    """TE in ms and the magnitudes [N, H, W] of a samples.h5."""
    with h5py.File(path) as file:
        images = torch.from_numpy(file["images"][:, 0])
        return float(file.attrs["te"]), (images + 1) / 2  # air is -1, the 99 % quantile of a volume 1


def main(folder: str, out: str) -> None:
    frames = sorted((frame(path) for path in Path(folder).glob("*/samples.h5")), key=lambda pair: pair[0])
    if not frames:
        sys.exit(f"{folder}: no */samples.h5 in it; draw the sweep first, with the first command of this file's docstring")
    grids = [pictures.grid({"generated T2": {f"TE {te:.0f} ms": images}}) for te, images in frames]
    pictures.save_gif(Path(out), [grid.quantize(GREYS) for grid in grids], SECONDS, hold=1.0)


if __name__ == "__main__":
    main(*sys.argv[1:])
