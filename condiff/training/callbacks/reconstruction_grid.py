"""Pictures of an autoencoder's reconstructions."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from condiff.files import pictures
from condiff.training.callbacks.ema import averaged_weights
from condiff.training.callbacks.optional import optional

DIFFERENCE_GAIN = 4.0  # of the differences in the picture


class ReconstructionGrid(L.Callback):
    """At every validation, saves held-out images, their reconstructions by the averaged weights, and the difference.

    One row per contrast. The pictures stay on this disk.

    Args:
        folder: of the pictures.
        num_images: per contrast.
    """

    def __init__(self, folder: str | Path, num_images: int):
        self.folder, self.num_images = Path(folder), num_images

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        with optional("reconstructions", trainer.global_step), averaged_weights(trainer, pl_module):
            self._save(trainer, pl_module)

    def _save(self, trainer: Any, pl_module: Any) -> None:
        data = trainer.datamodule
        blocks: dict[str, dict[str, Tensor]] = {data.kind: {}, "reconstruction": {}, f"difference x {DIFFERENCE_GAIN:g}": {}}
        for contrast in data.spec.contrasts:
            images = data.val.spread_examples(contrast, self.num_images)
            if not len(images):
                continue
            reconstructions = pl_module(images.to(pl_module.device)).cpu()
            real, reconstructed = data.spec.transform.magnitude(images), data.spec.transform.magnitude(reconstructions)
            difference = 0.5 + DIFFERENCE_GAIN * (reconstructed - real)
            for title, magnitudes in zip(blocks, (real, reconstructed, difference), strict=True):
                blocks[title][contrast] = magnitudes
        self.folder.mkdir(parents=True, exist_ok=True)
        picture = pictures.grid(blocks)
        picture.save(self.folder / f"step-{trainer.global_step:06d}.png")
        picture.save(self.folder / "samples.png")
