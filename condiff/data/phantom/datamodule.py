"""The data module of the phantom."""

import os
from dataclasses import replace
from pathlib import Path

from condiff.data.datamodule import MRIDataModule
from condiff.data.phantom.volumes import Phantom

NEW_SEED = 2**32  # of heads to reconstruct; the seeds that people choose are smaller


class PhantomDataModule(MRIDataModule):
    """The phantom's volumes, made in the cache folder before they are first needed."""

    kind = "simulated"
    namesakes = ", or other heads, data.phantom.seed=1"

    def __init__(self, phantom: Phantom, cache: str | os.PathLike, workers: int = 0, **settings):
        self.phantom = phantom
        super().__init__(root=Path(cache) / phantom.key, cache=cache, workers=workers, **settings)

    def folder(self) -> Path:
        """The folder of the files, which are made first if they are missing."""
        return self.phantom.build(self.cache_folder)

    def new_heads(self) -> Path:
        """A folder of heads that no model was trained on: one of each contrast, two slices."""
        return replace(self.phantom, patients=1, slices=2, spacing_mm=36.0, seed=NEW_SEED).build(self.cache_folder)

    def prepare_data(self) -> None:
        self.folder()
        super().prepare_data()
