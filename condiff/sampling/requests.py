"""Requests of samples: contrasts, seeds and acquisition parameters."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from condiff.data.conditioning import NOTHING, Known
from condiff.errors import InputError, check_whole

ANY = "any"  # no contrast in the condition
ANIMATED = 3  # samples per contrast in an animation


@dataclass(frozen=True)
class SampleRequest:
    """One image to draw.

    Attributes:
        contrast: None: any.
        seed: of the noise; the image does not depend on the rest of the batch.
        parameters: known acquisition parameters.
        extrapolate: whether these may lie outside the range of the training images.
        record: whether to record the states from noise to image.
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
    """Returns ``num_samples`` requests per contrast, with seeds that count up from ``seed``.

    Args:
        shared_noise: whether all contrasts have the same seeds, and so the same noise.
        record: number of requests per contrast, the first ones, whose states are recorded.

    Raises:
        InputError: ``num_samples`` is less than one.
    """
    check_whole("num_samples", num_samples)
    check_whole("seed", seed, at_least=None)
    stride = 0 if shared_noise else num_samples
    return [
        SampleRequest(contrast, seed + k * stride + i, parameters, extrapolate, i < record)
        for k, contrast in enumerate(contrasts)
        for i in range(num_samples)
    ]


def resolve_contrasts(
    contrast: str | Sequence[str] | None, available: Sequence[str], conditional: bool, argument: str = "contrast"
) -> list[str | None]:
    """Returns the contrasts to draw, by default all available ones.

    Raises:
        InputError: an unknown contrast; the message names the ``argument``.
    """
    if contrast is None:
        return list(available) if conditional else [None]
    names = list(contrast) if isinstance(contrast, Sequence) and not isinstance(contrast, str) else [contrast]
    if not conditional:
        raise InputError(f"{argument}={contrast}: this model is unconditional; leave {argument} out")
    for name in names:
        if name not in (*available, ANY):
            raise InputError(f"{argument}={name}: unknown to this model, which has {', '.join(available)}")
    return [None if name == ANY else name for name in names]
