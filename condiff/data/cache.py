"""Ready images: every volume read and transformed once, and kept as float16 in a file of its own.

A file is a line of JSON and the images behind it, or the reason why there are none; it appears whole. So a preparation killed at
any moment goes on where it was, and several at once do the same things twice at worst.
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
from filelock import FileLock
from torch import Tensor

from condiff.data.image_spec import Read
from condiff.data.transforms import sound
from condiff.data.volume import Volume
from condiff.data.workers import cores, workers_for
from condiff.errors import DataFault, InputError, printable
from condiff.files.atomic import whole, writing
from condiff.files.hdf5 import UNREADABLE
from condiff.progress import tracked
from condiff.renamed import first_name

VERSION = 2  # part of the key: raise it when what is prepared changes
ABANDONED = 3600  # seconds after which an unfinished file is nobody's
log = logging.getLogger(__name__)
Transform = Callable[[Tensor, tuple[float, float]], tuple[Tensor, float]]


@dataclass(frozen=True)
class Stack:
    """The images of a volume [S, C, H, W] on the disk, from the byte ``begin`` of ``file``. They were divided by ``scale``."""

    file: Path
    begin: int
    shape: tuple[int, int, int, int]
    scale: float

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> Tensor:
        """One image [C, H, W], float32. Nothing of the file stays in memory."""
        size = int(np.prod(self.shape[1:]))
        values = np.memmap(self.file, np.float16, "r", self.begin + 2 * size * index, (size,))
        return torch.from_numpy(values.astype(np.float32)).view(self.shape[1:])


@dataclass(frozen=True)
class Cache:
    """The folder of what ``read`` and ``transform`` make of volumes.

    Args:
        root: holds a folder for each way of reading and transforming.
    """

    root: Path
    read: Read
    transform: Transform

    @property
    def folder(self) -> Path:
        """Named by all that shapes the images but the file they come from, which names theirs."""
        key = repr((VERSION, spelled(self.read), spelled(self.transform)))
        return self.root / f"images-{hashlib.sha256(key.encode()).hexdigest()[:12]}"

    def prepare(self, volumes: Sequence[Volume], workers: int, title: str) -> None:
        """Make what is not there yet; of the processes that share these cores one does, the others wait.

        Raises:
            InputError: the folder cannot be written, the disk is full, or memory is short.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / f"{socket.gethostname()}-{hashlib.sha256(repr(cores()).encode()).hexdigest()[:8]}.lock"):
                missing = [volume for volume in volumes if not self._done(volume)]
                random.SystemRandom().shuffle(missing)  # two machines at once begin with others
                self._clear()
                with workers_for(min(workers, len(missing))) as run:
                    for _ in tracked(
                        run(functools.partial(prepare_one, self), missing), f"Preparing {title} volumes", len(missing)
                    ):
                        pass

    def open(self, volume: Volume) -> Stack:
        """A prepared volume. Raises ValueError with the reason where it could not be prepared."""
        about, begin = _about(self.file(volume))
        if "reason" in about:
            raise ValueError(about["reason"])
        return Stack(self.file(volume), begin, tuple(about["shape"]), about["scale"])

    def failures(self, volumes: Sequence[Volume]) -> dict[Path, str]:
        """Why those could not be prepared that were tried."""
        found = {}
        for volume in volumes:
            with suppress(FileNotFoundError):
                reason = _about(self.file(volume))[0].get("reason")
                if reason:
                    found[volume.path] = reason
        return found

    def verify(self, volumes: Sequence[Volume]) -> list[Volume]:
        """Those whose images are no longer what was written; they are deleted, to be made again."""
        damaged = []
        for volume in volumes:
            path = self.file(volume)
            if path.is_file() and not _intact(path):
                path.unlink()
                damaged.append(volume)
        return damaged

    def file(self, volume: Volume) -> Path:
        """Where a volume's images are, or would be.

        Named by the path and by the content, as the index knows it: folders of equal names, sizes and times are common (archives
        and object stores keep none), and a file may be written over. Codes are named after it.
        """
        content = volume.size, volume.mtime_ns, volume.digest, volume.norm, volume.header
        identity = repr((str(volume.path.resolve()), *content))
        return self.folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:20]}.images"

    def _done(self, volume: Volume) -> bool:
        """Made, or found to be no good; what merely could not be read is tried again."""
        path = self.file(volume)
        try:
            about, begin = _about(path)
            if "reason" in about:
                return UNREADABLE not in about["reason"]
            return path.stat().st_size == begin + 2 * math.prod(about["shape"])
        except (FileNotFoundError, ValueError, TypeError, KeyError):  # a power cut may leave half a file under its name
            return False

    def _clear(self) -> None:
        for path in self.folder.glob("*.part"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > ABANDONED:
                    path.unlink()


def prepare_one(cache: Cache, volume: Volume) -> None:
    """Read, transform and keep one volume, on the GPU where there is one; or keep the reason why not.

    Raises:
        InputError: memory is short.
        Exception: whatever else the reader or the transform raises but `DataFault`; a fault of the program removes no volume.
    """
    if cache._done(volume):
        return  # meanwhile made by another
    about: dict[str, Any] = {"source": str(volume.path)}
    content = b""
    try:
        slices, geometry = cache.read(volume.path)
        images, scale = cache.transform(slices.to("cuda" if torch.cuda.is_available() else "cpu"), geometry)
        half = sound(images).half()
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise InputError(
            f"data.workers: {volume.path.name} does not fit into memory beside the others ({error}); set fewer"
        ) from None
    except DataFault as fault:
        about["reason"] = str(fault).removeprefix(f"{printable(volume.path)}: ")
    except Exception as error:
        error.add_note(f"while preparing {printable(volume.path)}; faults of a file are condiff.errors.DataFault")
        raise
    else:
        content = half.cpu().numpy().tobytes()
        about |= {"shape": list(images.shape), "scale": scale, "sha256": hashlib.sha256(content).hexdigest()}
    with whole(cache.file(volume)) as file:
        file.write(json.dumps(about).encode() + b"\n")
        file.write(content)


def spelled(thing: Any) -> Any:
    """A function, a partial call or a dataclass by name and arguments: the same in every process, wherever its module moves."""
    if isinstance(thing, functools.partial):
        return spelled(thing.func), spelled(thing.args), spelled(thing.keywords)
    if is_dataclass(thing) and not isinstance(thing, type):
        name = first_name(f"{type(thing).__module__}.{type(thing).__qualname__}").rpartition(".")[2]
        return name, [(f.name, spelled(getattr(thing, f.name))) for f in fields(thing)]
    if isinstance(thing, Mapping):
        return [(key, spelled(value)) for key, value in sorted(thing.items())]
    if isinstance(thing, Sequence) and not isinstance(thing, str):
        return [spelled(value) for value in thing]
    if callable(thing):
        return first_name(f"{thing.__module__}.{thing.__qualname__}")
    if not isinstance(thing, str | int | float | None):
        raise TypeError(f"{thing!r}: prepared images cannot be named by a {type(thing).__name__}")  # its repr may hold an address
    return repr(thing)


def _about(path: Path) -> tuple[dict[str, Any], int]:
    """What a file says of itself, and where that ends."""
    with path.open("rb") as file:
        line = file.readline()
    return json.loads(line), len(line)


def _intact(path: Path) -> bool:
    try:
        about, begin = _about(path)
    except ValueError:
        return False
    with path.open("rb") as file:
        file.seek(begin)
        return "reason" in about or hashlib.file_digest(file, "sha256").hexdigest() == about.get("sha256")
