"""The data module: the volumes of a folder as batches of `Sample(image, cond)`."""

import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from condiff.data.augment import Augment
from condiff.data.cache import cache_key
from condiff.data.conditioning import Conditioning
from condiff.data.datasets import Sample
from condiff.data.fastmri.layout import FastMRI
from condiff.data.image_spec import ImageSpec, Read
from condiff.data.index_sampler import IndexStream, StreamSampler
from condiff.data.latents import Encode, LatentDataset, LatentSample, codes_name, encode_dataset
from condiff.data.layout import Layout
from condiff.data.patients import Fingerprints, PatientRecord
from condiff.data.selection import Selection
from condiff.data.statistics import Statistics, measure
from condiff.data.transfer import to_device
from condiff.data.transforms import Transform
from condiff.data.volume_folder import VolumeFolder
from condiff.data.workers import available_cpus, own_group
from condiff.errors import InputError
from condiff.seeds import derive_seed

STATISTICS_IMAGES = 512  # at most; the distances between them are as many squared
log = logging.getLogger(__name__)


class MRIDataModule(L.LightningDataModule):
    """Volumes of a folder: indexed, selected, split by patient, and prepared once.

    Args:
        root: folder with the files, at any depth.
        cache: folder for the index and for the prepared images.
        read: path -> slices or k-space, and the size of their pixels or field of view.
        transform: (matrix, downsample) -> the transform from that to images.
        matrix: pixels along the field of view at full resolution.
        downsample: factor by which the sides of the images are reduced.
        conditioning: contrasts -> the layout of the condition.
        contrasts: those to read, after `Selection.merge`.
        select: which volumes and slices to use.
        volumes_per_contrast: number to train on; None: all.
        held_out_per_contrast: at most this many to validate and as many to test on.
        batch_size: images per process and step.
        steps_per_epoch: batches between two validations, whatever the size of the set.
        sampling_order: (contrasts of the slices, seed) -> the order in which slices come.
        augment: (images [B, C, H, W], generator) -> images, applied to training batches.
        workers: processes that index and prepare; None: one per core.
        num_workers: processes that read batches; 0: the one that trains, which suffices for files in memory or on a fast disk.
        shard: k/n: `prepare_data` prepares the k-th of n parts of the volumes; `setup` prepares what it lacks of the others.
        seed: of the split, the order and the augmentation.
        layout: how the scans lie in the folder; None: as fastMRI's.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        cache: str | os.PathLike,
        read: Read,
        transform: Callable[..., Transform],
        matrix: int,
        downsample: int,
        conditioning: Callable[..., Conditioning],
        contrasts: Sequence[str],
        select: Selection,
        volumes_per_contrast: int | None,
        held_out_per_contrast: int,
        batch_size: int,
        steps_per_epoch: int,
        sampling_order: Callable[[Sequence[str], int], IndexStream],
        augment: Augment,
        workers: int | None = None,
        num_workers: int = 0,
        shard: str = "1/1",
        seed: int = 0,
        layout: Layout | None = None,
    ):
        super().__init__()
        self.root, self.cache_folder = Path(root).expanduser(), Path(cache).expanduser()
        image, condition = transform(matrix=matrix, downsample=downsample), conditioning(contrasts=contrasts)
        self.spec = ImageSpec(read, image, condition, select.merge or {})
        numbers = volumes_per_contrast, held_out_per_contrast, seed, len(available_cpus()) if workers is None else workers
        self.volumes = VolumeFolder(self.root, layout or FastMRI(), self.cache_folder, self.spec, select, *numbers)
        self.batch_size, self.steps_per_epoch, self.sampling_order = batch_size, steps_per_epoch, sampling_order
        self.augment, self.seed, self.num_workers, self.shard = augment, seed, num_workers, shard
        self.codes: LatentDataset | None = None
        self.patients_known_elsewhere: list[Fingerprints] = []
        self.seen_batches: int | None = None  # of the stream, by a run that is resumed

    kind = "real"  # of its images, as pictures call them
    namesakes = ""  # remedy where held-out patients have the names of training patients

    def folder(self) -> Path:
        """The folder of the files."""
        return self.root

    def prepare_data(self) -> None:
        """Prepare the images of this shard of the volumes; add all volumes that could not be prepared to the report."""
        self.volumes.prepare(self.shard)

    def setup(self, stage: str = "fit") -> None:
        """Find, split, prepare and open the volumes; log their number. A second call does nothing.

        Raises:
            InputError: no volume to train on, or none to validate on.
        """
        if hasattr(self, "train"):
            return
        split = self.volumes.split()
        self.patients = {volume.patient for volume in split.train}
        self.spec = replace(
            self.spec, conditioning=self.spec.conditioning.with_ranges_of(split.train, self.volumes.select.slices)
        )
        self.train = self.volumes.dataset(split.train, self.spec.conditioning, "training")
        self.val = self.volumes.dataset(split.val, self.spec.conditioning, "validation")
        self.test = self.volumes.dataset(split.test, self.spec.conditioning, "test")
        datasets = {"train": self.train, "validate": self.val, "test": self.test}
        for verb in ("train", "validate"):
            if not len(datasets[verb]):
                raise InputError(f"data.root: no volume of {self.root} to {verb} on could be read; see the files named above")
        if untrained := [c for c in self.spec.contrasts if c not in {volume.contrast for volume in self.train.volumes}]:
            log.warning("no volume to train on of %s could be read; see the files named above", ", ".join(untrained))
        log.info("; ".join(f"{verb} on {part.summary}" for verb, part in datasets.items()))
        for remark in split.remarks(*self.volumes.numbers[:2]):
            log.info(remark)
        if absent := [c for c in self.spec.contrasts if c not in {volume.contrast for volume in self.val.volumes}]:
            log.warning("no volume to validate on of %s: data.root has too few patients of it", ", ".join(absent))
        if not split.test:
            log.warning("the test split is empty: data.root has too few patients for one")

    @cached_property
    def statistics(self) -> Statistics:
        """The statistics of the training images, or of 512 spread over them; after `setup`."""
        return measure(self.train.spread_examples(None, STATISTICS_IMAGES))

    def trial_batch(self) -> Sample:
        """A batch of training images, to time a step; after `setup`."""
        images = self.train.spread_examples(None, self.batch_size)
        return Sample(images, self.train.cond[: len(images)])

    @cached_property
    def fingerprints(self) -> Fingerprints:
        """The fingerprints of the training patients; after `setup`."""
        return Fingerprints.of(self.patients)

    @cached_property
    def validation_fingerprints(self) -> Fingerprints:
        """The fingerprints of the validation patients; after `setup`."""
        return Fingerprints.of({volume.patient for volume in self.val.volumes})

    def held_out_known_to(self, known: Sequence[Fingerprints]) -> set[str]:
        """The held-out patients that are among the ``known`` ones of a model; after `setup`."""
        patients = {volume.patient for volume in self.val.volumes + self.test.volumes}
        return set().union(*(fingerprints.known(patients) for fingerprints in known))

    def state_dict(self) -> dict[str, Any]:
        """The patients trained and validated on, as fingerprints; the statistics; how much of the stream was seen."""
        patients = PatientRecord(self.fingerprints, self.validation_fingerprints, self.patients_known_elsewhere)
        return patients.state() | {"statistics": asdict(self.statistics), "seen_batches": self._seen_batches()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises InputError where a run is resumed on other patients than it began with."""
        seen = state_dict.get("seen_batches")
        self.seen_batches = seen if isinstance(seen, int) and seen >= 0 else None
        recorded = PatientRecord.of_state(state_dict).train
        known = recorded.known(self.patients)
        differing = len(recorded.hashes) - len(known) + len(self.patients - known)
        if differing:
            raise InputError(
                f"data.root: {self.root} no longer splits as it did when the run began ({differing} training patients "
                "differ); give the folder as it was, or train from the start"
            )
        if recorded.salt:
            self.fingerprints = recorded

    def _seen_batches(self) -> int:
        """Batches that each process has seen of the stream: of finished epochs and of the current one."""
        loop = self._trainer.fit_loop
        epochs: Any = loop.epoch_progress.current
        within = loop.epoch_loop.batch_progress.current.ready if epochs.started > epochs.processed else 0
        return epochs.processed * self.steps_per_epoch + within

    def encode(self, encode: Encode, weights: Sequence[Tensor], copies: int) -> None:
        """Train on codes from now on: those of ``copies`` augmented copies of each image, made once and kept in the cache.

        Args:
            weights: of what encodes; they name the folder of the codes.
        """
        shaped_by = self.volumes.cache.folder.name, cache_key(self.augment), copies, self.seed
        folder = self.cache_folder / codes_name(*shaped_by, *weights)
        self.codes = encode_dataset(self.train, encode, self.augment, copies, folder, self.seed)
        numbers = sum(math.prod(stack.shape) for stack in self.codes.stacks)
        log.info("trains on codes, %d augmented copies of every image, %.3g MB in %s", copies, 2e-6 * numbers, folder)

    def train_dataloader(self) -> DataLoader:
        start = None if self.seen_batches is None else self.seen_batches * self.batch_size
        sampler = StreamSampler(
            self.sampling_order(self.train.contrasts, self.seed),
            self.steps_per_epoch * self.batch_size,
            self._trainer.global_rank,
            self._trainer.world_size,
            start,
        )
        return DataLoader(self.codes or self.train, self.batch_size, sampler=sampler, **self._loading())

    def val_dataloader(self) -> DataLoader:
        """Every process validates on the whole split, so the loss does not depend on their number."""
        return DataLoader(self.val, self.batch_size, **self._loading())

    def _loading(self) -> dict[str, Any]:
        return {
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "pin_memory": torch.cuda.is_available(),
            "worker_init_fn": own_group,
        }

    @property
    def _trainer(self) -> L.Trainer:
        assert self.trainer is not None, "Lightning attaches the trainer before it asks for batches"
        return self.trainer

    def on_after_batch_transfer(self, batch: Sample | LatentSample, dataloader_idx: int) -> Sample | LatentSample:
        """A training batch, augmented: images by chance, codes by taking one of their variants."""
        if not self._trainer.training:
            return batch
        seed = derive_seed("augment", self.seed, self._trainer.fit_loop.total_batch_idx + 1, self._trainer.global_rank)
        generator = torch.Generator().manual_seed(seed)
        if isinstance(batch, LatentSample):
            n, copies = batch.z.shape[:2]
            copy = to_device(torch.randint(copies, (n,), generator=generator), batch.z.device)
            return LatentSample(batch.z[torch.arange(n, device=batch.z.device), copy], batch.cond)
        return Sample(self.augment(batch.image, generator), batch.cond)
