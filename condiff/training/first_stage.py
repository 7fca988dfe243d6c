"""The second stage's beginning: from an autoencoder's checkpoint and the data to codes that a model can be trained on."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

from condiff.checkpoint import checkpoint
from condiff.data.cache import spelled
from condiff.data.datamodule import MEASURED, MRIDataModule
from condiff.data.latents import moments, named
from condiff.data.statistics import Statistics, measure
from condiff.errors import InputError
from condiff.files.atomic import whole, writing
from condiff.nn import Codec, Pixels
from condiff.seeds import derive_seed

SCALE = ("shift", "scale")  # of a codec's state, what the second stage measures
STREAM = "codes"  # of the augmentation that they are measured under


def stage(
    content: dict[str, Any],
    path: str | Path,
    data: MRIDataModule,
    device: torch.device,
    trust: Sequence[str] = (),
    resumed: bool = False,
) -> Codec:
    """The codec in a checkpoint's content; where that is an autoencoder's own, standardised over all training images.

    ``data`` receives the patients that the checkpoint was trained on elsewhere: all of them, or where its run is resumed those
    of the stages before.

    Raises:
        InputError: a codec of other images, or a checkpoint that has seen patients who are held out here.
    """
    known = checkpoint.patients_in(content, path)
    held_out = data.held_out(known)
    if held_out:
        raise InputError(
            f"{path}: was trained on {len(held_out)} patients who are held out here; give it the same data and data.seed"
        )
    data.others = known[1:] if resumed else known  # the first are its own
    if len(data.others) > checkpoint.STAGES:
        data.others = [some for some in data.others if not some.within(data.patients)]
    if len(data.others) > checkpoint.STAGES:
        raise InputError(
            f"{path}: it and the models that it began with were trained on {len(data.others)} sets of patients that are not "
            f"here; {checkpoint.STAGES} can be recorded"
        )
    codec = checkpoint.part("codec", content, path, trust)
    if isinstance(codec, Pixels):
        return codec
    made = checkpoint.build_data(content["hyper_parameters"], path, trust).transform.shape[0]
    if made != data.transform.shape[0]:
        raise InputError(
            f"{path}: was trained on images of {made} channels, the data have {data.transform.shape[0]}; give others"
        )
    codec.to(device)
    if "denoiser" not in content["hyper_parameters"]["model"]:
        codec.standardize(*measured(codec, data, device))
    return codec


def measured(codec: Codec, data: MRIDataModule, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and variance [c] of the codes of all training images, augmented; kept in the cache, and read there the next time."""
    weights = [weight for name, weight in codec.state_dict().items() if name not in SCALE]
    images = sorted(f"{stack.file.stem} {some}" for stack, some in zip(data.train.stacks, data.train.chosen, strict=True))
    path = data.cache / f"{named(data.ready.folder.name, images, spelled(data.augment), data.seed, *weights)}.json"
    with writing(data.cache), FileLock(path.with_suffix(".lock")):  # one process measures, that all have the same
        if not path.is_file():
            encode, generator = partial(codes_of, codec, device=device), generator_of(data)
            passes = -(-MEASURED // len(data.train))  # few images have few phases
            found = moments(data.train, lambda images: encode(data.augment(images, generator)), passes)
            with whole(path) as file:
                file.write(json.dumps([one.tolist() for one in found]).encode())
    mean, variance = json.loads(path.read_text())
    return torch.tensor(mean, dtype=torch.float64), torch.tensor(variance, dtype=torch.float64)


def statistics(codec: Codec, data: MRIDataModule, device: torch.device) -> Statistics:
    """Of the codes of training images."""
    if isinstance(codec, Pixels):
        return data.statistics
    images = data.augment(data.train.examples(None, MEASURED), generator_of(data))
    return measure(torch.cat([codes_of(codec, some, device) for some in images.split(16)]))


def generator_of(data: MRIDataModule) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(STREAM, data.seed))


def cache(codec: Codec, data: MRIDataModule, variants: int, device: torch.device) -> None:
    """Have the data module train on codes, made now where they are not there."""
    data.encode(lambda images: codes_of(codec, images, device), [*codec.state_dict().values()], variants)


@torch.no_grad()
def codes_of(codec: Codec, images: Tensor, device: torch.device) -> Tensor:
    """Codes on the CPU."""
    return codec.encode(images.to(device)).float().cpu()
