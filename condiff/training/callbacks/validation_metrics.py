"""Training-free metrics of the evaluation, during training."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch

from condiff.data.datamodule import MRIDataModule
from condiff.diffusion.guidance import Guidance
from condiff.diffusion.model import DiffusionModel
from condiff.diffusion.samplers import Sampler
from condiff.evaluation import inputs
from condiff.evaluation.evaluate import check_patients, score_contrast, training_free_metrics
from condiff.evaluation.sets import ImageSet, ImageSets
from condiff.sampling import Sampling, make_requests, resolve_contrasts, sample
from condiff.training.callbacks.ema import averaged_weights
from condiff.training.callbacks.optional import optional

NUM_SPLITS = 10
TRAINING = 512  # images, which the features are standardised by
VALIDATION = 1024  # kept in memory, as the former are
log = logging.getLogger(__name__)


class ValidationMetrics(L.Callback):
    """Compares samples with validation patients every few epochs and at the last: random features, spectrum, patches.

    Logs ``quality/<contrast or pooled>/<measure>`` of samples drawn by the averaged weights.

    Args:
        sampler, guidance, steps: of sampling.
        num_samples: per contrast.
        every_n_epochs: 0: never.
        batch_size: samples drawn at once.
        seed: of the noise.
    """

    def __init__(
        self,
        sampler: Sampler,
        guidance: Guidance,
        steps: int,
        num_samples: int,
        every_n_epochs: int,
        batch_size: int,
        seed: int = 0,
    ):
        self.how = Sampling(sampler, guidance, steps, batch_size)
        self.num_samples, self.every_n_epochs, self.seed = num_samples, every_n_epochs, seed
        self._real: tuple[ImageSet, ImageSet] | None = None  # of validation and training

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Loads the real images. Raises InputError if validation has too few patients."""
        if self.every_n_epochs > 0 and trainer.is_global_zero:
            data = trainer.datamodule
            self._real = (
                inputs.real_images(data.spec, data.val, max_images=VALIDATION),
                inputs.real_images(data.spec, data.train, max_images=TRAINING),
            )
            check_patients(self._real[0], data.spec.contrasts if pl_module.model.conditional else [])

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        epoch, last = trainer.current_epoch + 1, trainer.current_epoch + 1 == trainer.max_epochs
        due = self.every_n_epochs > 0 and (last or epoch % self.every_n_epochs == 0)
        if due and trainer.is_global_zero and not trainer.sanity_checking:
            with optional("quality", trainer.global_step), averaged_weights(trainer, pl_module):
                for name, value in self._measure(trainer.datamodule, pl_module.model).items():
                    pl_module.log(name, value, rank_zero_only=True, batch_size=1)

    def _measure(self, data: MRIDataModule, model: DiffusionModel) -> dict[str, float]:
        """Returns the finite metrics by name."""
        contrasts = data.spec.contrasts
        names = resolve_contrasts(None, contrasts, model.conditional)
        requests = make_requests(names, self.num_samples, self.seed)
        with data.trainer.precision_plugin.forward_context():  # type: ignore[union-attr]
            drawn = torch.cat(sample(model, data.spec, requests, self.how))
        assert self._real is not None, "read when training begins"
        sets = ImageSets(inputs.generated_images(data.spec, drawn, requests), *self._real, contrasts, model.conditional)
        metrics = training_free_metrics(sets)
        row_scores = {row: score_contrast(metrics, sets, contrast, NUM_SPLITS)[0] for row, contrast in sets.rows.items()}
        return finite(
            {f"quality/{row}/{name}": s.samples.value for row, scores in row_scores.items() for name, s in scores.items()}
        )


def finite(values: Mapping[str, float]) -> dict[str, float]:
    """Returns the values that are finite; logs the names of the others."""
    missing = [name for name, value in values.items() if not math.isfinite(value)]
    if missing:
        log.warning("not logged, because it is not finite: %s", ", ".join(missing))
    return {name: value for name, value in values.items() if name not in missing}
