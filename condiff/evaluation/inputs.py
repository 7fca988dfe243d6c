"""From a checkpoint and its data to what the evaluation judges: magnitudes, with what is known of each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from condiff.checkpoint import checkpoint
from condiff.data.cache import spelled
from condiff.data.datamodule import MRIDataModule, Slices
from condiff.errors import InputError
from condiff.evaluation.sets import Images
from condiff.sampling.requests import Draw
from condiff.seeds import derive_seed
from condiff.training import DiffusionSystem

MOST = 5000  # real images of a part that memory is asked to hold


def prepare(
    system: DiffusionSystem,
    ckpt: str | Path,
    asked: Mapping[str, Any],
    trust: Sequence[str] = (),
    guide: str | Path | None = None,
) -> tuple[MRIDataModule, bool]:
    """The data to judge a checkpoint by, read; and whether their training images are those it was trained on.

    Args:
        asked: a whole data module's configuration, or fields that replace those of the checkpoint's own.
            The patients are split by the seed of the training where no other is given.
        guide: checkpoint of another model that guides this one; its training patients count as seen, too.

    Raises:
        InputError: images of another size or contrast than the checkpoint's, or held-out patients it has seen.
    """
    own, trained = system.hparams["data"], checkpoint.data(system, ckpt, trust)
    if "_target_" in asked:
        data = instantiate(OmegaConf.create({"seed": own.get("seed", 0)} | dict(asked)))
    else:
        data = checkpoint.build_data(system.hparams, ckpt, trust, asked)
    for name, mine, theirs in (
        ("images [C, H, W]", trained.transform.shape, data.transform.shape),
        ("contrasts", trained.conditioning.contrasts, data.conditioning.contrasts),
    ):
        if mine != theirs:
            raise InputError(
                f"data: its {name} are {theirs}, those of {ckpt} are {mine}; give data like those, "
                "with data.downsample, data.matrix and data.contrasts of the training"
            )
    data.conditioning = trained.conditioning  # with the ranges that it was trained on
    data.prepare_data()
    data.setup()
    trained_on = checkpoint.patients(ckpt)
    if known := data.held_out(trained_on):
        raise InputError(
            f"data: {len(known)} patients held out of {data.root} were trained on by {ckpt}; the folder, the counts or "
            "the seed have changed since. Give the folder as it was, with the counts and data.seed of the training"
        )
    if guide:
        trained_on += checkpoint.patients(guide)
        if known := data.held_out(trained_on):
            raise InputError(
                f"guidance.weaker.ckpt={guide}: was trained on {len(known)} patients who are held out of {data.root}; give a "
                "model that was trained with the same data and data.seed"
            )
    all_of_it = not data.patients - trained_on[0].known(data.patients) and all(some.within(data.patients) for some in trained_on)
    return data, all_of_it and spelled(data.transform) == spelled(trained.transform)


def real(data: MRIDataModule, *parts: Slices, most: int = MOST) -> Images:
    """The slices of some parts of the data, say ``data.val, data.test``; of each at most so many, evenly spread."""
    contrasts = data.conditioning.contrasts
    values, contrast, patient = [data.transform.image(torch.empty(0, *data.transform.shape))], [], []
    for part in parts:
        if not len(part):
            continue
        chosen = _spread(part, most)
        values.append(data.transform.image(part.images(chosen)))
        volumes = [part.volumes[index] for index in part.volume[chosen]]
        contrast += [contrasts.index(volume.contrast) for volume in volumes]
        patient += [derive_seed(volume.patient) for volume in volumes]
    return Images(torch.cat(values), torch.tensor(contrast, dtype=torch.long), torch.tensor(patient, dtype=torch.long))


def sources(part: Slices, most: int = MOST) -> list[tuple[Path, int]]:
    """File and slice of each image that `real` takes from a part of the data."""
    chosen = _spread(part, most)
    files = (part.volumes[index].path for index in part.volume[chosen].tolist())
    return list(zip(files, part.slice[chosen].tolist(), strict=True))


def _spread(part: Slices, most: int) -> Tensor:
    return torch.linspace(0, len(part) - 1, min(most, len(part))).round().long()


def generated(data: MRIDataModule, images: Tensor, draws: Sequence[Draw]) -> Images:
    """Samples [N, C, H, W] as they were drawn; each is a patient of its own, of contrast -1 where none was asked for."""
    known = data.conditioning.contrasts
    contrast = [-1 if draw.contrast is None else known.index(draw.contrast) for draw in draws]
    return Images(data.transform.image(images), torch.tensor(contrast), torch.arange(len(draws)))
