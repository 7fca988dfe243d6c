"""Atomic writing of checkpoints: to a temporary file, then renamed, so the previous one stays intact until then."""

import glob
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from condiff.errors import InputError
from condiff.files.atomic import atomic_write


class CheckpointIO(TorchCheckpointIO):
    """Lightning's plugin for checkpoint files.

    Args:
        read: path -> the content that a run is resumed from.
    """

    def __init__(self, read: Callable[[Any], dict[str, Any]]):
        super().__init__()
        self.read = read

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Returns ``read(path)``."""
        return self.read(path)

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | os.PathLike, storage_options: Any = None) -> None:
        """Writes a checkpoint. Raises InputError as `store` does."""
        store(checkpoint, Path(path))


def store(content: dict[str, Any], path: Path) -> None:
    """Writes a file of torch, which gets its name once it is complete and on the disk. Raises InputError if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in path.parent.glob(f"{glob.escape(path.name)}.*.part"):  # of a process that was killed while writing
            leftover.unlink(missing_ok=True)
        with atomic_write(path) as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        failure = error if isinstance(error, OSError) else error.__context__  # torch raises its own error instead of the disk's
        if not isinstance(failure, OSError):
            raise
        previous = "; the previous one is intact" if path.is_file() else ""
        raise InputError(
            f"{path}: cannot be written ({failure.strerror}){previous}. Free some space or make it writable, then resume the run"
        ) from None
