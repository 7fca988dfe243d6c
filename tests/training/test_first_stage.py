"""Latent diffusion: both stages through the entry points, and by a codec whose posterior is known."""

import csv
import math
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from condiff.checkpoint import Checkpoint
from condiff.data.augment import random_global_phase
from condiff.data.cache import CachedVolume
from condiff.data.conditioning import ContrastCondition
from condiff.data.datamodule import STATISTICS_IMAGES
from condiff.data.datasets import SliceDataset
from condiff.data.patients import STAGES, Fingerprints
from condiff.diffusion import inverse
from condiff.diffusion.guidance import identity
from condiff.diffusion.model import DiffusionModel
from condiff.diffusion.noise import SeededNoise
from condiff.diffusion.samplers import heun
from condiff.diffusion.schedules import Karras
from condiff.errors import InputError
from condiff.linear import LinearOperator
from condiff.nn import KLAutoencoder
from condiff.reconstruction.formulations import InverseProblem, in_latent_space
from condiff.sampling import Sampling, make_requests, sample_batch
from condiff.training.first_stage import augmentation_generator, cached_moments, encode_on, record_patients
from tests.conftest import ROOT, TINY_RUN, bad

CODEC = ["codec.channels=[8,8]", "codec.blocks=1", "codec.latent_channels=2"]
BARE = [word for word in TINY_RUN if not word.startswith(("callbacks.grid", "net", "hydra"))]
SMALL = [
    "net.channels=[8,8]",
    "net.blocks=[1,1]",
    "net.attention=[false,true]",
    "callbacks.grid.steps=3",
    "callbacks.grid.num_samples=1",
    "data.downsample=1",
]
DEEP = ["net.blocks=[1,1,1,1,1]", "net.attention=[false,false,false,false,false]"]
KEEP = [
    "callbacks.checkpoint.save_top_k=-1",
    "callbacks.checkpoint.filename='at-{step}'",
    "+callbacks.checkpoint.auto_insert_metric_name=false",
]
CPU = "accelerator=cpu"


class Linear(nn.Module):
    """A decoder that is a matrix [pixels, numbers]; codes are found by its pseudo-inverse."""

    def __init__(self, matrix, image):
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.image = image

    def shape(self, image):
        return 1, 1, self.matrix.shape[1]

    def encode(self, images):
        return (images.flatten(1) @ torch.linalg.pinv(self.matrix).T)[:, None, None]

    def decode(self, z, size):
        return (z.flatten(1) @ self.matrix.T).view(-1, *self.image)


class Gaussian(nn.Module):
    """The denoiser of codes that are standard normal."""

    def forward(self, x, sigma, cond=None):
        return x / (1 + sigma**2)


SPEC = SimpleNamespace(conditioning=ContrastCondition(["AXT1"]), shape=(1, 3, 4))


def test_samples_of_a_linear_codec_have_its_covariance():
    """Standard normal codes, decoded: covariance D D^T."""
    codec = Linear(torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), (1, 3, 4))

    model = DiffusionModel(Gaussian(), Karras(0.002, 40.0), codec, conditional=False)
    x = torch.cat(sample_batch(model, SPEC, make_requests([None], 4000, seed=0), Sampling(heun, identity, steps=20)))
    assert x.shape == (4000, 1, 3, 4)
    found, exact = torch.cov(x.flatten(1).T), codec.matrix @ codec.matrix.T
    assert (found - exact).abs().max() < 0.08 * exact.abs().max()
    assert x.mean(dim=0).abs().max() < 0.08 * exact.abs().max().sqrt()


def test_only_what_is_wanted_is_decoded():
    """Every sample once, and of those whose way there is wanted the states; which are the same sample's whoever is watched."""
    decoded_images = []

    class Counting(Linear):
        def decode(self, z, size):
            decoded_images.append(len(z))
            return super().decode(z, size)

    codec = Counting(torch.randn(12, 4), (1, 3, 4))
    model = DiffusionModel(Gaussian(), Karras(0.002, 40.0), codec, conditional=False)

    def made(watched, steps=30):
        decoded_images.clear()
        return sample_batch(model, SPEC, make_requests([None], 5, 0, record=watched), Sampling(heun, identity, steps))

    plain = made(0)
    assert sum(decoded_images) == 5 and [len(way) for way in plain] == [1] * 5
    some = made(2)
    assert sum(decoded_images) == 5 + 2 * 23 and [len(way) for way in some] == [24, 24, 1, 1, 1]
    assert all(torch.equal(one[-1], other[-1]) for one, other in zip(plain, some, strict=True))
    assert [len(way) for way in made(5, steps=1)] == [2] * 5


class Rows(LinearOperator):
    """Every other pixel of [B, 1, 3, 4]."""

    def __call__(self, x):
        return x.flatten(1)[:, ::2]

    def adjoint(self, y):
        x = y.new_zeros(len(y), 12)
        x[:, ::2] = y
        return x.view(-1, 1, 3, 4)


def linear_problem(sigma_y=0.3):
    """Operator composed with a linear decoder; y of one truth; mean and covariance of p(z | y)."""
    generator = torch.Generator().manual_seed(0)
    codec = Linear(torch.randn(12, 4, generator=generator), (1, 3, 4))
    truth = torch.randn(1, 1, 1, 4, generator=generator)
    y = Rows()(codec.decode(truth, (3, 4))) + sigma_y * torch.randn(1, 6, generator=generator)
    whole = InverseProblem(Rows(), y, sigma_y, (1, 3, 4), lambda x: x[:, 0])
    problem = in_latent_space(lambda measured, slices: whole, codec)(None, [0])
    forward = codec.matrix[::2]
    covariance = torch.linalg.inv(forward.T @ forward / sigma_y**2 + torch.eye(4))
    return codec, problem, (y @ forward / sigma_y**2 @ covariance)[0], covariance


def test_the_composed_operator_has_its_adjoint():
    _, problem, *_ = linear_problem()
    z, y = torch.randn(5, 1, 1, 4), torch.randn(5, 6)
    torch.testing.assert_close((problem.A(z) * y).sum(), (z * problem.A.adjoint(y)).sum())
    assert problem.shape == (1, 1, 4)
    torch.testing.assert_close(problem.assemble(z), Linear.decode(linear_problem()[0], z, (3, 4))[:, 0])


@pytest.mark.parametrize(
    ("method", "sigmas"),
    [
        (partial(inverse.posterior, sigma_data=1.0), Karras(0.02, 1.0).steps(50)),
        pytest.param(inverse.pula, Karras(0.02, 4.0).steps(60), marks=pytest.mark.slow),
    ],
    ids=["posterior", "pula"],
)
def test_a_linear_codec_with_a_gaussian_prior_gives_the_known_posterior(method, sigmas):
    _, problem, mean, covariance = linear_problem()
    generator = torch.Generator().manual_seed(2)
    noise = lambda x: torch.randn(x.shape, generator=generator)  # noqa: E731 - a generator an image is slow
    start = sigmas[0] * noise(torch.empty(2000, *problem.shape))
    *_, z = method(Gaussian(), start, sigmas, problem, noise=noise)
    found = z.flatten(1)
    assert (found.mean(dim=0) - mean).abs().max() < 0.1 * covariance.diagonal().max().sqrt()
    assert (torch.cov(found.T) - covariance).abs().max() < 0.12 * covariance.abs().max()


def test_dps_by_way_of_a_decoder_that_is_not_linear():
    """The method goes where the data are, by the decoder's own derivative."""
    codec = SimpleNamespace(shape=lambda image: image, decode=lambda z, size: z + 0.4 * (2 * z).sin())
    truth = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = InverseProblem(lambda x: x, codec.decode(truth, None), 0.01, (1, 8, 8), lambda x: x)
    problem = in_latent_space(lambda measured, slices: whole, codec)(None, [0])
    noise, sigmas = SeededNoise([*range(4)]), Karras(0.02, 10.0).steps(300)
    *_, z = inverse.dps(Gaussian(), 10 * noise.draw(problem.shape), sigmas, problem, noise=noise)
    assert (z - truth).abs().median() < 0.05


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("latent")


@pytest.fixture
def autoencoder(run_entry, kept):
    """Trained once."""
    path = kept / "autoencoder.ckpt"
    if not path.is_file():
        run_entry("train.py", *BARE, *CODEC, "model=autoencoder_gan", "data.downsample=1", "hydra.run.dir=runs/first")
        for name in ("step-000003.png", "step-000006.png", "samples.png"):
            assert np.asarray(Image.open(f"runs/first/samples/{name}")).std() > 20
        path.write_bytes(Path("runs/first/checkpoints/last.ckpt").read_bytes())
    return path


@pytest.fixture
def latent(run_entry, kept, autoencoder):
    """The second stage, trained once; beside its checkpoint there is no autoencoder."""
    path = kept / "latent.ckpt"
    if not path.is_file():
        run_entry("train.py", *BARE, *SMALL, "model=latent", f"model.autoencoder={autoencoder}", "hydra.run.dir=runs/second")
        path.write_bytes(Path("runs/second/checkpoints/last.ckpt").read_bytes())
        (path.parent / "metrics_train.csv").write_bytes(Path("runs/second/metrics_train.csv").read_bytes())
    return path


def test_one_file_samples(latent, autoencoder, run_entry, capsys):
    """Its codec is the autoencoder's, weight for weight, but for the scale, by which codes are of unit size."""
    mine, its = (Checkpoint.read(path).codec() for path in (latent, autoencoder))
    for name, weight in its.state_dict().items():
        assert torch.equal(weight, mine.state_dict()[name]) == (name not in ("shift", "scale")), name
    data = Checkpoint.read(latent).data()
    data.setup()
    with torch.no_grad():
        generator, images = augmentation_generator(data), data.train.images()
        z = torch.cat([mine.encode(data.augment(images, generator)) for _ in range(-(-STATISTICS_IMAGES // len(images)))])
    torch.testing.assert_close(z.mean(dim=(0, 2, 3)), torch.zeros(2), rtol=0, atol=1e-3)
    torch.testing.assert_close(z.var(dim=(0, 2, 3), correction=0), torch.ones(2), rtol=1e-3, atol=0)
    run_entry("sample.py", f"ckpt={latent}", "num_samples=2", "steps=3", CPU, "out=s", "contrast=AXT2")
    with h5py.File("s/samples.h5") as file:
        images = file["images"][()]
    assert images.shape == (2, 1, 32, 32) and abs(images).max() < 100
    run_entry("sample.py", f"ckpt={latent}", "num_samples=1", "steps=3", CPU, "out=t", "contrast=AXT2", "seed=1")
    with h5py.File("t/samples.h5") as file:
        torch.testing.assert_close(torch.from_numpy(file["images"][0]), torch.from_numpy(images[1]), rtol=1e-4, atol=1e-4)
    run_entry("sample.py", f"ckpt={latent}", "init=s/samples.h5", "contrast=AXT1", "steps=3", CPU, "out=u")
    assert Path("u/translated.png").is_file()


def test_a_resumed_latent_run_equals_an_uninterrupted_one(latent, autoencoder, run_entry):
    """With what it began with gone: the codec is in the checkpoint that is gone on from."""
    gone = Path("gone.ckpt").absolute()
    gone.write_bytes(autoencoder.read_bytes())
    run_entry("train.py", *BARE, *SMALL, *KEEP, "model=latent", f"model.autoencoder={gone}", "hydra.run.dir=runs/whole")
    gone.unlink()
    run_entry("train.py", "resume=runs/whole/checkpoints/at-3.ckpt", "hydra.run.dir=runs/again")
    one, other = (torch.load(f"runs/{name}/checkpoints/last.ckpt", weights_only=True) for name in ("again", "whole"))
    for kind in ("state_dict", "current_model_state"):
        assert all(torch.equal(one[kind][name], other[kind][name]) for name in one[kind])


@pytest.mark.slow
def test_a_resumed_autoencoder_equals_an_uninterrupted_one(run_entry):
    settings = [*BARE, *CODEC, *KEEP, "model=autoencoder_gan", "data.downsample=1", "model.warmup=0.2"]
    run_entry("train.py", *settings, "hydra.run.dir=runs/whole")
    run_entry("train.py", "resume=runs/whole/checkpoints/at-3.ckpt", "hydra.run.dir=runs/again")
    one, other = (torch.load(f"runs/{name}/checkpoints/last.ckpt", weights_only=True) for name in ("again", "whole"))
    for kind in ("state_dict", "current_model_state"):
        assert all(torch.equal(one[kind][name], other[kind][name]) for name in one[kind])


@pytest.mark.parametrize("variants", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_both_stages_from_one_command(variants, run_entry, cache, capsys):
    """In a folder of any name; codes are made where they are asked for; a folder's autoencoder is used again, not another's."""
    words = [
        "model=latent",
        f"model.augmented_copies={variants}",
        "first.trainer.max_epochs=1",
        "codec.channels=[8,8]",
        f"seed={variants}",
    ]
    run, before = Path("runs/a=1,[b]"), {*cache.glob("codes-*/*.codes")}
    command = ["train.py", *BARE, *SMALL, *words, "trainer.max_epochs=1", f"hydra.run.dir='{run}'"]
    run_entry(*command)
    assert ({*cache.glob("codes-*/*.codes")} > before) == (variants > 0)
    first = torch.load(run / "autoencoder/checkpoints/last.ckpt", weights_only=True)
    assert first["hyper_parameters"]["model"]["_target_"].endswith("AutoencoderSystem")
    assert first["hyper_parameters"]["data"]["downsample"] == 1 and first["epoch"] == 0
    second = Checkpoint.read(run / "checkpoints/last.ckpt")
    assert second.codec().is_latent and second.config["augmented_copies"] == variants
    with open(run / "metrics_train.csv") as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file)]
    assert losses and all(math.isfinite(loss) for loss in losses)
    made = (run / "autoencoder/checkpoints/last.ckpt").stat().st_mtime_ns
    assert f"{run} holds a run; continue it, resume='{run.resolve()}/" in bad(capsys, run_entry, *command)
    shutil.rmtree(run / "checkpoints")
    (run / "averages/step-0000099.pt").touch()  # another run's
    run_entry(*command)
    assert (run / "autoencoder/checkpoints/last.ckpt").stat().st_mtime_ns == made  # it was there
    assert not (run / "averages/step-0000099.pt").exists() and [*(run / "averages").glob("step-*.pt")]
    shutil.rmtree(run / "checkpoints")
    run_entry(*command, "first.trainer.max_epochs=2")  # and is gone on with
    assert torch.load(run / "autoencoder/checkpoints/last.ckpt", weights_only=True)["epoch"] == 1
    if variants:
        shutil.rmtree(run / "checkpoints")
        error = bad(capsys, run_entry, *command, "codec.latent_channels=3")
        assert "was trained with codec.latent_channels=4, not 3" in error
        again = bad(capsys, run_entry, "train.py", f"resume='{run}/autoencoder/checkpoints/last.ckpt'", "trainer.max_epochs=9")
        assert "is an autoencoder, the first stage" in again


@pytest.mark.slow
def test_the_first_stage_is_its_own_whatever_the_experiment(run_entry):
    """An experiment's settings of the second stage are none of the first's; alone the first is trained by its model's name."""
    words = [*BARE, "data.downsample=1", "trainer.max_epochs=1", "first.trainer.max_epochs=1", *CODEC]
    run_entry(
        "train.py", "experiment=ho_ddpm", "model=latent", *words, "net=unet_latent", *SMALL, "clamp=none", "hydra.run.dir=runs/ho"
    )
    first = torch.load("runs/ho/autoencoder/checkpoints/last.ckpt", weights_only=True)["hyper_parameters"]
    assert first["model"]["optimizer"]["lr"] == 2e-3 and first["averaging"]["_target_"].endswith("constant")
    alone = [*BARE, *CODEC, "experiment=latent_phantom", "model=autoencoder", "trainer.max_epochs=1", "hydra.run.dir=runs/alone"]
    run_entry("train.py", *alone)
    assert Path("runs/alone/checkpoints/last.ckpt").is_file()


def test_a_long_chain_of_models_is_told_from_a_damaged_one(autoencoder, tmp_path):
    """Stages of patients who are here are not recorded again; of others there is room for so many."""
    checkpoint = Checkpoint.read(autoencoder)
    data = checkpoint.data()
    data.prepare_data(), data.setup()
    (own,) = checkpoint.training_patients
    state = next(value for key, value in checkpoint.content.items() if key.endswith("DataModule"))
    state["others"] = [own.state()] * STAGES
    record_patients(checkpoint, data, resumed=False)
    assert data.patients_known_elsewhere == []
    state["others"] = [Fingerprints.of([f"stranger {number}"]).state() for number in range(STAGES)]
    record_patients(checkpoint, data, resumed=False)
    assert len(data.patients_known_elsewhere) == STAGES
    state["patients"] = Fingerprints.of(["another"]).state()
    with pytest.raises(InputError, match=f"9 sets of patients that are not here; {STAGES} can be recorded"):
        record_patients(checkpoint, data, resumed=False)


def test_whom_the_autoencoder_knows_the_model_knows(autoencoder, run_entry):
    words = [*BARE, *SMALL, "model=latent", f"model.autoencoder={autoencoder}", "data.contrasts=[AXT2]", "trainer.max_epochs=1"]
    run_entry("train.py", *words, "hydra.run.dir=runs/one")
    ckpt = "runs/one/checkpoints/last.ckpt"
    (own, others), (first,) = (Checkpoint.read(path).training_patients for path in (ckpt, autoencoder))
    assert others == first and len(own.hashes) < len(first.hashes)


@pytest.mark.slow
def test_two_processes_train_both_stages(run_entry, cache, tmp_path):
    """Each on its share of the batches, from the same codec, which is measured once, and of the same codes."""
    environment = os.environ | {"CONDIFF_CACHE": str(cache), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [*BARE, *SMALL, *CODEC, "model=latent", "trainer.max_epochs=1", "trainer.devices=2", "hydra.run.dir=runs/two"]
    words, before = [*words, "data.seed=7"], {*cache.glob("codes-*")}
    subprocess.run([sys.executable, str(ROOT / "train.py"), *words], cwd=tmp_path, env=environment, timeout=240, check=True)
    run_entry("sample.py", "ckpt=runs/two/checkpoints/last.ckpt", "num_samples=1", "steps=2", CPU, "out=s")
    first, second = (Checkpoint.read(tmp_path / f"runs/two/{name}checkpoints/last.ckpt") for name in ("autoencoder/", ""))
    for name, weight in first.codec().encoder.state_dict().items():
        assert torch.equal(weight, second.weights[f"codec.encoder.{name}"])
    made = {*cache.glob("codes-*")} - before  # named by weights and scale: of one codec there is one
    assert [len([path for path in made if path.suffix == suffix]) for suffix in (".json", "")] == [1, 1]


def test_told_how_the_image_was_taken(run_entry, tmp_path):
    """A token each field; any can be given at sampling."""
    words = ["model=latent", "net=unet_latent_cross_attention", "data.conditioning=acquisition", *CODEC]
    words += ["model.p_drop_fields=0.5"]
    run_entry("train.py", *BARE, *SMALL, *words, "trainer.max_epochs=1", "hydra.run.dir=runs/told")
    model = Checkpoint.read("runs/told/checkpoints/last.ckpt").config["model"]
    assert model["p_drop_fields"] == 0.5 and len(model["fields"]) > 5
    told = ["num_samples=1", "steps=2", CPU, "contrast=AXT2", "extrapolate=true", "seed=3"]
    for te in (80, 120):
        run_entry("sample.py", "ckpt=runs/told/checkpoints/last.ckpt", *told, f"te={te}", f"out=te{te}")
    with h5py.File("te80/samples.h5") as one, h5py.File("te120/samples.h5") as other:
        assert abs(one["images"][()] - other["images"][()]).max() > 0


def test_codes_of_augmented_images_are_standardised(tmp_path):
    """As they are learned from, turned by any phase: mean 0, variance 1; those of the images as they are, of one phase, not."""
    values = torch.stack([torch.randn(6, 8, 8).abs(), torch.zeros(6, 8, 8)], dim=1).half()
    (tmp_path / "x.images").write_bytes(b"\n" + values.numpy().tobytes())
    part = SliceDataset(
        [SimpleNamespace(contrast="AXT1")], [CachedVolume(tmp_path / "x.images", 1, (6, 2, 8, 8), 1.0)], [range(6)], torch.eye(6)
    )
    volumes = SimpleNamespace(cache=SimpleNamespace(folder=tmp_path))
    data = SimpleNamespace(train=part, augment=random_global_phase, seed=0, cache_folder=tmp_path, volumes=volumes)
    torch.manual_seed(0)
    codec, device = KLAutoencoder(2, 3, (8, 8), blocks=1), torch.device("cpu")
    codec.standardize(*cached_moments(codec, data, device))
    (kept,) = tmp_path.glob("codes-*.json")
    before = kept.stat().st_mtime_ns
    cached_moments(codec, data, device)
    assert kept.stat().st_mtime_ns == before and [*tmp_path.glob("codes-*.json")] == [kept]
    images, generator = part.images(), torch.Generator().manual_seed(9)
    turned = torch.cat([encode_on(codec, random_global_phase(images, generator), device) for _ in range(100)])
    for codes, limits in ((turned, (0, 0.25)), (encode_on(codec, images, device), (0.4, 9))):
        off = torch.stack([codes.mean(dim=(0, 2, 3)), codes.var(dim=(0, 2, 3)) - 1]).abs().max()
        assert limits[0] <= off < limits[1]


def test_complex_images_and_attention_to_the_condition(run_entry):
    words = ["model=latent", "data.transform=complex", "net=unet_latent_cross_attention", *CODEC]
    run_entry("train.py", *BARE, *SMALL, *words, "trainer.max_epochs=1", "hydra.run.dir=runs/complex")
    run_entry("sample.py", "ckpt=runs/complex/checkpoints/last.ckpt", "num_samples=1", "steps=3", CPU, "out=c")
    with h5py.File("c/samples.h5") as file:
        assert file["images"].shape == (4, 2, 32, 32)


def test_reconstruction(latent, run_entry, capsys):
    settings = [f"ckpt={latent}", "volumes=1", "mask.center_fraction=0.3", "acceleration=2", CPU, "slices=[0]"]
    run_entry("reconstruct.py", *settings, "method=dps", "steps=3", "out=r")
    assert [*Path("r").rglob("*.h5")] and "volumes     1 of 1" in capsys.readouterr().out
    run_entry("reconstruct.py", *settings, "method=zero_filled", "out=z")  # asks no model
    error = bad(capsys, run_entry, "reconstruct.py", *settings, "method=dds")
    assert "is a model of codes" in error and "method=dps" in error


def test_bad_input(latent, autoencoder, run_entry, capsys):
    run_entry("train.py", *TINY_RUN, "trainer.max_epochs=1", "data.steps_per_epoch=1", "hydra.run.dir=runs/pixels")
    pixels = "runs/pixels/checkpoints/last.ckpt"
    both = [*BARE, *SMALL, "model=latent"]
    settings = [*both, f"model.autoencoder={autoencoder}"]
    for arguments, message in [
        (["train.py", *settings, "data.transform=complex"], "was trained on images of 1 channels, the data have 2"),
        (["train.py", *settings, "data.seed=1"], "patients that are held out here"),
        (["train.py", *settings[:-1], "model.autoencoder=nowhere.ckpt"], "nowhere.ckpt: no such checkpoint"),
        (["train.py", *settings, "clamp=static"], "clamp: limits images, and this model is latent"),
        (["train.py", *both, "clamp=static"], "clamp: limits images, and this model is latent"),
        (["train.py", *both, "first.trainer.max_epochs=0"], "first.trainer.max_epochs=0"),
        (["train.py", *both, "model.augmented_copies=-1"], "model.augmented_copies=-1: give a whole number"),
        (
            ["train.py", *settings, "net.channels=[8,8,8,8,8]", *DEEP],
            "an image of (8, 8) pixels: this U-Net needs multiples",
        ),
        (["train.py", *BARE, *CODEC, "model=autoencoder", "model.crop=0"], "model.crop=0: give a whole number"),
        (["train.py", *both, "net.channels=[8,8,8,8,8]", *DEEP], "an image of (8, 8) pixels: this U-Net needs multiples"),
        (["train.py", *TINY_RUN, f"init={pixels}", "data.seed=1", "hydra.run.dir=runs/other"], "patients that are held out here"),
        (["train.py", *both, f"init={pixels}"], "is a model of pixels, and has no autoencoder"),
        (
            ["train.py", *both, f"model.autoencoder={pixels}"],
            "model.autoencoder=runs/pixels/checkpoints/last.ckpt: is",
        ),
        (["train.py", *settings, f"init={latent}"], "give one of them"),
        (["train.py", *BARE, "codec=kl_f4"], "has to be trained"),
        (["train.py", *both, "codec=pixels"], "codec=pixels: has no parameters to train"),
        (["train.py", *BARE, "model=autoencoder", "codec=pixels"], "codec=pixels: has no parameters to train"),
        (
            ["train.py", *both, "data.phantom.matrix=50"],
            "data: images of 50 x 50 have codes of 13 x 13, which the network",
        ),
        (["train.py", *BARE, *CODEC, "model=autoencoder", f"init={latent}"], "starts a diffusion model"),
        (
            ["train.py", *BARE, "experiment=consistency", f"teacher={latent}", "data.downsample=1", "clamp=static"],
            "clamp: limits",
        ),
        (["sample.py", f"ckpt={latent}", "clamp=static"], "clamp: limits images"),
        (["sample.py", f"ckpt={autoencoder}"], "is an autoencoder; first train a model of its codes"),
        (["likelihood.py", f"ckpt={latent}"], "is a latent model"),
    ]:
        assert message in bad(capsys, run_entry, *arguments)
