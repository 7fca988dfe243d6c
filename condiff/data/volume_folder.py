"""The volumes of a folder: indexed, selected, split by patient, and prepared once."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from condiff.data.cache import VolumeCache
from condiff.data.conditioning import Conditioning
from condiff.data.datasets import SliceDataset
from condiff.data.image_spec import ImageSpec
from condiff.data.index import MAX_LOGGED, Index, index, table_path
from condiff.data.layout import Layout
from condiff.data.selection import Selection, take_shard
from condiff.data.split import Split, split_by_patient
from condiff.data.volume import Volume
from condiff.errors import InputError, printable

log = logging.getLogger(__name__)


class VolumeFolder:
    """The volumes of a folder.

    Args:
        root: folder with the files, at any depth.
        layout: of the files.
        cache_folder: of the index and of the prepared images.
        spec: what an image is.
        select: which volumes and slices to use.
        volumes_per_contrast, held_out_per_contrast, seed: of `split_by_patient`.
        workers: processes that index and prepare.
    """

    def __init__(
        self,
        root: Path,
        layout: Layout,
        cache_folder: Path,
        spec: ImageSpec,
        select: Selection,
        volumes_per_contrast: int | None,
        held_out_per_contrast: int,
        seed: int,
        workers: int,
    ):
        self.root, self.layout, self.cache_folder, self.spec, self.select = root, layout, cache_folder, spec, select
        self.workers = workers
        self.numbers = volumes_per_contrast, held_out_per_contrast, seed
        self.cache = VolumeCache(cache_folder, spec.read, spec.transform)

    @cached_property
    def index(self) -> Index:
        """All files of the folder. Raises InputError as `condiff.data.index.index` does."""
        return index(self.root, self.cache_folder, self.layout, self.workers)

    def split(self) -> Split:
        """The volumes to train, validate and test on; reads headers alone. Raises InputError as `index` and the split do."""
        for contrast, merged in self.spec.merge.items():
            if contrast in self.spec.contrasts:
                raise InputError(
                    f"data.contrasts: {contrast} counts as {merged}; leave it out, or keep them apart with data.select.merge=null"
                )
        selected = self.select(self.index.volumes)
        if not selected:
            raise InputError(
                f"data.select: none of the {len(self.index.volumes)} volumes of {self.root} fits {self.select}; select more"
            )
        return split_by_patient(selected, self.spec.contrasts, *self.numbers)

    def prepare(self, shard: str) -> None:
        """Prepare the images of a shard of the volumes; add all volumes that could not be prepared to the report."""
        volumes = self.split().all
        self.cache.prepare(take_shard(volumes, shard), self.workers, "all")
        self.index.add_skipped(self.cache.failures(volumes))

    def dataset(self, volumes: Sequence[Volume], conditioning: Conditioning, title: str) -> SliceDataset:
        """The images and conditions of some volumes; those that cannot be prepared are reported and left out."""
        self.cache.prepare(volumes, self.workers, title)
        failed = self.cache.failures(volumes)
        for path, reason in [*failed.items()][:MAX_LOGGED]:
            log.warning("skipped %s: %s", printable(path), printable(reason))
        if failed:
            self.index.add_skipped(failed)
            log.warning("skipped %d of %d %s volumes; the reasons are in %s", len(failed), len(volumes), title, self.index.report)
        readable = [volume for volume in volumes if volume.path not in failed]
        images = [self.cache.open(volume) for volume in readable]
        prepared = [replace(volume, slices=len(stack)) for volume, stack in zip(readable, images, strict=True)]
        ranges = [self.select.slice_range(len(stack)) for stack in images]
        cond = [conditioning.encode_slices(volume, slices) for volume, slices in zip(prepared, ranges, strict=True)]
        return SliceDataset(prepared, images, ranges, torch.cat([torch.empty(0, conditioning.dim), *cond]))

    def prepared_example(self, contrast: str | None) -> Tensor | None:
        """A validation image [1, C, H, W] from the cache, or None where there is none; nothing is indexed or prepared for it."""
        if not table_path(self.root, self.cache_folder, self.layout.name).is_file():
            return None
        with suppress(InputError):
            for volume in self.split().val:
                if contrast in (None, volume.contrast) and self.cache.file(volume).is_file():
                    with suppress(ValueError):  # its images could not be made
                        images = self.cache.open(volume)
                        slices = self.select.slice_range(len(images))
                        return images[slices[len(slices) // 2]][None]
        return None
