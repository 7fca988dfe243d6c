"""Latent diffusion: from the checkpoint of an autoencoder and the data to codes that the second stage is trained on."""

import json
from functools import partial

import torch
from filelock import FileLock
from torch import Tensor

from condiff.checkpoint import Checkpoint
from condiff.data.cache import cache_key
from condiff.data.datamodule import STATISTICS_IMAGES, MRIDataModule
from condiff.data.latents import codes_name, moments
from condiff.data.patients import STAGES
from condiff.data.statistics import Statistics, measure
from condiff.errors import InputError
from condiff.files.atomic import atomic_write, friendly_disk_errors
from condiff.nn import Codec
from condiff.seeds import derive_seed

SCALE_BUFFERS = ("shift", "scale")  # of a codec's state, what the second stage measures
AUGMENT_STREAM = "codes"  # of the augmentation that they are measured under


def first_stage_codec(checkpoint: Checkpoint, data: MRIDataModule, device: torch.device) -> Codec:
    """The codec of a checkpoint; where that is an autoencoder's, standardized over all training images.

    Raises:
        InputError: a codec of other images.
    """
    codec = checkpoint.codec()
    if not codec.is_latent:
        return codec
    channels = checkpoint.spec().shape[0]
    if channels != data.spec.shape[0]:
        raise InputError(
            f"{checkpoint.path}: was trained on images of {channels} channels, the data have {data.spec.shape[0]}; give others"
        )
    codec.to(device)
    if checkpoint.is_autoencoder:
        codec.standardize(*cached_moments(codec, data, device))
    return codec


def record_patients(checkpoint: Checkpoint, data: MRIDataModule, resumed: bool) -> None:
    """Give the data module the patients that a checkpoint was trained on elsewhere, which the new checkpoint records too.

    All of them, or where its run is resumed those of the stages before.

    Raises:
        InputError: some are held out here, or there are more sets of patients than can be recorded.
    """
    training_patients = checkpoint.training_patients
    held_out = data.held_out_known_to(training_patients)
    if held_out:
        raise InputError(
            f"{checkpoint.path}: was trained on {len(held_out)} patients who are held out here; give it the same data and "
            "data.seed"
        )
    elsewhere = training_patients[1:] if resumed else training_patients  # the first are its own
    if len(elsewhere) > STAGES:
        elsewhere = [patients for patients in elsewhere if not patients.within(data.patients)]
    if len(elsewhere) > STAGES:
        raise InputError(
            f"{checkpoint.path}: it and the models that it began with were trained on {len(elsewhere)} sets of patients that "
            f"are not here; {STAGES} can be recorded"
        )
    data.patients_known_elsewhere = elsewhere


def cached_moments(codec: Codec, data: MRIDataModule, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and variance [c] of the codes of all training images, augmented; measured once and kept in the cache."""
    weights = [weight for name, weight in codec.state_dict().items() if name not in SCALE_BUFFERS]
    volumes = zip(data.train.stacks, data.train.slice_ranges, strict=True)
    images = sorted(f"{stack.file.stem} {slices}" for stack, slices in volumes)
    name = codes_name(data.volumes.cache.folder.name, images, cache_key(data.augment), data.seed, *weights)
    path = data.cache_folder / f"{name}.json"
    with friendly_disk_errors(path.parent), FileLock(path.with_suffix(".lock")):  # one process measures, so all have the same
        if not path.is_file():
            encode, generator = partial(encode_on, codec, device=device), augmentation_generator(data)
            passes = -(-STATISTICS_IMAGES // len(data.train))  # few images have few phases
            measurements = moments(data.train, lambda images: encode(data.augment(images, generator)), passes)
            with atomic_write(path) as file:
                file.write(json.dumps([values.tolist() for values in measurements]).encode())
    mean, variance = json.loads(path.read_text())
    return torch.tensor(mean, dtype=torch.float64), torch.tensor(variance, dtype=torch.float64)


def statistics(codec: Codec, data: MRIDataModule, device: torch.device) -> Statistics:
    """Statistics of the codes of training images, augmented; of the images themselves without a codec."""
    if not codec.is_latent:
        return data.statistics
    images = data.augment(data.train.spread_examples(None, STATISTICS_IMAGES), augmentation_generator(data))
    return measure(torch.cat([encode_on(codec, batch, device) for batch in images.split(16)]))


def augmentation_generator(data: MRIDataModule) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(AUGMENT_STREAM, data.seed))


def encode_training_set(codec: Codec, data: MRIDataModule, copies: int, device: torch.device) -> None:
    """Make the data module train on codes, made and kept in the cache now where they are not there."""
    data.encode(lambda images: encode_on(codec, images, device), [*codec.state_dict().values()], copies)


@torch.no_grad()
def encode_on(codec: Codec, images: Tensor, device: torch.device) -> Tensor:
    """Codes on the CPU."""
    return codec.encode(images.to(device)).float().cpu()
