"""The cheap part of the evaluation while training goes on."""

import math
from typing import Any

import lightning as L

from condiff import judging, sampling
from condiff.diffusion.guidance import Guidance
from condiff.diffusion.samplers import Sampler
from condiff.evaluation.images import rows
from condiff.evaluation.suite import check_patients, quick, score

CUTS = 10


class Quality(L.Callback):
    """Every few epochs, samples against the validation patients: random features, spectrum, patches.

    Logs ``quality/<contrast or pooled>/<measure>``. Stands before the averaging callback in the list, so
    that it runs while the averaged weights are in place.

    Args:
        sampler, guidance, steps: how to sample.
        num_samples: of each contrast.
        every_n_epochs: how often; 0 is never.
        seed: of the noise.
    """

    def __init__(self, sampler: Sampler, guidance: Guidance, steps: int, num_samples: int, every_n_epochs: int, seed: int = 0):
        self.how = sampler, guidance, steps
        self.num_samples, self.every_n_epochs, self.seed = num_samples, every_n_epochs, seed

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Before anything is spent: raises InputError where validation has too few patients."""
        if self.every_n_epochs > 0:
            data = trainer.datamodule
            check_patients(judging.real(data, data.val), rows(data.conditioning.contrasts, pl_module.conditional))

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        due = self.every_n_epochs > 0 and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if not due or trainer.sanity_checking or not trainer.is_global_zero:
            return
        data, system = trainer.datamodule, pl_module
        contrasts = data.conditioning.contrasts
        wanted = sampling.requested(None, contrasts, system.conditional)
        draws = sampling.plan(wanted, self.num_samples, self.seed, shared_noise=False)
        drawn = sampling.draw(system, data.conditioning, draws, data.transform.shape, *self.how)[-1]
        samples = judging.generated(data, drawn, draws)
        held_out, training = judging.real(data, data.val), judging.real(data, data.train)
        table = rows(contrasts, system.conditional)
        found, _ = score(quick(samples, held_out, training), samples, held_out, training, table, CUTS)
        for row, measures in found.items():
            for measure, values in measures.items():
                if math.isfinite(values.samples.value):  # what cannot be computed is not logged
                    pl_module.log(f"quality/{row}/{measure}", values.samples.value, rank_zero_only=True, batch_size=1)
