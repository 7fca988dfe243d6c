"""The data module: a folder of volumes, or the phantom, as batches of `Sample(image, cond)`."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from rich import get_console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from condiff.data.conditioning import ContrastCondition
from condiff.data.fastmri import Volume, find
from condiff.data.phantom import Phantom
from condiff.data.split import Split, split_by_patient
from condiff.data.statistics import Statistics, measure
from condiff.data.transforms import Magnitude
from condiff.errors import InputError
from condiff.seeds import derive_seed

MEASURED = 512  # images; the distances between them are as many squared
log = logging.getLogger(__name__)
Augment = Callable[[Tensor, torch.Generator], Tensor]
Read = Callable[[Path], tuple[Tensor, tuple[float, float]]]


class Sample(NamedTuple):
    """An image [C, H, W] and what is known of it [D]; in a batch [B, C, H, W] and [B, D]."""

    image: Tensor
    cond: Tensor


class Slices(Dataset[Sample]):
    """The slices of some volumes, read and transformed once and held in memory; an unreadable volume is reported, not held.

    Attributes:
        images: [N, C, H, W].
        cond: [N, D].
        volume: index [N] into ``volumes``; volume i was divided by ``scales[i]``.
    """

    def __init__(self, volumes: list[Volume], read: Read, transform: Magnitude, conditioning: ContrastCondition, title: str):
        self.volumes: list[Volume] = []
        self.scales: list[float] = []
        images, cond, volume = [torch.empty(0, *transform.shape)], [torch.empty(0, conditioning.dim)], []
        silent = os.environ.get("LOCAL_RANK", "0") != "0" or not get_console().is_terminal
        for item in track(volumes, f"Reading {title} volumes", transient=True, disable=silent):
            try:
                stack, scale = transform(*read(item.path))
            except InputError as reason:
                log.warning("skipped %s", reason)
                continue
            images.append(stack)
            cond.append(conditioning.encode(item.contrast).expand(len(stack), -1))
            volume += [len(self.volumes)] * len(stack)
            self.volumes.append(item)
            self.scales.append(scale)
        self.images, self.cond, self.volume = torch.cat(images), torch.cat(cond), torch.tensor(volume)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.images[index], self.cond[index])

    def examples(self, contrast: str | None, n: int) -> Tensor:
        """At most n images of a contrast (None: of any), spread evenly over the set, [n, C, H, W]."""
        mine = torch.tensor([contrast in (None, volume.contrast) for volume in self.volumes], dtype=torch.bool)
        images = self.images[mine[self.volume]]
        return images[torch.linspace(0, len(images) - 1, min(n, len(images))).round().long()]


class StreamSampler(Sampler[int]):
    """An endless stream of shuffled passes over n items, cut into epochs of ``length`` per process.

    The stream depends on the seed alone, so a run resumed at any epoch sees what it would have seen.
    """

    def __init__(self, n: int, length: int, seed: int, rank: int = 0, world_size: int = 1):
        self.n, self.length, self.seed, self.rank, self.world_size = n, length, seed, rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls it before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        begin, current, order = self.epoch * self.length * self.world_size, -1, []
        for position in range(begin + self.rank, begin + self.length * self.world_size, self.world_size):
            turn, index = divmod(position, self.n)
            if turn != current:
                generator = torch.Generator().manual_seed(derive_seed("order", self.seed, turn))
                current, order = turn, torch.randperm(self.n, generator=generator).tolist()
            yield order[index]


class MRIDataModule(L.LightningDataModule):
    """Volumes of a folder, split by patient.

    Args:
        root: folder with fastMRI files, at any depth.
        read: path -> slices and pixel size.
        transform: downsample -> the transform from slices to images.
        conditioning: contrasts -> the layout of the condition.
        contrasts: the acquisitions to read.
        downsample: by how much the sides of the images are reduced.
        volumes_per_contrast: to train on.
        held_out_per_contrast: at most so many to validate and as many to test on.
        batch_size: images a process and step.
        steps_per_epoch: batches between two validations, whatever the size of the set.
        augment: (images [B, C, H, W], generator) -> images, applied to training batches.
        seed: of the split, the order and the augmentation.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        read: Read,
        transform: Callable[..., Magnitude],
        conditioning: Callable[..., ContrastCondition],
        contrasts: Sequence[str],
        downsample: int,
        volumes_per_contrast: int,
        held_out_per_contrast: int,
        batch_size: int,
        steps_per_epoch: int,
        augment: Augment,
        seed: int = 0,
    ):
        super().__init__()
        self.root, self.read = Path(root).expanduser(), read
        self.transform, self.conditioning = transform(downsample=downsample), conditioning(contrasts=contrasts)
        self.volumes_per_contrast, self.held_out_per_contrast = volumes_per_contrast, held_out_per_contrast
        self.batch_size, self.steps_per_epoch = batch_size, steps_per_epoch
        self.augment, self.seed = augment, seed

    def setup(self, stage: str = "fit") -> None:
        """Find, split and read the volumes; said in one line. A second call does nothing."""
        if hasattr(self, "train"):
            return
        split = self.split()
        self.seen = fingerprints(split.train)
        self.train, self.val = self.slices(split.train, "training"), self.slices(split.val, "validation")
        self.test = self.slices(split.test, "test")
        for name, part in (("train", self.train), ("validate", self.val)):
            if not len(part):
                raise InputError(f"data.root: no volume of {self.root} to {name} on could be read; see the files named above")
        parts = (("train", self.train), ("validate", self.val), ("test", self.test))
        log.info("; ".join(f"{name} on {len(part.volumes)} volumes, {len(part)} slices" for name, part in parts))
        if not split.test:
            log.warning("the test split is empty: data.root has too few patients for one")

    def split(self) -> Split:
        """Which volumes to train, validate and test on; reads headers alone. Raises InputError as `find` and the split do."""
        numbers = self.volumes_per_contrast, self.held_out_per_contrast, self.seed
        return split_by_patient(find(self.root).volumes, self.conditioning.contrasts, *numbers)

    @cached_property
    def statistics(self) -> Statistics:
        """Of the training images, or of 512 spread over them; after `setup`."""
        return measure(self.train.examples(None, MEASURED))

    def state_dict(self) -> dict[str, Any]:
        """Whom was trained on, unreadably, that they are never taken for strangers; and what was measured on them."""
        return {"patients": sorted(self.seen), "statistics": asdict(self.statistics)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises InputError where a run is resumed on other patients than it began with."""
        others = self.seen ^ set(state_dict["patients"])
        if others:
            raise InputError(
                f"data.root: {self.root} no longer splits as it did when the run began ({len(others)} training patients "
                "differ); give the folder as it was, or train anew"
            )

    def slices(self, volumes: list[Volume], title: str) -> Slices:
        """The images of some volumes."""
        return Slices(volumes, self.read, self.transform, self.conditioning, title)

    def train_dataloader(self) -> DataLoader:
        rank, world_size = self._trainer.global_rank, self._trainer.world_size
        sampler = StreamSampler(len(self.train), self.steps_per_epoch * self.batch_size, self.seed, rank, world_size)
        return DataLoader(self.train, self.batch_size, sampler=sampler)  # in memory: workers would slow it down

    def val_dataloader(self) -> DataLoader:
        """Every process validates on the whole split, so the loss does not depend on their number."""
        return DataLoader(self.val, self.batch_size)

    @property
    def _trainer(self) -> L.Trainer:
        assert self.trainer is not None, "Lightning attaches the trainer before it asks for batches"
        return self.trainer

    def on_after_batch_transfer(self, batch: Sample, dataloader_idx: int) -> Sample:
        if not self._trainer.training:
            return batch
        seed = derive_seed("augment", self.seed, self._trainer.fit_loop.total_batch_idx + 1, self._trainer.global_rank)
        return Sample(self.augment(batch.image, torch.Generator().manual_seed(seed)), batch.cond)


def fingerprints(volumes: Sequence[Volume]) -> set[str]:
    """Whose volumes they are, in a form that tells nobody's identifier."""
    return {hashlib.sha256(volume.patient.encode()).hexdigest()[:16] for volume in volumes}


class PhantomDataModule(MRIDataModule):
    """The phantom's volumes, made in the cache folder before they are first needed."""

    def __init__(self, phantom: Phantom, cache: str | os.PathLike, **settings):
        self.phantom, self.cache = phantom, Path(cache).expanduser()
        super().__init__(root=self.cache / phantom.key, **settings)

    def prepare_data(self) -> None:
        self.phantom.build(self.cache)
