"""The U-Net: sizes, conditions, and independence of the images in a batch."""

import pytest
import torch

from condiff.errors import InputError
from condiff.nn import UNet
from condiff.nn.blocks import Upsample2x


def tiny(**settings):
    torch.manual_seed(0)
    net = UNet(
        **{"image_channels": 1, "cond_dim": 4, "channels": (16, 32), "blocks": (1, 1), "attention": (False, True)} | settings
    )
    for parameter in net.parameters():  # no zero layers: every path must show in the output
        torch.nn.init.normal_(parameter, std=0.1)
    return net


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("patch", "size"), [(1, (8, 14)), (2, (20, 12)), (4, (16, 24))])
def test_same_size_out_as_in(channels, patch, size):
    x = torch.randn(2, channels, *size)
    assert tiny(image_channels=channels, patch=patch)(x, torch.zeros(2), torch.zeros(2, 4)).shape == x.shape


def test_odd_size_is_refused_with_the_multiple():
    with pytest.raises(InputError, match=r"\(12, 10\).*multiples of 4"):
        tiny(patch=2)(torch.zeros(1, 1, 12, 10), torch.zeros(1))


def test_starts_at_zero():
    """Zero-initialized head: an untrained network predicts nothing, whatever it sees."""
    net = UNet(1, 4, (16, 32), (1, 1), (False, True))
    assert net(torch.randn(1, 1, 8, 8), torch.zeros(1), torch.eye(4)[:1]).abs().max() == 0


def test_sees_noise_level_and_condition():
    net, x = tiny(), torch.randn(1, 1, 8, 8)
    base = net(x, torch.zeros(1), torch.zeros(1, 4))
    assert not torch.allclose(net(x, torch.ones(1), torch.zeros(1, 4)), base)
    assert not torch.allclose(net(x, torch.zeros(1), torch.eye(4)[:1]), base)
    assert torch.equal(net(x, torch.zeros(1), None), base)  # nothing known is the zero vector


def test_images_do_not_see_each_other():
    net, x = tiny(), torch.randn(3, 1, 8, 8)
    noise, cond = torch.tensor([0.0, 0.5, 1.0]), torch.eye(4)[:3]
    torch.testing.assert_close(net(x, noise, cond)[1:2], net(x[1:2], noise[1:2], cond[1:2]), rtol=1e-5, atol=1e-6)


def test_every_parameter_learns():
    net = tiny()
    net(torch.randn(2, 1, 8, 8), torch.randn(2), torch.randn(2, 4)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_unequal_lists_are_refused():
    with pytest.raises(InputError, match=r"^channels=\(16, 32\), blocks=.*: give one entry per level"):
        UNet(1, 4, (16, 32), (1,), (False, True))


def test_the_equal_network_of_the_benchmark_is_equal():
    """To diffusers' in parameters and operations, within 5 %."""
    pytest.importorskip("diffusers")
    from benchmarks import networks

    (ours, our_flops), (theirs, their_flops) = (networks.size_of(name, 160, 1) for name in ("equal", "diffusers"))
    assert ours == pytest.approx(theirs, rel=0.05) and our_flops == pytest.approx(their_flops, rel=0.05)


FIELDS = {"cond_dim": 5, "fields": (4, 1), "attention": (False, True)}


def test_fields_are_tokens():
    """The network depends on each field by itself; unknown is the zero vector; without fields nothing attends to a token."""
    net, x = tiny(**FIELDS), torch.randn(1, 1, 8, 8)
    nothing = net(x, torch.zeros(1), None)
    assert torch.equal(nothing, net(x, torch.zeros(1), torch.zeros(1, 5)))
    contrast, position = torch.eye(5)[[1]], torch.eye(5)[[4]]
    for cond in (contrast, position, contrast + position):
        assert not torch.allclose(net(x, torch.zeros(1), cond), nothing)
    assert net.tokens(x, contrast).shape == (1, 3, 64)
    assert torch.equal(net.tokens(x, contrast)[:, 1:], net.tokens(x, None)[:, 1:])
    assert net.cond is None and tiny().tokens is None


def test_cross_attention_is_attention():
    """Against softmax(q k / sqrt(d)) v written out, one head at a time."""
    from condiff.nn.blocks import CrossAttention

    torch.manual_seed(0)
    layer, x, tokens = CrossAttention(64, 16), torch.randn(2, 64, 3, 4), torch.randn(2, 5, 16)
    torch.nn.init.normal_(layer.out.weight)
    q = layer.q(layer.norm(x)).flatten(2)
    k, v = layer.kv(tokens).chunk(2, dim=-1)
    heads = []
    for head in (slice(0, 32), slice(32, 64)):
        weights = torch.softmax(torch.einsum("bcp,btc->bpt", q[:, head], k[..., head]) / 32**0.5, dim=-1)
        heads.append(torch.einsum("bpt,btc->bcp", weights, v[..., head]))
    expected = x + layer.out(torch.cat(heads, dim=1).view(2, 64, 3, 4))
    torch.testing.assert_close(layer(x, tokens), expected, rtol=1e-4, atol=1e-5)


def test_every_parameter_learns_with_fields():
    net = tiny(**FIELDS)
    net(torch.randn(2, 1, 8, 8), torch.randn(2), torch.randn(2, 5)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_doubling_is_torchs_own_with_its_gradient():
    ours, theirs = (torch.randn(2, 3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) for _ in range(2))
    ours.requires_grad_(), theirs.requires_grad_()
    weight = torch.randn(2, 3, 10, 8, dtype=torch.float64)
    one, other = Upsample2x()(ours), torch.nn.functional.interpolate(theirs, scale_factor=2, mode="nearest")
    assert torch.equal(one, other)
    (weight * one).sum().backward(), (weight * other).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 160])
def test_default_network_compiles(size):
    """At the sizes that people train at, forward and backward."""
    net = UNet(1, 4, (32, 64, 128), (1, 1, 1), (False, False, False), patch=2)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    x, t, cond = torch.randn(4, 1, size, size), torch.full((4,), 0.5), torch.eye(4)
    found = []
    for run in (net, torch.compile(net)):
        net.zero_grad()
        run(x, t, cond).square().mean().backward()
        found.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    torch.testing.assert_close(*found, rtol=1e-2, atol=1e-3 * found[0].abs().max().item())
