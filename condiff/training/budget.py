"""Choice of the length of a run where time is short."""

import logging

from condiff.training.step_time import StepTimer

log = logging.getLogger(__name__)


def shortened(timer: StepTimer, precision: str, steps_per_epoch: int, minutes: float, number: int) -> tuple[int, int]:
    """Returns the number of epochs, and the steps of each: fewer than ``steps_per_epoch`` if all take more than ``minutes``.

    It is decided before the run begins, so that the learning rate falls to 0 at its end. Several processes train for all steps,
    because they must agree.
    """
    if timer.processes > 1:
        return number, steps_per_epoch
    seconds = timer.seconds([precision])[precision]
    steps = max(1, min(steps_per_epoch, int(60 * minutes / seconds / number)))
    if steps < steps_per_epoch:
        log.info(
            "trains for %d of %d steps, to end within %g minutes: one takes %.3g s here; trainer.max_epochs=%d for all",
            number * steps, number * steps_per_epoch, minutes, seconds, number,
        )  # fmt: skip
    return number, steps
