"""TensorBoard logger, with pictures of samples."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from condiff.errors import InputError
from condiff.training.csv_logger import counted_from_one


class TensorBoard(TensorBoardLogger):
    """Lightning's TensorBoard logger, with pictures of samples. It gets no held-out images and no configuration.

    Raises:
        InputError: tensorboard is not installed.
    """

    latest = 0  # step of the latest metrics, also used for pictures

    def __init__(self, **settings: Any):
        try:
            super().__init__(name="", version="tensorboard", **settings)
        except ModuleNotFoundError:
            raise InputError('logger=tensorboard: tensorboard is not installed; pip install -e ".[tensorboard]"') from None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        counted, self.latest = counted_from_one(metrics, step)[0], self.latest if step is None else step + 1
        super().log_metrics(counted, self.latest)

    @rank_zero_only
    def log_image(self, key: str, images: Sequence[Image.Image], caption: Sequence[str] = ()) -> None:
        """Logs greyscale pictures, each under its caption if given."""
        for index, image in enumerate(images):
            name = f"{key}/{caption[index]}" if caption else key
            self.experiment.add_image(name, np.asarray(image), self.latest, dataformats="HW")

    @rank_zero_only
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Does nothing: config.yaml in the run's folder holds the configuration."""

    @rank_zero_only
    def save(self) -> None:
        """Flushes the events, without a second copy of the configuration."""
        self.experiment.flush()
