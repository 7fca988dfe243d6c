"""How near the scale of accelerated scans comes to the full scan's: python -m benchmarks.scale FOLDER [MATRIX].

A row per mask, acceleration and number of coils, a column per fully sampled file of FOLDER: scale over the true one.
"""

import sys
from pathlib import Path

import torch

from condiff.data.fastmri import read_acquired
from condiff.errors import InputError
from condiff.mri import masks
from condiff.mri.maps import low_resolution
from condiff.reconstruction.measurement import Grid, measure

MASKS = (masks.random, masks.equispaced, masks.equispaced_fraction, masks.gaussian1d, masks.poisson)
CENTRE = 0.08


def main(folder: Path, matrix: int) -> None:
    scans = [read_acquired(path) for path in sorted(folder.glob("*.h5"))]
    grid = Grid(matrix, 220.0, 0.99)
    print(f"{'':30}", *(scan.volume.acquisition for scan in scans))
    for draw in MASKS:
        for acceleration in (2, 4, 8):
            for coils in (1, 2, 8):
                ratios = []
                for scan in scans:
                    mask = draw(tuple(scan.sampled.shape), acceleration, CENTRE, torch.Generator().manual_seed(0))
                    kspace, margins = scan.kspace[:, :coils], None if scan.margins is None else scan.margins[:, :coils]
                    try:
                        one = measure(kspace, mask, scan.fov_mm, grid, low_resolution, margins=margins)
                    except InputError:
                        ratios.append(float("nan"))
                        continue
                    target = one.target(kspace, low_resolution)[0].abs().flatten()
                    ratios.append(grid.white / torch.quantile(target, grid.quantile).item())
                name = f"{draw.__name__} R={acceleration} {coils} coils"
                print(f"{name:30}", *(f"{ratio:.2f}" for ratio in ratios), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 128)
