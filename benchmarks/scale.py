"""How near the scale of accelerated scans comes to the full scan's: python -m benchmarks.scale FOLDER [MATRIX] [CKPT].

A row per mask, acceleration and number of coils, a column per fully sampled file of FOLDER: scale over the true one; at the end
the share within 10 % and the extremes. What the mask hides is made up for by samples of the checkpoint's prior, or without one
by the full scans of the other files of the contrast.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from condiff.checkpoint import Checkpoint
from condiff.data.fastmri.raw_scan import RawScan, read_raw_scan
from condiff.errors import InputError
from condiff.mri import masks
from condiff.mri.maps import low_resolution
from condiff.reconstruction.measurement import ImageGrid, Measurement, measure
from condiff.reconstruction.prior import Prior

MASKS = (masks.random, masks.equispaced, masks.equispaced_fraction, masks.gaussian1d, masks.poisson)
COILS = (1, 2, 4, 8)
CENTRE = 0.08


def main(folder: Path, matrix: int, ckpt: str | None) -> None:
    scans = [read_raw_scan(path) for path in sorted(folder.glob("*.h5"))]
    grid = ImageGrid(matrix, 220.0, 0.99)
    typical = others(scans, grid) if ckpt is None else drawn(scans, ckpt)
    print(f"{'':30}", *(scan.volume.acquisition for scan in scans))
    for acceleration in (2, 4, 8):
        every: dict[str, list[float]] = {"corrected": [], "not corrected": []}
        for draw in MASKS:
            for coils in COILS:
                ratios = []
                for scan, images in zip(scans, typical, strict=True):
                    mask = draw(
                        (scan.sampled.shape[0], scan.sampled.shape[1]), acceleration, CENTRE, torch.Generator().manual_seed(0)
                    )
                    try:
                        one = measured(scan, mask, grid, coils, images)
                    except InputError:
                        ratios.append(float("nan"))
                        continue
                    target = one.reference(scan.kspace[:, :coils], low_resolution)[0].abs().flatten()
                    ratios.append(grid.reference_intensity / torch.quantile(target, grid.quantile).item())
                    every["corrected"].append(ratios[-1])
                    every["not corrected"].append(ratios[-1] * measured(scan, mask, grid, coils, None).scale / one.scale)
                print(f"{f'{draw.__name__} R={acceleration} {coils} coils':30}", *(f"{one:.2f}" for one in ratios), flush=True)
        for title, found in every.items():
            near = sum(0.9 <= ratio <= 1.1 for ratio in found) / len(found)
            print(
                f"R={acceleration}, {title}: {near:.0%} of {len(found)} within 10 %, {min(found):.2f} to {max(found):.2f}",
                flush=True,
            )


def measured(scan: RawScan, mask: Tensor, grid: ImageGrid, coils: int, typical: Tensor | None) -> Measurement:
    margins = None if scan.margins is None else scan.margins[:, :coils]
    return measure(scan.kspace[:, :coils], mask, scan.fov_mm, grid, low_resolution, margins=margins, typical=typical)


def others(scans: list[RawScan], grid: ImageGrid) -> list[Tensor]:
    """For each scan the images of the others of its contrast, each volume in its own units."""
    full = [
        measured(scan, torch.ones_like(scan.sampled), grid, scan.kspace.shape[1], None).reference(scan.kspace, low_resolution)[0]
        for scan in scans
    ]
    full = [images / torch.quantile(images.abs().flatten(), grid.quantile) for images in full]
    alike = [[j for j, other in enumerate(scans) if j != i and other.volume.acquisition == scan.volume.acquisition] or
             [j for j in range(len(scans)) if j != i] for i, scan in enumerate(scans)]  # fmt: skip
    return [torch.cat([full[j] for j in some]) for some in alike]


def drawn(scans: list[RawScan], ckpt: str) -> list[Tensor]:
    """For each scan images of its contrast, the same as reconstruct.py takes."""
    checkpoint = Checkpoint.read(ckpt)
    prior = Prior(checkpoint.model(), checkpoint.spec())
    return [prior.typical(scan.volume.contrast) for scan in scans]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 128, sys.argv[3] if len(sys.argv) > 3 else None)
