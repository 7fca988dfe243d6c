"""First stage of latent diffusion: the codec of a checkpoint, its standardization, and the codes of the training set."""

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

SCALE_BUFFERS = ("shift", "scale")  # of a codec; measured at the beginning of the second stage
AUGMENT_STREAM = "codes"  # random stream of the augmentation while moments are measured


def first_stage_codec(checkpoint: Checkpoint, data: MRIDataModule, device: torch.device) -> Codec:
    """Returns the codec of a checkpoint; that of an autoencoder is standardized over all training images.

    Raises:
        InputError: the codec was trained on images with other channels.
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
    """Passes the training patients of a checkpoint to the data module, which records them in the new checkpoint.

    If its run is resumed, only those of the earlier stages: the first set is that of the run itself.

    Raises:
        InputError: some are held out here, or there are more sets of patients than can be recorded.
    """
    own, *others = checkpoint.training_patients
    elsewhere = others if resumed else [own, *others]  # a resumed run compares its own when its state is loaded
    held_out = data.held_out_known_to(elsewhere)
    if held_out:
        raise InputError(
            f"{checkpoint.path}: was trained on {len(held_out)} patients that are held out here; give the data and data.seed of "
            f"its training{data.namesakes}"
        )
    if len(elsewhere) > STAGES:
        elsewhere = [patients for patients in elsewhere if not patients.within(data.patients)]
    if len(elsewhere) > STAGES:
        raise InputError(
            f"{checkpoint.path}: it and its earlier stages were trained on {len(elsewhere)} sets of patients that are not here; "
            f"{STAGES} can be recorded"
        )
    data.patients_known_elsewhere = elsewhere


def cached_moments(codec: Codec, data: MRIDataModule, device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns mean and variance [c] of the codes of all augmented training images; measured once, then cached."""
    weights = [weight for name, weight in codec.state_dict().items() if name not in SCALE_BUFFERS]
    volumes = zip(data.train.stacks, data.train.slice_ranges, strict=True)
    images = sorted(f"{stack.file.stem} {slices}" for stack, slices in volumes)
    name = codes_name(data.volumes.cache.folder.name, images, cache_key(data.augment), data.seed, *weights)
    path = data.cache_folder / f"{name}.json"
    with (
        friendly_disk_errors(path.parent),
        FileLock(path.with_suffix(".lock")),
    ):  # measured by one process, so that all get the same values
        if not path.is_file():
            encode, generator = partial(encode_on, codec, device=device), augmentation_generator(data)
            passes = -(-STATISTICS_IMAGES // len(data.train))  # a few images are passed several times, for more random phases
            measurements = moments(data.train, lambda images: encode(data.augment(images, generator)), passes)
            with atomic_write(path) as file:
                file.write(json.dumps([values.tolist() for values in measurements]).encode())
    mean, variance = json.loads(path.read_text())
    return torch.tensor(mean, dtype=torch.float64), torch.tensor(variance, dtype=torch.float64)


def statistics(codec: Codec, data: MRIDataModule, device: torch.device) -> Statistics:
    """Returns the statistics of the codes of augmented training images; of the images themselves for `Pixels`."""
    if not codec.is_latent:
        return data.statistics
    images = data.augment(data.train.spread_examples(None, STATISTICS_IMAGES), augmentation_generator(data))
    return measure(torch.cat([encode_on(codec, batch, device) for batch in images.split(16)]))


def augmentation_generator(data: MRIDataModule) -> torch.Generator:
    """Returns the random generator of the augmentation while moments are measured."""
    return torch.Generator().manual_seed(derive_seed(AUGMENT_STREAM, data.seed))


def encode_training_set(codec: Codec, data: MRIDataModule, copies: int, device: torch.device) -> None:
    """Makes the data module train on codes; those missing from the cache are computed now."""
    data.encode(lambda images: encode_on(codec, images, device), [*codec.state_dict().values()], copies)


@torch.no_grad()
def encode_on(codec: Codec, images: Tensor, device: torch.device) -> Tensor:
    """Returns codes on the CPU, encoded on ``device``."""
    return codec.encode(images.to(device)).float().cpu()
