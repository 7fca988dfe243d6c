"""Codes of images, made once: a latent model then trains without its encoder."""

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
from condiff.data.cache import Stack
from condiff.files.atomic import whole, writing
from condiff.progress import tracked
from condiff.seeds import derive_seed

VERSION = 1  # part of every name: raise it when the same weights make other codes
BATCH = 16
Encode = Callable[[Tensor], Tensor]


class Encoded(NamedTuple):
    """A code [c, h, w] and what is known of its image [D]; in a batch [B, c, h, w] and [B, D].

    As it lies in a data set, it has the codes of all variants, [V, c, h, w].
    """

    z: Tensor
    cond: Tensor


class Latents(Dataset[Encoded]):
    """The codes of a part's images, in its order.

    Args:
        stacks: of what is wanted of the part's volumes, [S, V c, h, w].
        volume, slice: [N], index into ``stacks`` and into the stack of each.
        cond: [N, D].
        variants: V.
    """

    def __init__(self, stacks: list[Stack], volume: Tensor, slice: Tensor, cond: Tensor, variants: int):
        self.stacks, self.volume, self.slice, self.cond, self.variants = stacks, volume, slice, cond, variants

    def __len__(self) -> int:
        return len(self.volume)

    def __getitem__(self, index: int) -> Encoded:
        codes = self.stacks[self.volume[index]][int(self.slice[index])]
        return Encoded(codes.unflatten(0, (self.variants, -1)), self.cond[index])


@torch.no_grad()
def moments(images: Dataset, encode: Encode, passes: int = 1) -> tuple[Tensor, Tensor]:
    """Mean and variance [c] of the codes of all images of a part; over several passes where ``encode`` augments by chance."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    begins = [*range(0, len(images), BATCH)] * passes  # type: ignore[arg-type]
    for begin in tracked(begins, "Measuring codes", len(begins)):
        some = torch.stack([images[index].image for index in range(begin, min(begin + BATCH, len(images)))])  # type: ignore[arg-type]
        codes = encode(some).double().transpose(0, 1).flatten(1).cpu()
        count, total, squares = count + codes.shape[1], total + codes.sum(1), squares + codes.square().sum(1)
    mean = total / count
    return mean, squares / count - mean.square()


@torch.no_grad()
def encoded(part, encode: Encode, augment: Augment, variants: int, folder: Path, seed: int) -> Latents:
    """Codes of a part, as float16 files in ``folder``, made where they are not there; whole or not at all.

    Args:
        variants: of every image, each augmented by chance.
        folder: named by all that shapes them.

    Raises:
        InputError: the folder cannot be written, or the disk is full.
    """
    sources = zip(part.stacks, part.chosen, strict=True)
    paths = {folder / f"{stack.file.stem}-{some.start}-{some.stop}.codes": (stack, some) for stack, some in sources}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        missing = [path for path in paths if not path.is_file()]
        random.SystemRandom().shuffle(missing)  # several processes begin with others
        for path in tracked(missing, "Encoding volumes", len(missing)):
            if path.is_file():
                continue  # meanwhile made by another
            some = [_codes(*paths[path], encode, augment, derive_seed(seed, path.name, v)) for v in range(variants)]
            codes = torch.cat(some, dim=1)
            with whole(path) as file:
                file.write(json.dumps({"shape": list(codes.shape)}).encode() + b"\n")
                file.write(codes.half().cpu().numpy().tobytes())
    stacks = []
    for path in paths:
        with path.open("rb") as file:
            line = file.readline()
        stacks.append(Stack(path, len(line), tuple(json.loads(line)["shape"]), 1.0))
    first = torch.tensor([some.start for some in part.chosen])
    return Latents(stacks, part.volume, part.slice - first[part.volume], part.cond, variants)


def named(*shaped_by: object) -> str:
    """A name for a folder of codes that follows from all that shapes them; tensors by their values."""
    digest = hashlib.sha256()
    for thing in (VERSION, *shaped_by):
        digest.update(thing.detach().cpu().numpy().tobytes() if isinstance(thing, Tensor) else repr(thing).encode())
        digest.update(b"\0")
    return f"codes-{digest.hexdigest()[:12]}"


def _codes(stack: Stack, chosen: range, encode: Encode, augment: Augment, seed: int) -> Tensor:
    """[S, c, h, w] of some images of a volume, augmented."""
    generator = torch.Generator().manual_seed(seed)
    images = augment(torch.stack([stack[index] for index in chosen]), generator)
    return torch.cat([encode(some) for some in images.split(BATCH)])
