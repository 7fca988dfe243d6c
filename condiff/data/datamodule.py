"""The data module: a folder of volumes, or the phantom, as batches of `Sample(image, cond)`."""

import logging
import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from condiff.data.augment import Augment
from condiff.data.cache import Cache, spelled
from condiff.data.conditioning import Conditioning
from condiff.data.datasets import Sample, Slices
from condiff.data.fastmri import reader
from condiff.data.image_spec import ImageSpec, Read
from condiff.data.index import NAMED, Index, index, table
from condiff.data.index_sampler import Order, Stream
from condiff.data.latents import Encode, Encoded, Latents, encoded, named
from condiff.data.patients import Fingerprints, PatientRecord
from condiff.data.selection import Selection, sharded
from condiff.data.split import Split, split_by_patient
from condiff.data.statistics import Statistics, measure
from condiff.data.transforms import Transform
from condiff.data.volume import Volume
from condiff.data.workers import cores
from condiff.errors import InputError, printable
from condiff.seeds import derive_seed

MEASURED = 512  # images; the distances between them are as many squared
log = logging.getLogger(__name__)


class MRIDataModule(L.LightningDataModule):
    """Volumes of a folder, indexed, selected, split by patient, made ready once.

    Args:
        root: folder with fastMRI files, at any depth.
        cache: folder for the index and for the ready images.
        read: path -> slices or k-space, and what its pixels are.
        transform: (matrix, downsample) -> the transform from that to images.
        matrix: pixels along the field of view at full resolution.
        downsample: by how much the sides of the images are reduced.
        conditioning: contrasts -> the layout of the condition.
        contrasts: those to read, after `Selection.merge`.
        select: which volumes and slices are wanted.
        volumes_per_contrast: to train on; None is all.
        held_out_per_contrast: at most so many to validate and as many to test on.
        batch_size: images a process and step.
        steps_per_epoch: batches between two validations, whatever the size of the set.
        order: in which the slices come.
        augment: (images [B, C, H, W], generator) -> images, applied to training batches.
        workers: processes that index and prepare; None is one a core.
        loaders: processes that read batches; 0 is the one that trains, enough for files in memory or on a fast disk.
        shard: k/n: `prepare_data` makes the k-th n-th of the volumes ready, and whoever needs the others makes them.
        seed: of the split, the order and the augmentation.
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
        order: Callable[[Sequence[str], int], Order],
        augment: Augment,
        workers: int | None = None,
        loaders: int = 0,
        shard: str = "1/1",
        seed: int = 0,
    ):
        super().__init__()
        self.root, self.cache = Path(root).expanduser(), Path(cache).expanduser()
        made = transform(matrix=matrix, downsample=downsample), conditioning(contrasts=contrasts)
        self.spec = ImageSpec(read, *made, select.merge or {})
        self.ready, self.select = Cache(self.cache, read, self.spec.transform), select
        self.volumes_per_contrast, self.held_out_per_contrast = volumes_per_contrast, held_out_per_contrast
        self.batch_size, self.steps_per_epoch, self.order = batch_size, steps_per_epoch, order
        self.augment, self.seed, self.loaders, self.shard = augment, seed, loaders, shard
        self.workers = len(cores()) if workers is None else workers
        self.codes: Latents | None = None
        self.patients_known_elsewhere: list[Fingerprints] = []
        self.seen_batches: int | None = None  # of the stream, by a run that is resumed

    kind = "real"  # of its images, as pictures call them

    def folder(self) -> Path:
        """Where the files are."""
        return self.root

    def prepare_data(self) -> None:
        """Make this shard of the volumes ready, and report of all of them why some cannot be."""
        volumes = self.split().all
        self.ready.prepare(sharded(volumes, self.shard), self.workers, "all")
        self.index.report_also(self.ready.failures(volumes))

    def setup(self, stage: str = "fit") -> None:
        """Find, split and open the volumes, ready first where they are not; said in one line. A second call does nothing."""
        if hasattr(self, "train"):
            return
        split = self.split()
        self.patients = {volume.patient for volume in split.train}
        self.spec = replace(self.spec, conditioning=self.spec.conditioning.learned(split.train))
        self.train, self.val = self.slices(split.train, "training"), self.slices(split.val, "validation")
        self.test = self.slices(split.test, "test")
        for name, part in (("train", self.train), ("validate", self.val)):
            if not len(part):
                raise InputError(f"data.root: no volume of {self.root} to {name} on could be read; see the files named above")
        parts = (("train", self.train), ("validate", self.val), ("test", self.test))
        log.info("; ".join(f"{name} on {len(part.volumes)} volumes, {len(part)} slices" for name, part in parts))
        if not split.test:
            log.warning("the test split is empty: data.root has too few patients for one")

    @cached_property
    def index(self) -> Index:
        """All files of the folder. Raises InputError as `condiff.data.index.index` does."""
        return index(self.root, self.cache, reader.probe, self.workers)

    def split(self) -> Split:
        """Which volumes to train, validate and test on; reads headers alone. Raises InputError as `index` and the split do."""
        numbers = self.volumes_per_contrast, self.held_out_per_contrast, self.seed
        for contrast, other in self.spec.merge.items():
            if contrast in self.spec.contrasts:
                raise InputError(
                    f"data.contrasts: {contrast} counts as {other}; leave it out, or keep them apart with data.select.merge=null"
                )
        wanted = self.select(self.index.volumes)
        if not wanted:
            raise InputError(
                f"data.select: none of the {len(self.index.volumes)} volumes of {self.root} fits {self.select}; ask for less"
            )
        return split_by_patient(wanted, self.spec.contrasts, *numbers)

    def prepared_example(self, contrast: str | None) -> Tensor | None:
        """A validation image [1, C, H, W] that is in the cache, or None; nothing is indexed or prepared for it."""
        if not table(self.root, self.cache).is_file():
            return None
        with suppress(InputError):
            for volume in self.split().val:
                if contrast in (None, volume.contrast) and self.ready.file(volume).is_file():
                    with suppress(ValueError):  # its images could not be made
                        stack = self.ready.open(volume)
                        chosen = self.select.of(len(stack))
                        return stack[chosen[len(chosen) // 2]][None]
        return None

    @cached_property
    def statistics(self) -> Statistics:
        """Of the training images, or of 512 spread over them; after `setup`."""
        return measure(self.train.examples(None, MEASURED))

    @cached_property
    def fingerprints(self) -> Fingerprints:
        """Of the patients trained on; after `setup`."""
        return Fingerprints.of(self.patients)

    @cached_property
    def validation_fingerprints(self) -> Fingerprints:
        """Of the patients validated on; after `setup`."""
        return Fingerprints.of({volume.patient for volume in self.val.volumes})

    def held_out(self, known: Sequence[Fingerprints]) -> set[str]:
        """The patients held out here that are among those ``known`` to a model; after `setup`."""
        patients = {volume.patient for volume in self.val.volumes + self.test.volumes}
        return set().union(*(some.known(patients) for some in known))

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
        """Of the stream, by each process: whole epochs, and what there was of one that has not ended."""
        loop = self._trainer.fit_loop
        epochs: Any = loop.epoch_progress.current
        within = loop.epoch_loop.batch_progress.current.ready if epochs.started > epochs.processed else 0
        return epochs.processed * self.steps_per_epoch + within

    def slices(self, volumes: Sequence[Volume], title: str) -> Slices:
        """The images of some volumes; those that cannot be made are reported and left out."""
        self.ready.prepare(volumes, self.workers, title)
        failed = self.ready.failures(volumes)
        for path, reason in [*failed.items()][:NAMED]:
            log.warning("skipped %s: %s", printable(path), printable(reason))
        if failed:
            self.index.report_also(failed)
            log.warning("skipped %d of %d %s volumes; the reasons are in %s", len(failed), len(volumes), title, self.index.report)
        kept = [volume for volume in volumes if volume.path not in failed]
        stacks = [self.ready.open(volume) for volume in kept]
        chosen = [self.select.of(len(stack)) for stack in stacks]
        cond = [self.spec.conditioning.of(volume, some) for volume, some in zip(kept, chosen, strict=True)]
        return Slices(kept, stacks, chosen, torch.cat([torch.empty(0, self.spec.conditioning.dim), *cond]))

    def encode(self, encode: Encode, weights: Sequence[Tensor], variants: int) -> None:
        """Train on codes, of so many augmented variants of each image, kept in the cache; ``weights`` are what encodes."""
        key = named(self.ready.folder.name, spelled(self.augment), variants, self.seed, *weights)
        self.codes = encoded(self.train, encode, self.augment, variants, self.cache / key, self.seed)
        numbers = sum(math.prod(stack.shape) for stack in self.codes.stacks)
        log.info("trains on codes, %d variants of every image, %.3g MB in %s", variants, 2e-6 * numbers, self.cache / key)

    def train_dataloader(self) -> DataLoader:
        share, start = (self._trainer.global_rank, self._trainer.world_size), self.seen_batches
        length = self.steps_per_epoch * self.batch_size
        order = self.order(self.train.contrasts, self.seed)
        sampler = Stream(order, length, *share, start=start if start is None else start * self.batch_size)
        return DataLoader(self.codes or self.train, self.batch_size, sampler=sampler, **self._loading())

    def val_dataloader(self) -> DataLoader:
        """Every process validates on the whole split, so the loss does not depend on their number."""
        return DataLoader(self.val, self.batch_size, **self._loading())

    def _loading(self) -> dict[str, Any]:
        pinned = torch.cuda.is_available()
        return {"num_workers": self.loaders, "persistent_workers": self.loaders > 0, "pin_memory": pinned}

    @property
    def _trainer(self) -> L.Trainer:
        assert self.trainer is not None, "Lightning attaches the trainer before it asks for batches"
        return self.trainer

    def on_after_batch_transfer(self, batch: Sample | Encoded, dataloader_idx: int) -> Sample | Encoded:
        """A training batch, augmented: images by chance, codes by taking one of their variants."""
        if not self._trainer.training:
            return batch
        seed = derive_seed("augment", self.seed, self._trainer.fit_loop.total_batch_idx + 1, self._trainer.global_rank)
        generator = torch.Generator().manual_seed(seed)
        if isinstance(batch, Encoded):
            n, variants = batch.z.shape[:2]
            chosen = torch.randint(variants, (n,), generator=generator).to(batch.z.device)
            return Encoded(batch.z[torch.arange(n, device=batch.z.device), chosen], batch.cond)
        return Sample(self.augment(batch.image, generator), batch.cond)
