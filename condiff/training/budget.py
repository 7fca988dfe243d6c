"""Choice of the length of a run where time is short."""

import logging

from condiff.training.step_time import StepTimer

log = logging.getLogger(__name__)


def shortened(timer: StepTimer, precision: str, steps_per_epoch: int, minutes: float, at_most: int) -> tuple[int, int]:
    """Returns ``at_most`` epochs, and the steps of each: fewer than ``steps_per_epoch`` if those take more than ``minutes``.

    It is decided before the run begins, so that the learning rate falls to 0 at its end. Several processes train for all steps,
    because they must agree.
    """
    if timer.processes > 1:
        return at_most, steps_per_epoch
    seconds = timer.seconds([precision])[precision]
    steps = max(1, min(steps_per_epoch, int(60 * minutes / seconds / at_most)))
    if steps < steps_per_epoch:
        log.info(
            "trains for %d of %d steps, to end within %g minutes: one takes %.2g s here; trainer.max_epochs=%d for all",
            at_most * steps, at_most * steps_per_epoch, minutes, seconds, at_most,
        )  # fmt: skip
    return at_most, steps
