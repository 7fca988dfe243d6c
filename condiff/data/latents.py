"""Codes of images, made once, so that a latent model trains without its encoder."""

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from condiff.data.augment import Augment
from condiff.data.cache import CachedVolume
from condiff.data.datasets import SliceDataset
from condiff.files.atomic import atomic_write, friendly_disk_errors
from condiff.progress import track
from condiff.seeds import derive_seed

VERSION = 1  # part of every name: raise it when the same weights make other codes
BATCH = 16
Encode = Callable[[Tensor], Tensor]


class LatentSample(NamedTuple):
    """A code [c, h, w] and the condition [D] of its image; in a batch [B, c, h, w] and [B, D].

    An item of a data set holds the codes of all augmented copies of the image, [V, c, h, w].
    """

    z: Tensor
    cond: Tensor


class LatentDataset(Dataset[LatentSample]):
    """The codes of a `SliceDataset`'s images, in its order.

    Args:
        stacks: codes of the slices used of each volume, [S, V c, h, w].
        volume_index, slice_index: [N], of each item: its place in ``stacks``, and its place in that stack.
        cond: conditions [N, D].
        copies: V, augmented copies of each image.
    """

    def __init__(self, stacks: list[CachedVolume], volume_index: Tensor, slice_index: Tensor, cond: Tensor, copies: int):
        self.stacks, self.volume_index, self.slice_index, self.cond, self.copies = stacks, volume_index, slice_index, cond, copies

    def __len__(self) -> int:
        return len(self.volume_index)

    def __getitem__(self, index: int) -> LatentSample:
        codes = self.stacks[self.volume_index[index]][int(self.slice_index[index])]
        return LatentSample(codes.unflatten(0, (self.copies, -1)), self.cond[index])


@torch.no_grad()
def moments(images: Dataset, encode: Encode, passes: int = 1) -> tuple[Tensor, Tensor]:
    """Mean and variance [c] of the codes of all images of a data set; over several passes where ``encode`` augments at random."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    begins = [*range(0, len(images), BATCH)] * passes  # type: ignore[arg-type]
    for begin in track(begins, "Measuring codes", len(begins)):
        batch = torch.stack([images[index].image for index in range(begin, min(begin + BATCH, len(images)))])  # type: ignore[arg-type]
        codes = encode(batch).double().transpose(0, 1).flatten(1).cpu()
        count, total, squares = count + codes.shape[1], total + codes.sum(1), squares + codes.square().sum(1)
    mean = total / count
    return mean, squares / count - mean.square()


@torch.no_grad()
def encode_dataset(
    dataset: SliceDataset, encode: Encode, augment: Augment, copies: int, folder: Path, seed: int
) -> LatentDataset:
    """The codes of a data set: float16 files in ``folder``, one per volume; those that are not there are made first.

    Args:
        copies: augmented copies of each image.
        folder: named by all that shapes the codes, `codes_name`.

    Raises:
        InputError: the folder cannot be written, or the disk is full.
    """
    sources = list(zip(dataset.stacks, dataset.slice_ranges, strict=True))
    paths = {folder / f"{stack.file.stem}-{slices.start}-{slices.stop}.codes": (stack, slices) for stack, slices in sources}
    with friendly_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        missing = [path for path in paths if not path.is_file()]
        random.SystemRandom().shuffle(missing)  # several processes begin with different ones
        for path in track(missing, "Encoding volumes", len(missing)):
            if path.is_file():
                continue  # meanwhile made by another process
            seeds = [derive_seed(seed, path.name, copy) for copy in range(copies)]
            codes = torch.cat([_codes(*paths[path], encode, augment, copy_seed) for copy_seed in seeds], dim=1)
            with atomic_write(path) as file:
                file.write(json.dumps({"shape": list(codes.shape)}).encode() + b"\n")
                file.write(codes.half().cpu().numpy().tobytes())
    first = torch.tensor([slices.start for slices in dataset.slice_ranges])
    slice_index = dataset.slice_index - first[dataset.volume_index]
    return LatentDataset([*map(_open, paths)], dataset.volume_index, slice_index, dataset.cond, copies)


def _open(path: Path) -> CachedVolume:
    with path.open("rb") as file:
        line = file.readline()
    return CachedVolume(path, len(line), tuple(json.loads(line)["shape"]), 1.0)


def codes_name(*shaped_by: object) -> str:
    """The name of a folder of codes: a hash of all that shapes them, tensors by their values."""
    digest = hashlib.sha256()
    for value in (VERSION, *shaped_by):
        digest.update(value.detach().cpu().numpy().tobytes() if isinstance(value, Tensor) else repr(value).encode())
        digest.update(b"\0")
    return f"codes-{digest.hexdigest()[:12]}"


def _codes(stack: CachedVolume, slices: range, encode: Encode, augment: Augment, seed: int) -> Tensor:
    """Codes [S, c, h, w] of some slices of a volume, augmented."""
    generator = torch.Generator().manual_seed(seed)
    images = augment(torch.stack([stack[index] for index in slices]), generator)
    return torch.cat([encode(batch) for batch in images.split(BATCH)])
