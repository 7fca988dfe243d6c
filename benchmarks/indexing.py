"""How long the index of a large folder takes, and how much memory: python -m benchmarks.indexing FOLDER [files].

The files are small, of fastMRI's layout, ten folders of them; what the index reads of a real one is as little.
"""

import os
import resource
import sys
import time
from pathlib import Path

import h5py
import numpy as np
from rich.progress import track

from condiff.data.fastmri import ismrmrd
from condiff.data.fastmri.fields import ACQUISITIONS
from condiff.data.fastmri.layout import FastMRI
from condiff.data.index import index
from condiff.data.workers import available_cpus

ABOUT = {"coils": 4, "rows": 32, "cols": 16, "readout": 440, "fov": 220, "recon": 220, "thickness": 5, "last": 15, "center": 8}
SEQUENCE = {"tr": 6000, "te": 103, "ti": 100, "flip": 150, "field": 2.8936, "sequence": "TurboSpinEcho"}


def make(folder: Path, files: int) -> None:
    kspace = np.random.default_rng(0).standard_normal((2, 4, 32, 16)).astype(np.complex64)
    for number in track(range(files), "Making files"):
        path, acquisition = folder / f"batch_{number % 10}" / f"file_{number}.h5", ACQUISITIONS[number % len(ACQUISITIONS)]
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            xml = ismrmrd.TEMPLATE.format(measurement=f"m{number}", acquisition=acquisition, **ABOUT, **SEQUENCE)
            file["kspace"], file["ismrmrd_header"] = kspace, xml.encode()
            file.attrs.update({"acquisition": acquisition, "patient_id": f"p{number // 2}", "norm": float(number)})


def main(folder: str, files: int = 10_000) -> None:
    make(Path(folder) / "volumes", files)
    for title in ("first time", "again"):
        begin, used = time.monotonic(), cpu_seconds()
        found = index(Path(folder) / "volumes", Path(folder) / "cache", FastMRI(), len(available_cpus()))
        print(
            f"{title}: {len(found.volumes)} volumes in {time.monotonic() - begin:.1f} s on {len(available_cpus())} cores, "
            f"{cpu_seconds() - used:.1f} s of CPU time"
        )
    whom = {"this process": resource.RUSAGE_SELF, "the largest that read": resource.RUSAGE_CHILDREN}
    print(", ".join(f"{name} {resource.getrusage(who).ru_maxrss / 1024:.0f} MiB" for name, who in whom.items()))


def cpu_seconds() -> float:
    """Of this process and those that it has started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
