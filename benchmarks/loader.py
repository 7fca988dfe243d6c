"""Slices a second out of fastMRI files: from the ready cache, while it is prepared, and as people would read them otherwise.

    python -m benchmarks.loader DIR [rounds]         # DIR with raw volumes; pip install fastmri for its SliceDataset

All deliver images of 320 x 320 on one core or process, one after the other, in the same random order. Beside fastmri's
SliceDataset with its U-Net transform (fully sampled, no mask) stands the same work done with h5py and our transforms:
open the file, read a slice of k-space, make the image. The reference of the ratios is the first there is.
"""

import random
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import h5py
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.networks import installed
from benchmarks.side_by_side import interleaved, ratio, resident
from condiff.data.cache import CachedVolume, VolumeCache
from condiff.data.fastmri.reader import probe, read_kspace, read_magnitude
from condiff.data.image_spec import Read
from condiff.data.transforms import Complex, Magnitude
from condiff.data.volume import Volume
from condiff.mri.fourier import center_crop, ifft2c, rss

SLICES = 64  # a round
MATRIX = 320


def slice_dataset(root: Path) -> Callable[[int], object]:
    """fastmri's own."""
    from fastmri.data.mri_data import SliceDataset
    from fastmri.data.transforms import UnetDataTransform

    data = SliceDataset(root, challenge="multicoil", transform=UnetDataTransform("multicoil"), use_dataset_cache=False)
    return data.__getitem__


def each_time(volumes: list[Volume]) -> Callable[[int], object]:
    """Open, read, transform."""
    where = [(volume.path, index) for volume in volumes for index in range(volume.slices)]

    def read(item: int) -> torch.Tensor:
        path, index = where[item]
        with h5py.File(path) as file:
            return center_crop(rss(ifft2c(torch.from_numpy(file["kspace"][index]))), (MATRIX, MATRIX))

    return read


def from_cache(cache: VolumeCache, volumes: list[Volume]) -> Callable[[int], object]:
    cache.prepare(volumes, 0, "some")
    stacks: list[tuple[CachedVolume, int]] = [(cache.open(volume), index) for volume in volumes for index in range(volume.slices)]
    return lambda item: stacks[item][0][stacks[item][1]]


def preparing(read: Read, transform: Any, volumes: list[Volume], workers: int) -> float:
    """Slices a second."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        VolumeCache(Path(folder), read, transform).prepare(volumes, workers, "some")
        return sum(volume.slices for volume in volumes) / (time.perf_counter() - begin)


def main(root: str, rounds: int = 5) -> None:
    torch.set_num_threads(1)
    volumes = [probe(path) for path in sorted(Path(root).rglob("*.h5"))]
    total = sum(volume.slices for volume in volumes)
    order = [random.Random(0).randrange(total) for _ in range(SLICES)]
    plain: tuple[Read, Any] = read_magnitude, Magnitude(MATRIX, downsample=1)
    full: tuple[Read, Any] = read_kspace, Complex(MATRIX)
    with tempfile.TemporaryDirectory() as folder:
        ways = {"fastmri SliceDataset": slice_dataset(Path(root))} if installed("fastmri") else {}
        ways |= {
            "h5py, RSS of the k-space, each time": each_time(volumes),
            "cache, magnitude": from_cache(VolumeCache(Path(folder), *plain), volumes),
            "cache, complex": from_cache(VolumeCache(Path(folder), *full), volumes),
        }
        before = resident("VmRSS")
        epoch = ways["cache, complex"]
        for item in range(total):
            epoch(item)
        first = resident("VmRSS")
        for _ in range(20):
            for item in range(total):
                epoch(item)
        print(f"resident memory: {before:.0f} MiB, after an epoch {first:.0f}, after 21 epochs {resident('VmRSS'):.0f}")
        times = interleaved({name: partial(run, way, order) for name, way in ways.items()}, rounds)
    reference = next(iter(ways))
    table = Table("", "slices/s", "×")
    for name in ways:
        table.add_row(name, f"{SLICES / median(times[name]):.0f}", f"{ratio(times, name, reference):.1f}")
    base = SLICES / median(times[reference])
    few = volumes[:8]
    for title, way in (("magnitude", plain), ("complex", full)):
        for workers in (0, 2):
            rate = preparing(*way, few, workers)
            table.add_row(f"preparing, {title}, {workers or 1} processes", f"{rate:.1f}", f"{rate / base:.1f}")
    print(f"{len(volumes)} volumes, {total} slices; {volumes[0].coils} coils, {volumes[0].rows} x {volumes[0].cols}")
    Console(width=110).print(table)


def run(way: Callable[[int], object], order: list[int]) -> None:
    for item in order:
        way(item)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
