"""The second stage's beginning: from an autoencoder's checkpoint and the data to codes that a model can be trained on."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condiff import checkpoint
from condiff.data.datamodule import MEASURED, MRIDataModule, fingerprints
from condiff.data.latents import moments
from condiff.data.statistics import Statistics, measure
from condiff.errors import InputError
from condiff.nn import Codec, KLAutoencoder, Pixels


def stage(content: dict[str, Any], path: str | Path, data: MRIDataModule, device: torch.device) -> Codec:
    """The codec in a checkpoint's content; where that is an autoencoder's own, standardised over all training images.

    Raises:
        InputError: a codec of other images, or one that has seen patients who are held out here.
    """
    codec = checkpoint.codec(content, path)
    if not isinstance(codec, KLAutoencoder):
        return codec
    made = checkpoint.build(content["hyper_parameters"]["data"], path).transform.shape[0]
    if made != data.transform.shape[0]:
        raise InputError(
            f"model.autoencoder={path}: was trained on images of {made} channels, the data have {data.transform.shape[0]}"
        )
    known = checkpoint.patients(path) & fingerprints(data.val.volumes + data.test.volumes)
    if known:
        raise InputError(
            f"model.autoencoder={path}: was trained on {len(known)} patients who are held out here; give it the same folder, "
            "counts and data.seed"
        )
    codec.to(device)
    if "denoiser" not in content["hyper_parameters"]["model"]:
        codec.standardise(*moments(data.train, lambda images: codec.encode(images.to(device))))
    return codec


def statistics(codec: Codec, data: MRIDataModule, device: torch.device) -> Statistics:
    """Of the codes of training images."""
    if isinstance(codec, Pixels):
        return data.statistics
    images = data.train.examples(None, MEASURED)
    return measure(torch.cat([encoded(codec, some, device) for some in images.split(16)]))


def cache(codec: KLAutoencoder, data: MRIDataModule, variants: int, device: torch.device) -> None:
    """Have the data module train on codes, made now where they are not there."""
    data.encode(lambda images: encoded(codec, images, device), [*codec.state_dict().values()], variants)


@torch.no_grad()
def encoded(codec: Codec, images: Tensor, device: torch.device) -> Tensor:
    """Codes on the CPU."""
    return codec.encode(images.to(device)).float().cpu()


def device_of(accelerator: str) -> torch.device:
    """Where this process will train, by Lightning's name for the kind of device."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")
