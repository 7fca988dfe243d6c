"""What to sample: which contrasts, with which seeds and parameters."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from condiff.data.conditioning import NOTHING, Known
from condiff.errors import InputError

ANY = "any"  # asks for no contrast
MOVING = 3  # samples of each contrast in an animation


@dataclass(frozen=True)
class Draw:
    """One image to draw: its contrast (None: any), its seed, what else is known, and whether its states are recorded."""

    contrast: str | None
    seed: int
    known: Known = field(default_factory=dict)
    extrapolate: bool = False
    watched: bool = False

    @property
    def label(self) -> str:
        return self.contrast or "any"


def plan(
    contrasts: Sequence[str | None],
    num_samples: int,
    seed: int,
    shared_noise: bool,
    known: Known = NOTHING,
    extrapolate: bool = False,
    watched: int = 0,
) -> list[Draw]:
    """``num_samples`` draws of each contrast with seeds that count up from ``seed``.

    The states of the first ``watched`` of each are recorded.

    With ``shared_noise`` every contrast has the same seeds: one noise path seen in all contrasts.

    Raises:
        InputError: fewer than one.
    """
    if num_samples < 1:
        raise InputError(f"num_samples={num_samples}: ask for at least one of each contrast")
    stride = 0 if shared_noise else num_samples
    return [
        Draw(c, seed + k * stride + i, known, extrapolate, i < watched)
        for k, c in enumerate(contrasts)
        for i in range(num_samples)
    ]


def requested(contrast: str | Sequence[str] | None, known: Sequence[str], conditional: bool) -> list[str | None]:
    """The contrasts asked for, all of those known where none is. Raises InputError for what the model cannot do."""
    if contrast is None:
        return list(known) if conditional else [None]
    wanted: list[str | None] = [contrast] if isinstance(contrast, str) else list(contrast)
    if not conditional:
        raise InputError(f"contrast={contrast}: this checkpoint is unconditional; leave contrast= out")
    for name in wanted:
        if name not in (*known, ANY):
            raise InputError(f"contrast={name}: unknown to this checkpoint, which has {', '.join(known)}")
    return [None if name == ANY else name for name in wanted]
