"""Settings that fit a signature, and those that do not."""

import pytest

from condiff.checkpoint.signatures import misfit
from condiff.data.phantom.datamodule import PhantomDataModule


def walk(denoise, x, eta: float = 0.0, interval: tuple[float, float] | None = None, mode: str = "a"):
    pass


class Base:
    def __init__(self, count: int, name: str = ""):
        pass


class Passing(Base):
    def __init__(self, extra: float, **settings):
        pass


@pytest.mark.parametrize(
    ("target", "settings", "wrong"),
    [
        (walk, {"_partial_": True, "eta": 1}, ""),
        (walk, {"_partial_": True, "interval": [0.1, 2.0]}, ""),
        (walk, {"_partial_": True, "interval": None}, ""),
        (walk, {"_partial_": True, "interval": [0.1]}, "interval"),
        (walk, {"_partial_": True, "denoise": 1}, "denoise"),  # is given later
        (walk, {"_partial_": True, "eta": True}, "eta"),
        (walk, {"_partial_": True, "mode": 1}, "mode"),
        (walk, {"_partial_": True, "other": 1}, "other"),
        (lambda **anything: None, {"other": 1}, ""),
        (Passing, {"extra": 1.0, "count": 2, "name": "x"}, ""),
        (Passing, {"extra": 1.0, "count": "x"}, "count"),  # of the class that gets the rest
        (Passing, {"other": 1.0}, "other"),
        (PhantomDataModule, {"held_out_per_contrast": "abc"}, "held_out_per_contrast"),
    ],
)
def test_first_misfit(target, settings, wrong):
    assert misfit(target, settings) == wrong
