"""The data that a checkpoint is evaluated on, without patients that it was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from condiff.checkpoint import Checkpoint
from condiff.commands.from_checkpoint import data_of, guide_of
from condiff.data.cache import cache_key
from condiff.data.datamodule import MRIDataModule
from condiff.errors import InputError
from condiff.evaluation.evaluate import MIN_PATIENTS
from condiff.evaluation.inputs import image_sources, real_images
from condiff.evaluation.sets import ImageSet


def load_evaluation_data(cfg: DictConfig, checkpoint: Checkpoint) -> tuple[MRIDataModule, int | None]:
    """Return the data, set up; and the number of patients that the samples may copy but whose images are not among its
    training images: those of the first model of ``init=``, of an autoencoder, of a model that guides this one.

    None instead of the number: the checkpoint was trained on other images than these.

    Raises:
        InputError: images of another size or contrast than the checkpoint's, or held-out patients that it was trained on.
    """
    data, trained_spec, ckpt = data_of(cfg, checkpoint), checkpoint.spec(), checkpoint.path
    for name, expected, actual in (
        ("images [C, H, W]", trained_spec.shape, data.spec.shape),
        ("contrasts", trained_spec.contrasts, data.spec.contrasts),
    ):
        if expected != actual:
            raise InputError(
                f"data: its {name} are {actual}, those of {ckpt} are {expected}; give data like those, "
                "with data.downsample, data.matrix and data.contrasts of the training"
            )
    data.spec = replace(data.spec, conditioning=trained_spec.conditioning)  # with the ranges of the training
    data.prepare_data()
    data.setup()
    trained_on = checkpoint.training_patients
    if leaked := data.held_out_known_to(trained_on):
        raise InputError(
            f"data: {len(leaked)} held-out patients of {data.root} are training patients of {ckpt}; the folder, the counts or "
            "the seed have changed since. Give the folder as it was, with the counts and data.seed of the training"
            f"{data.namesakes}"
        )
    if guide := guide_of(cfg):
        trained_on = trained_on + guide.training_patients
        if leaked := data.held_out_known_to(trained_on):
            raise InputError(
                f"guidance.weaker.ckpt={guide.path}: was trained on {len(leaked)} held-out patients of {data.root}; give "
                f"a model that was trained with the same data and data.seed{data.namesakes}"
            )
    own, *others = trained_on
    same_patients = own.within(data.patients) and not data.patients - own.known(data.patients)
    if not same_patients or cache_key(data.spec.transform) != cache_key(trained_spec.transform):
        return data, None
    return data, sum(len(patients.hashes) - len(patients.known(data.patients)) for patients in others)


@dataclass(frozen=True)
class HeldOut:
    """The real images that samples are compared with.

    Attributes:
        sources: file and slice of each.
        splits: test, and val if the checkpoint was not chosen by it or test alone is too small.
        notes: limitations of the choice.
    """

    images: ImageSet
    sources: list[tuple[Path, int]]
    splits: list[str]
    notes: list[str]

    @classmethod
    def of(cls, data: MRIDataModule, checkpoint: Checkpoint, contrasts: Sequence[str], max_images: int) -> "HeldOut":
        """Return at most ``max_images`` images of each split."""
        splits, notes = _independent_splits(data, checkpoint, contrasts)
        parts = [getattr(data, split) for split in splits]
        images = real_images(data.spec, *parts, max_images=max_images)
        if len(images) < sum(map(len, parts)):
            compared = f"{len(images)} of {sum(map(len, parts))}"
            notes.append(f"real_images={max_images}: held-out images: compared with {compared}")
        return cls(images, image_sources(*parts, max_images=max_images), splits, notes)

    @property
    def patients(self) -> int:
        """Number of patients."""
        return len(self.images.patient.unique())

    def summary(self) -> dict[str, Any]:
        """Return splits and counts in plain values."""
        return {"splits": self.splits, "patients": self.patients, "images": len(self.images)}


def _independent_splits(data: MRIDataModule, checkpoint: Checkpoint, contrasts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the splits to compare with, and notes: the test patients alone if validation chose the checkpoint."""
    if not _chosen_by_validation(checkpoint):
        return ["val", "test"], []
    validation, current = checkpoint.patients.validation, {volume.patient for volume in data.val.volumes}
    number = len(validation.hashes) if validation else len(current)
    reason = f"the checkpoint was chosen by its loss on {number} validation patients"
    groups = [[contrast] for contrast in contrasts] or [[*data.spec.contrasts]]  # an unconditional model: one group
    test_patients = [{volume.patient for volume in data.test.volumes if volume.contrast in group} for group in groups]
    if min(map(len, test_patients)) >= MIN_PATIENTS and not (validation and validation.known(set().union(*test_patients))):
        return ["test"], [f"{reason}; compared with the test patients only"]
    return ["val", "test"], [f"{reason}, and the test patients alone are too few: scores are not independent of the choice"]


def _chosen_by_validation(checkpoint: Checkpoint) -> bool:
    """Return whether a checkpoint was kept for the best validation metric of its run, as ``best.ckpt`` is."""
    if checkpoint.path.stem in ("best", "last"):
        return checkpoint.path.stem == "best"
    callbacks = checkpoint.content.get("callbacks")
    states = callbacks.values() if isinstance(callbacks, dict) else ()
    scores = [[state.get(key) for key in ("current_score", "best_model_score")] for state in states if isinstance(state, dict)]
    return any(
        isinstance(current, Tensor) and isinstance(best, Tensor) and torch.equal(current, best) for current, best in scores
    )
