"""What to sample: which contrasts, with which seeds and parameters."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from condiff.data.conditioning import NOTHING, Known
from condiff.errors import InputError

ANY = "any"  # asks for no contrast
ANIMATED = 3  # samples of each contrast in an animation


@dataclass(frozen=True)
class SampleRequest:
    """One image to draw.

    Attributes:
        contrast: None is any.
        seed: of its noise; the image depends on nothing else of the batch.
        known: acquisition parameters.
        extrapolate: whether these may lie outside the range of the training images.
        record: whether its states on the way are kept.
    """

    contrast: str | None
    seed: int
    parameters: Known = field(default_factory=dict)
    extrapolate: bool = False
    record: bool = False

    @property
    def label(self) -> str:
        """The contrast, or "any"."""
        return self.contrast or ANY


def make_requests(
    contrasts: Sequence[str | None],
    num_samples: int,
    seed: int,
    shared_noise: bool = False,
    parameters: Known = NOTHING,
    extrapolate: bool = False,
    record: int = 0,
) -> list[SampleRequest]:
    """``num_samples`` requests of each contrast with seeds that count up from ``seed``.

    Args:
        shared_noise: whether every contrast has the same seeds: the same noise, seen in all contrasts.
        record: of how many of each contrast the states are kept, the first ones.

    Raises:
        InputError: fewer than one.
    """
    if num_samples < 1:
        raise InputError(f"num_samples={num_samples}: ask for at least one of each contrast")
    stride = 0 if shared_noise else num_samples
    return [
        SampleRequest(contrast, seed + k * stride + i, parameters, extrapolate, i < record)
        for k, contrast in enumerate(contrasts)
        for i in range(num_samples)
    ]


def resolve_contrasts(contrast: str | Sequence[str] | None, available: Sequence[str], conditional: bool) -> list[str | None]:
    """The contrasts to draw; all that are known by default. Raises InputError for what the model cannot do."""
    if contrast is None:
        return list(available) if conditional else [None]
    names = [contrast] if isinstance(contrast, str) else list(contrast)
    if not conditional:
        raise InputError(f"contrast={contrast}: this checkpoint is unconditional; leave contrast= out")
    for name in names:
        if name not in (*available, ANY):
            raise InputError(f"contrast={name}: unknown to this checkpoint, which has {', '.join(available)}")
    return [None if name == ANY else name for name in names]
