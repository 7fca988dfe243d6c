"""Choice of the length of a run where time is short."""

import logging

from condiff.training.step_time import StepTimer

log = logging.getLogger(__name__)


def epochs_in(timer: StepTimer, precision: str, steps_per_epoch: int, minutes: float, at_most: int) -> int:
    """Returns the number of epochs that fit into some minutes of training, from 1 to ``at_most``.

    It is decided before the run begins, so that the learning rate falls to 0 at its end. Several processes train for all epochs,
    because they must agree.
    """
    if timer.processes > 1:
        return at_most
    seconds = timer.seconds([precision])[precision] * steps_per_epoch
    epochs = max(1, min(at_most, int(60 * minutes / seconds)))
    if epochs < at_most:
        log.info(
            "trains for %d of %d epochs, to end within %g minutes: one takes %.0f s here; trainer.max_epochs=%d for all",
            epochs, at_most, minutes, seconds, at_most,
        )  # fmt: skip
    return epochs
