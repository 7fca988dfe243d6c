"""Drawing many images: on all processes, round by round, and going on where it was interrupted."""

import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from condiff.diffusion import Denoiser
from condiff.errors import DataFault, InputError
from condiff.files import export, hdf5
from condiff.progress import shown
from condiff.sampling.requests import Draw

T = TypeVar("T")
log = logging.getLogger(__name__)
Drawn = Callable[..., Sequence[Tensor]]  # (draws, on_step=…) -> of each its states [F, C, H, W], the sample last


def rounds(
    fabric: L.Fabric, draws: Sequence[Draw], batch_size: int, steps: int, drawn: Drawn, pick: Callable[[int, Tensor], T]
) -> Iterator[list[T]]:
    """Draw on all processes, a batch each at a time; yield what is picked of each draw, in order, to every process.

    ``pick`` is given the index of a draw and its states [F, C, H, W]. The first process shows the progress.
    """
    begins = range(0, len(draws), batch_size * fabric.world_size)
    with shown("Sampling", len(begins) * (steps + 1)) as tick:
        for begin in begins:
            mine = range(begin, min(begin + batch_size * fabric.world_size, len(draws)))[fabric.global_rank :: fabric.world_size]
            states = drawn([draws[index] for index in mine], on_step=tick) if mine else ()
            share = [(index, pick(index, way)) for index, way in zip(mine, states, strict=True)]
            shares = [share]
            if fabric.world_size > 1:
                shares = [[] for _ in range(fabric.world_size)]
                torch.distributed.all_gather_object(shares, share)
            yield [picked for _, picked in sorted((item for share in shares for item in share), key=lambda item: item[0])]


@dataclass
class Cost:
    """What the images drawn by the first process took."""

    drawn: int = 0
    evaluations: int = 0  # of the network, an image each; guidance counted
    seconds: float = 0.0


@contextmanager
def counted(cost: Cost) -> Iterator[None]:
    """Count the images that any denoiser sees, a guiding one too, as evaluations of ``cost``."""

    def count(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        cost.evaluations += len(arguments[0]) if isinstance(module, Denoiser) else 0

    hook = register_module_forward_pre_hook(count)
    try:
        yield
    finally:
        hook.remove()


def resumable(
    fabric: L.Fabric, draws: Sequence[Draw], shape: Sequence[int], batch_size: int, steps: int, drawn: Drawn, path: Path
) -> tuple[Tensor, Cost]:
    """All samples [N, *shape] and what they cost; those that ``path`` and its parts hold from before are not drawn again.

    Each round leaves a part of its own in the folder ``path``.parts, under its name only when it is whole, so an interruption
    loses one round. At the end they become one file, ``path``.

    Raises:
        InputError: a file is there and cannot be read, or holds other images, or more.
    """
    parts = path.with_suffix(".parts")
    images, cost = _before(path, parts, shape)
    before = sum(len(some) for some in images)
    if before > len(draws):
        raise InputError(
            f"{path}: holds {before} samples of an earlier evaluation, {len(draws)} expected; delete it to draw them again"
        )
    if before:
        log.info("going on from %d of %d samples in %s", before, len(draws), path)
    fabric.barrier()  # all processes have read before one writes

    done, begin = before, time.monotonic()
    with counted(cost):
        for samples in rounds(fabric, draws[before:], batch_size, steps, drawn, lambda _, way: way[-1].clone()):
            images.append(torch.stack(samples))
            if fabric.is_global_zero:
                cost.drawn += len(samples[:: fabric.world_size])
                cost.seconds, begin = cost.seconds + time.monotonic() - begin, time.monotonic()
                _save(parts / _part(done), images[-1], draws[done : done + len(samples)], cost)
            done += len(samples)
    if fabric.is_global_zero and parts.exists():
        _save(path, torch.cat(images), draws, cost)
        shutil.rmtree(parts)
    return torch.cat(images), cost


def _save(path: Path, images: Tensor, draws: Sequence[Draw], cost: Cost) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    export.save_h5(path, images, [draw.label for draw in draws], [draw.seed for draw in draws], **asdict(cost))


def _before(path: Path, parts: Path, shape: Sequence[int]) -> tuple[list[Tensor], Cost]:
    """What an earlier call drew, in order; a part that does not follow the one before it does not count."""
    images: list[Tensor] = []
    cost = Cost()
    for file in ([path] if path.is_file() else []) + sorted(parts.glob("*.h5")):
        if file == path or file.name == _part(sum(len(some) for some in images)):
            content, cost = _read(file, shape)
            images.append(content)
    return images, cost


def _part(done: int) -> str:
    return f"{done:08d}.h5"


def _read(path: Path, shape: Sequence[int]) -> tuple[Tensor, Cost]:
    try:
        with hdf5.opened(path) as file:
            found = hdf5.dataset(file, "images", "f", "images")
            counted = [hdf5.attribute(file, name) for name in ("drawn", "evaluations", "seconds")]
            counts = all(isinstance(one, int | float) and 0 <= one < math.inf for one in counted) and counted[0]
            if found is None or list(found.shape[1:]) != list(shape) or not counts:
                raise DataFault(f"lacks images of {list(shape)}, or what they cost")
            hdf5.check_memory(4 * found.size)
            images = torch.from_numpy(hdf5.array(found).astype(np.float32))
        if not images.isfinite().all():
            raise DataFault("its images are not finite")
    except DataFault as fault:
        raise InputError(
            f"{path}: not readable samples of an earlier evaluation ({fault}); delete it to draw them again"
        ) from None
    return images, Cost(*counted)  # type: ignore[arg-type]
