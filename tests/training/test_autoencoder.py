"""What the autoencoder is trained on."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from condiff.data.datasets import Sample
from condiff.nn import KLAutoencoder, PatchDiscriminator, PerceptualDistance
from condiff.training import AutoencoderSystem
from condiff.training.lr_schedules import constant

WEIGHTS = {"kl": 0.1, "perceptual": 0.5, "adversarial": 0.2}


@pytest.fixture
def system():
    torch.manual_seed(0)
    codec, critic = KLAutoencoder(1, 2, (8, 8), blocks=1), PatchDiscriminator(1, (8, 16))
    made = AutoencoderSystem(codec, partial(torch.optim.SGD, lr=0.1), constant, PerceptualDistance(1), critic, WEIGHTS)
    made.log = made.log_dict = lambda *_, **__: None
    made._trainer = SimpleNamespace(
        fit_loop=SimpleNamespace(total_batch_idx=0), estimated_stepping_batches=10, global_step=0, global_rank=0
    )
    return made


def batch():
    generator = torch.Generator().manual_seed(1)
    return Sample(torch.randn(4, 1, 16, 16, generator=generator), torch.zeros(4, 0))


def gradients(system, step):
    system.trainer.global_step = step
    system.zero_grad()
    found = system.training_step(batch(), 0)
    found["loss"].backward()
    return found, [p.grad.clone() for p in system.codec.parameters()], [p.grad.clone() for p in system.discriminator.parameters()]


def test_divergence_is_torchs_own(system):
    """With nothing but the KL term left, the loss is that of torch.distributions."""
    images = batch().image
    mean, log_variance = system.codec.moments(images)
    exact = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).flatten(1).mean(dim=1)
    system.weights["kl"] = 0.0
    without = system.training_step(batch(), 0)["losses"]
    system.weights["kl"] = 1.0
    torch.testing.assert_close(system.training_step(batch(), 0)["losses"] - without, exact, rtol=1e-4, atol=1e-5)


def test_each_of_two_players_sees_the_other_as_a_constant(system):
    """Before the warmup is over the critic learns and the codec does not hear of it; then it does; the critic learns the same."""
    early, codec, critic = gradients(system, 4)
    late, heard, same = gradients(system, 5)
    assert any(g.abs().max() > 0 for g in critic)
    assert all(torch.equal(a, b) for a, b in zip(critic, same, strict=True))
    assert any(not torch.allclose(a, b) for a, b in zip(codec, heard, strict=True))
    system.weights["adversarial"] = 0.0
    silent, deaf, _ = gradients(system, 5)
    assert all(torch.equal(a, b) for a, b in zip(codec, deaf, strict=True))
    assert torch.equal(early["losses"], silent["losses"]) and not torch.equal(early["losses"], late["losses"])


def test_pull_of_the_critic_is_a_share_of_the_distances(system):
    """Whatever its scale: at the image the two gradients' norms are as the weight says."""
    images, pulled = batch().image, []
    made = torch.randn_like(images).requires_grad_()
    system.trainer.global_step = 5
    for scale in (1.0, 1000.0):
        with torch.no_grad():
            for parameter in system.discriminator.layers[-1].parameters():
                parameter *= scale
        distance = system._distance(made, images).mean()
        (pull,) = torch.autograd.grad(system._adversarial(system.discriminator, images, made, distance), made)
        (own,) = torch.autograd.grad(system._distance(made, images).mean(), made)
        torch.testing.assert_close(pull.norm(), 0.2 * own.norm())
        pulled.append(pull)
    torch.testing.assert_close(*pulled)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_pull_of_the_critic_in_half_precision(system, dtype):
    """The same share, of large batches too, where gradients of means are below what half precision can tell from 0."""
    system.trainer.global_step = 5
    images = torch.randn(16, 1, 128, 128)
    made = torch.randn_like(images).to(dtype).requires_grad_()
    system.weights["perceptual"] = 0.0
    with torch.autocast("cpu", dtype):
        distance = system._distance(made, images.to(dtype)).mean()
        loss = system._adversarial(system.discriminator, images.to(dtype), made, distance)
    (pull,) = torch.autograd.grad(1024 * loss, made)
    exact = 0.2 * 1024 / made.numel() ** 0.5  # absolute error pulls at all alike
    assert pull.float().norm().item() == pytest.approx(exact, rel=0.02)


def test_each_players_gradient_is_limited_by_itself(system):
    for size, player in ((1e-4, system.codec), (1e4, system.discriminator)):
        for parameter in player.parameters():
            parameter.grad = torch.full_like(parameter, size)
    system.configure_gradient_clipping(None, 1.0, "norm")
    assert all((parameter.grad == 1e-4).all() for parameter in system.codec.parameters())
    norms = torch.stack([parameter.grad.norm() for parameter in system.discriminator.parameters()])
    assert norms.norm().item() == pytest.approx(1.0, rel=1e-3)
    system.discriminator = None
    system.configure_gradient_clipping(None, None, None)


def test_without_a_critic(system):
    system.trainer.global_step = 9
    system.discriminator = None
    found = system.training_step(batch(), 0)
    torch.testing.assert_close(found["loss"], found["losses"].mean())


def test_crops_are_of_the_images_and_everywhere(system):
    """Images whose pixels tell where they are: squares of the side asked for, from all over; of small images all."""
    system.crop, seen = 5, set()
    place = torch.arange(8 * 12.0).view(1, 1, 8, 12).expand(2, 1, 8, 12)
    for seed in range(200):
        some = system._random_crop(place, torch.Generator().manual_seed(seed))
        assert some.shape == (2, 1, 5, 5) and torch.equal(some[0], some[1])
        assert some[0, 0, 1, 0] - some[0, 0, 0, 0] == 12 and some[0, 0, 0, 1] - some[0, 0, 0, 0] == 1
        seen.add(int(some[0, 0, 0, 0]))
    assert seen == {12 * row + col for row in range(4) for col in range(8)}
    system.crop = 100
    assert torch.equal(system._random_crop(place, torch.Generator()), place)
