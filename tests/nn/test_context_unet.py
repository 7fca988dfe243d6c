"""The MNIST ancestor's network, pinned by its parameter counts."""

import pytest
import torch

from condiff.errors import InputError
from condiff.nn import ContextUNet


@pytest.mark.parametrize(
    ("features", "classes", "expected"),
    [(128, 10, 6_585_601), (256, 10, 26_311_169), (64, 10, 1_650_305), (128, 4, 6_583_297), (64, 4, 1_649_153)],
)
def test_number_of_parameters(features, classes, expected):
    with torch.device("meta"):
        net = ContextUNet(1, classes, features)
    assert sum(parameter.numel() for parameter in net.parameters()) == expected


def test_parameters_of_its_parts():
    net = ContextUNet(1, 10, 128)
    parts = {
        "down1": 295_680, "down2": 886_272, "time1": 66_304, "time2": 16_768, "cond1": 68_608, "cond2": 17_920,
        "up0": 3_212_032, "up1": 853_632, "up2": 722_560, "head": 296_449,
    }  # fmt: skip
    for name, expected in parts.items():
        assert sum(parameter.numel() for parameter in getattr(net, name).parameters()) == expected, name


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("size", [(28, 28), (32, 32), (64, 44), (16, 100)])
def test_any_size(channels, size):
    x = torch.randn(2, channels, *size)
    assert ContextUNet(channels, 4, 16)(x, torch.zeros(2), torch.eye(4)[:2]).shape == x.shape


def test_odd_size_is_refused():
    with pytest.raises(InputError, match=r"\(30, 28\).*multiples of 4"):
        ContextUNet(1, 4, 16)(torch.zeros(1, 1, 30, 28), torch.zeros(1))


def test_the_whole_image_is_one_window_for_mnist():
    """At 28 x 28 its bottleneck is a single vector: a change in one corner reaches the other through it alone."""
    torch.manual_seed(0)
    net = ContextUNet(1, 10, 16).eval()
    pooled = []
    net.up0.register_forward_pre_hook(lambda _, arguments: pooled.append(arguments[0].shape))
    net(torch.randn(1, 1, 28, 28), torch.zeros(1), torch.eye(10)[:1])
    net(torch.randn(1, 1, 64, 64), torch.zeros(1), torch.eye(10)[:1])
    assert pooled == [(1, 32, 1, 1), (1, 32, 3, 3)]


def test_sees_noise_level_and_condition_as_it_is():
    """No condition is the zero vector, and each contrast differs from it and from its negative."""
    torch.manual_seed(0)
    net, x = ContextUNet(1, 4, 16).eval(), torch.randn(1, 1, 28, 28)
    nothing = net(x, torch.zeros(1), None)
    assert torch.equal(nothing, net(x, torch.zeros(1), torch.zeros(1, 4)))
    first = torch.eye(4)[:1]
    assert not torch.allclose(net(x, torch.zeros(1), first), nothing)
    assert not torch.allclose(net(x, torch.zeros(1), first), net(x, torch.zeros(1), -first))
    assert not torch.allclose(net(x, torch.ones(1), None), nothing)
