"""Muon: the orthogonal update, which parameters take it, and a step in numbers."""

import pytest
import torch
from torch import nn

from condiff.checkpoint import Checkpoint
from condiff.nn import UNet
from condiff.training.optimizers import COEFFICIENTS, ITERATIONS, MuonAdamW, is_matrix, orthogonalize
from tests.conftest import TINY_RUN


def plain_iteration(matrix):
    """X <- a X + b (X X^T) X + c (X X^T)^2 X, as Jordan et al. 2024 write it."""
    a, b, c = COEFFICIENTS
    x = matrix / matrix.norm()
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + b * gram @ x + c * gram @ gram @ x
    return x


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (24, 24)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_orthogonalized_matrix(shape, scale):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    result = orthogonalize(torch.stack([matrix.flip(0), scale * matrix]))[1]
    torch.testing.assert_close(result, plain_iteration(matrix), rtol=1e-4, atol=1e-4)
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    singular = torch.einsum("ij,ik,kj->j", u, result, v.mH.conj())
    assert result.shape == matrix.shape and (u * singular @ v - result).norm() < 1e-6 * result.norm()  # the same vectors
    large = values > 0.02 * matrix.norm()  # smaller ones need more iterations
    assert 0.6 < singular[large].min() and singular.max() < 1.25
    (single,) = orthogonalize((scale * matrix).float()[None])
    torch.testing.assert_close(single.double(), result, rtol=0, atol=1e-3)


def test_zero_gradient():
    assert orthogonalize(torch.zeros(1, 16, 20)).eq(0).all()


def test_which_parameters():
    """Nearly all numbers of the default network are in matrices; what meets images and conditions is not."""
    net = UNet(image_channels=1, cond_dim=4, channels=(32, 64, 128), blocks=(1, 1, 1), attention=(False,) * 3, patch=2)
    matrices = {name for name, parameter in net.named_parameters() if is_matrix(parameter)}
    assert {"head.2.weight", "cond.weight"}.isdisjoint(matrices) and not any(name.endswith("bias") for name in matrices)
    sizes = {name: parameter.numel() for name, parameter in net.named_parameters()}
    assert sum(sizes[name] for name in matrices) > 0.98 * sum(sizes.values())
    assert not is_matrix(torch.zeros(15, 99)) and not is_matrix(torch.zeros(99, 15)) and is_matrix(torch.zeros(16, 2, 3, 3))


def test_steps_in_numbers():
    """The matrix goes along the momentum with Nesterov's look-ahead; the bias as AdamW alone takes it."""
    generator = torch.Generator().manual_seed(2)
    weight, bias = nn.Parameter(torch.randn(32, 16, generator=generator)), nn.Parameter(torch.randn(32, generator=generator))
    twin = nn.Parameter(bias.detach().clone())
    settings = {"betas": (0.9, 0.99), "weight_decay": 0.1}
    optimizer = MuonAdamW([weight, bias], lr=0.1, adamw_share=0.5, momentum=0.8, **settings)
    reference = torch.optim.AdamW([twin], lr=0.05, **settings)
    expected, average = weight.detach().clone(), torch.zeros(32, 16)
    for _ in range(3):
        weight.grad, bias.grad = torch.randn(32, 16, generator=generator), torch.randn(32, generator=generator)
        twin.grad = bias.grad.clone()
        average = 0.8 * average + 0.2 * weight.grad
        expected = expected - 0.1 * 2**0.5 * plain_iteration((0.2 * weight.grad + 0.8 * average).T).T
        optimizer.step()
        reference.step()
    torch.testing.assert_close(weight.detach(), expected, rtol=0, atol=1e-4)
    assert torch.equal(bias, twin)


def test_each_matrix_is_its_own():
    """Two of one shape, one without a gradient, and memory in channels-last order: the updates of each alone."""
    generator = torch.Generator().manual_seed(3)
    values = [torch.randn(16, 4, 3, 3, generator=generator) for _ in range(3)]
    gradients = [torch.randn(16, 4, 3, 3, generator=generator) for _ in range(2)]

    def updated(weights):
        for weight, gradient in zip(weights, gradients, strict=False):
            weight.grad = gradient.clone()
        MuonAdamW(weights, lr=0.1).step()
        return [weight.detach() for weight in weights]

    alone = [updated([nn.Parameter(value.clone())])[0] for value in values[:1]]
    together = updated([nn.Parameter(value.clone().to(memory_format=torch.channels_last)) for value in values])
    torch.testing.assert_close(together[0], alone[0], rtol=0, atol=1e-5)
    assert not torch.allclose(together[1], values[1], atol=1e-3) and torch.equal(together[2], values[2])


@pytest.mark.parametrize("fused", [False, True])
def test_a_run_is_continued_from_its_state(fused):
    def made():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(16, 32), nn.Linear(32, 1))
        return net, MuonAdamW(net.parameters(), fused=fused)

    def steps(net, optimizer, n):
        for _ in range(n):
            net(torch.ones(4, 16)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

    (whole, optimizer), (first, half) = made(), made()
    steps(whole, optimizer, 4)
    steps(first, half, 2)
    second, rest = made()
    second.load_state_dict(first.state_dict())
    rest.load_state_dict(half.state_dict())
    steps(second, rest, 2)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize(("words", "rates"), [([], [0.003, 0.02]), (["model.optimizer=adamw"], [0.006])])
def test_train(words, rates, run_entry, tmp_path):
    """The checkpoint loads, and the run is resumed with the state of both optimizers."""
    run_entry("train.py", *TINY_RUN, "net.channels=[16,16]", "trainer.max_epochs=1", *words)
    ckpt = tmp_path / "runs/now/checkpoints/last.ckpt"
    groups = Checkpoint.read(ckpt).content["optimizer_states"][0]["param_groups"]
    assert [group["initial_lr"] for group in groups] == pytest.approx(rates)
    content = torch.load(ckpt, weights_only=True)  # as of a version with other defaults: optimizer, number of patients
    settings, old = content["hyper_parameters"], ("model", "data.volumes_per_contrast")
    settings["overrides"] = [word for word in settings["overrides"] if not word.startswith(old)]
    torch.save(content, ckpt)
    run_entry("train.py", f"resume={ckpt}", "trainer.max_epochs=2", "hydra.run.dir=runs/on")
    resumed = Checkpoint.read(tmp_path / "runs/on/checkpoints/last.ckpt")
    assert resumed.content["global_step"] == 6 and resumed.config["data"]["volumes_per_contrast"] == 1
    assert resumed.config["model"]["optimizer"] == settings["model"]["optimizer"]
    assert Checkpoint.read(ckpt).model()


@pytest.mark.parametrize(
    ("group", "name", "value", "message"),
    [
        ("model", "optimizer", "AdamW", "describes no optimizer"),
        ("model", "optimizer", {"_target_": "os.system", "_partial_": True}, "names os.system for optimizer"),
        ("data", "volumes_per_contrast", -5, "data.volumes_per_contrast=-5: give a whole number"),
        ("data", "phantom", None, "describes no phantom"),
    ],
)
def test_settings_of_an_edited_checkpoint_are_refused(group, name, value, message, trained_once, run_entry, tmp_path, capsys):
    content = torch.load(trained_once / "checkpoints/last.ckpt", weights_only=True)
    settings = content["hyper_parameters"]
    settings[group][name], settings["overrides"] = value, [word for word in settings["overrides"] if word.startswith("net")]
    torch.save(content, tmp_path / "edited.ckpt")
    with pytest.raises(SystemExit):
        run_entry("train.py", "resume=edited.ckpt", "hydra.run.dir=runs/on")
    assert message in capsys.readouterr().err.replace("\n", "")
