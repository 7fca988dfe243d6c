"""The precision of a diffusion model: half inside the network, float32 outside."""

from functools import partial

import pytest
import torch
from torch import nn

from condiff.diffusion import Denoiser
from condiff.diffusion.guidance import autoguidance, compose, decorate_bound_models
from condiff.diffusion.model import DiffusionModel
from condiff.diffusion.schedules import Karras
from condiff.errors import InputError
from condiff.nn import Pixels

X, SIGMA = torch.randn(2, 1, 4, 4), torch.tensor(0.5)


class Network(nn.Module):
    """A convolution that records the type of its results."""

    def __init__(self):
        super().__init__()
        self.conv, self.types = nn.Conv2d(1, 1, 3, padding=1), []

    def forward(self, x, c_noise, cond):
        result = self.conv(x)
        self.types.append(result.dtype)
        return result


@pytest.fixture
def model():
    return DiffusionModel(Denoiser(Network()), Karras(), Pixels(), conditional=True).requires_grad_(False)


@pytest.mark.parametrize(
    ("precision", "inside"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16), ("16-mixed", torch.float16)]
)
def test_precision(model, precision, inside):
    half = model.in_precision(precision)
    x0 = half(X, SIGMA)
    assert model.denoiser.net.types == [inside] and x0.dtype == torch.float32
    assert half.denoiser is model.denoiser and all(weight.dtype == torch.float32 for weight in half.parameters())
    torch.testing.assert_close(x0, model(X, SIGMA), rtol=0, atol=0 if inside == torch.float32 else 2e-2)
    assert model.denoiser.net.types[-1] == torch.float32  # the model itself is as before


def test_a_given_precision_holds_inside_another(model):
    """That of a trainer, while it draws samples."""
    with torch.autocast("cpu", torch.bfloat16):
        model(X, SIGMA)
    assert model.denoiser.net.types == [torch.bfloat16]


def test_guiding_models_too(model):
    guidance = compose(partial(autoguidance, weaker=model, scale=2.0))
    half = decorate_bound_models(guidance, lambda weaker: weaker.in_precision("bf16-mixed"))
    half(model)(X, SIGMA, None)
    assert model.denoiser.net.types == [torch.float32, torch.bfloat16]


def test_unknown_precision(model):
    with pytest.raises(InputError, match="precision=64-true: give 32-true, bf16-mixed, 16-mixed"):
        model.in_precision("64-true")
