"""The cache of prepared images: each volume is read and transformed once, and kept as float16 in a file of its own.

A file holds a line of JSON and then the images, or the reason why there are none. It is written atomically: preparation that is
killed at any moment continues where it was, and several processes at once at worst do some work twice.
"""

import functools
import hashlib
import json
import logging
import math
import random
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from condiff.data.image_spec import Read
from condiff.data.transforms import check_image
from condiff.data.volume import Volume
from condiff.data.workers import FEWER, alone, available_cpus, worker_pool
from condiff.errors import DataFault, InputError, printable
from condiff.files.atomic import atomic_write, friendly_disk_errors
from condiff.files.foreign import UNREADABLE
from condiff.progress import track
from condiff.renamed import first_name

VERSION = 2  # part of the key: raise it when what is prepared changes
STALE = 3600  # seconds after which an unfinished file is deleted
log = logging.getLogger(__name__)
Transform = Callable[[Tensor, tuple[float, float]], tuple[Tensor, float]]


@dataclass(frozen=True)
class CachedVolume:
    """The prepared images [S, C, H, W] of a volume, float16 on the disk from byte ``begin`` of ``file``.

    Attributes:
        scale: what the images were divided by.
    """

    file: Path
    begin: int
    shape: tuple[int, int, int, int]
    scale: float

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> Tensor:
        """Image [C, H, W], float32. The file is not kept in memory."""
        size = int(np.prod(self.shape[1:]))
        values = np.memmap(self.file, np.float16, "r", self.begin + 2 * size * index, (size,))
        return torch.from_numpy(values.astype(np.float32)).view(self.shape[1:])


@dataclass(frozen=True)
class VolumeCache:
    """The folder of the images that ``read`` and ``transform`` make of volumes.

    Args:
        root: folder with one subfolder for each way of reading and transforming.
    """

    root: Path
    read: Read
    transform: Transform

    @property
    def folder(self) -> Path:
        """Named by all that shapes the images except the volume itself, which names the file."""
        key = repr((VERSION, cache_key(self.read), cache_key(self.transform)))
        return self.root / f"images-{hashlib.sha256(key.encode()).hexdigest()[:12]}"

    def prepare(self, volumes: Sequence[Volume], workers: int, title: str) -> None:
        """Prepare the volumes that are not there yet. Of the processes that share these CPUs one works, the others wait.

        Raises:
            InputError: the folder cannot be written, the disk is full, or memory is short.
        """
        with friendly_disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            cpus = hashlib.sha256(repr(available_cpus()).encode()).hexdigest()[:8]
            with alone(self.folder / f"{socket.gethostname()}-{cpus}.lock"):
                missing = [volume for volume in volumes if not self._is_done(volume)]
                random.SystemRandom().shuffle(missing)  # two machines at once begin with different ones
                self._delete_stale_files()
                with worker_pool(min(workers, len(missing)), FEWER) as run:
                    prepared = run(functools.partial(prepare_one, self), missing)
                    for _ in track(prepared, f"Preparing {title} volumes", len(missing)):
                        pass

    def open(self, volume: Volume) -> CachedVolume:
        """A prepared volume. Raises ValueError with the reason where it could not be prepared."""
        header, begin = _read_header(self.file(volume))
        if "reason" in header:
            raise ValueError(header["reason"])
        return CachedVolume(self.file(volume), begin, tuple(header["shape"]), header["scale"])

    def failures(self, volumes: Sequence[Volume]) -> dict[Path, str]:
        """The reason for each volume whose preparation failed."""
        reasons = {}
        for volume in volumes:
            with suppress(FileNotFoundError):
                reason = _read_header(self.file(volume))[0].get("reason")
                if reason:
                    reasons[volume.path] = reason
        return reasons

    def verify(self, volumes: Sequence[Volume]) -> list[Volume]:
        """The volumes whose files no longer match their checksum; the files are deleted, to be made again."""
        damaged = []
        for volume in volumes:
            path = self.file(volume)
            if path.is_file() and not _is_intact(path):
                path.unlink()
                damaged.append(volume)
        return damaged

    def file(self, volume: Volume) -> Path:
        """Path of a volume's images, whether they exist or not.

        It depends on the volume's path and on its content as the index describes it. The path alone is not enough, because a
        file may be overwritten; size and times alone are not, because archives and object stores do not keep them. Codes are
        named after it.
        """
        content = volume.size, volume.mtime_ns, volume.digest, volume.norm, volume.header
        identity = repr((str(volume.path.resolve()), *content))
        return self.folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:20]}.images"

    def _is_done(self, volume: Volume) -> bool:
        """Whether it was prepared, or found to be invalid; a file that merely could not be read is tried again."""
        path = self.file(volume)
        try:
            header, begin = _read_header(path)
            if "reason" in header:
                return UNREADABLE not in header["reason"]
            return path.stat().st_size == begin + 2 * math.prod(header["shape"])
        except (FileNotFoundError, ValueError, TypeError, KeyError):  # a power cut may leave half a file under its name
            return False

    def _delete_stale_files(self) -> None:
        for path in self.folder.glob("*.part"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > STALE:
                    path.unlink()


def prepare_one(cache: VolumeCache, volume: Volume) -> None:
    """Read and transform one volume, on the GPU where there is one, and store its images, or the reason why there are none.

    Raises:
        InputError: memory is short.
        Exception: any exception of the reader or the transform but `DataFault`; a fault of the program removes no volume.
    """
    if cache._is_done(volume):
        return  # meanwhile made by another process
    header: dict[str, Any] = {"source": str(volume.path)}
    content = b""
    try:
        slices, geometry = cache.read(*volume.files)
        images, scale = cache.transform(slices.to("cuda" if torch.cuda.is_available() else "cpu"), geometry)
        half = check_image(images).half()
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise InputError(
            f"data.workers: {volume.path.name} does not fit into memory beside the others ({error}); set fewer"
        ) from None
    except DataFault as fault:
        header["reason"] = str(fault).removeprefix(f"{printable(volume.path)}: ")
    except Exception as error:
        error.add_note(f"while preparing {printable(volume.path)}; faults of a file are condiff.errors.DataFault")
        raise
    else:
        content = half.cpu().numpy().tobytes()
        header |= {"shape": list(images.shape), "scale": scale, "sha256": hashlib.sha256(content).hexdigest()}
    with atomic_write(cache.file(volume)) as file:
        file.write(json.dumps(header).encode() + b"\n")
        file.write(content)


def cache_key(value: Any) -> Any:
    """The name and arguments of a function, a partial call or a dataclass: the same in every process and version."""
    if isinstance(value, functools.partial):
        return cache_key(value.func), cache_key(value.args), cache_key(value.keywords)
    if is_dataclass(value) and not isinstance(value, type):
        name = first_name(f"{type(value).__module__}.{type(value).__qualname__}").rpartition(".")[2]
        return name, [(f.name, cache_key(getattr(value, f.name))) for f in fields(value)]
    if isinstance(value, Mapping):
        return [(key, cache_key(item)) for key, item in sorted(value.items())]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [cache_key(item) for item in value]
    if callable(value):
        return first_name(f"{value.__module__}.{value.__qualname__}")
    if not isinstance(value, str | int | float | None):
        raise TypeError(f"{value!r}: prepared images cannot be named by a {type(value).__name__}")  # its repr may hold an address
    return repr(value)


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The JSON at the beginning of a file, and its length in bytes."""
    with path.open("rb") as file:
        line = file.readline()
    return json.loads(line), len(line)


def _is_intact(path: Path) -> bool:
    try:
        header, begin = _read_header(path)
    except ValueError:
        return False
    with path.open("rb") as file:
        file.seek(begin)
        return "reason" in header or hashlib.file_digest(file, "sha256").hexdigest() == header.get("sha256")
