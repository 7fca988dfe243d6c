"""Training through the real entry points: train, resume, sample, and every kind of bad input."""

import csv
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image, ImageSequence

from condiff.checkpoint import Checkpoint
from condiff.diffusion.noise import SeededNoise
from condiff.files import pictures
from condiff.nn import ContextUNet, UNet
from condiff.nn.blocks import CrossAttention
from tests.conftest import ROOT, bad, write_volume
from tests.conftest import TINY_RUN as TINY


def losses(folder):
    with open(Path(folder) / "metrics_train.csv") as file:
        return {int(row["step"]): float(row["train/loss"]) for row in csv.DictReader(file)}


def shown(path):
    """The frames of a picture or an animation, [H, W] from 0 to 255 each."""
    with Image.open(path) as picture:
        return [np.asarray(frame.convert("L")).astype(int) for frame in ImageSequence.Iterator(picture)]


def block(picture, column, row, images):
    """What a grid of tiles of 16 x 16 shows at a place, and what it should show there, for magnitudes [N, 16, 16]."""
    left, top = pictures.MARGIN + column, pictures.HEADING + row * pictures.TILE
    expected = np.asarray(pictures.tiles(torch.as_tensor(images))).astype(int)
    return picture[top : top + pictures.TILE, left : left + expected.shape[1]], expected


def check_run_pictures(folder):
    """Of four contrasts a sample and two real images; the film's last frame is the samples of the last grid."""
    names = ["curves.png", "denoising.gif", "samples.png", "step-000003.png", "step-000006.png"]
    assert sorted(path.name for path in folder.iterdir()) == names
    _, film, (final,), (early,), (late,) = (shown(folder / name) for name in names)
    height, width = pictures.HEADING + 4 * pictures.TILE, pictures.MARGIN + pictures.TILE
    assert final.shape == (height, width + pictures.GAP + 2 * pictures.TILE)
    assert np.array_equal(final, late) and not np.array_equal(final, early)
    assert [frame.shape for frame in film] == [(height, width)] * 4  # noise, and three steps
    assert np.array_equal(film[-1], final[:, :width]) and not np.array_equal(film[0], film[-1])
    assert np.array_equal(early[:, width:], late[:, width:]) and late[pictures.HEADING :, width:].std() > 20


@pytest.fixture
def trained(trained_once, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(trained_once, tmp_path / "runs/now"))


def test_run_folder(trained, capsys):
    left = {path.name for path in trained.iterdir()} - {"train.log", ".lock"}
    assert left == {
        "config.yaml",
        "splits.csv",
        "metrics_train.csv",
        "metrics_validation.csv",
        "checkpoints",
        "averages",
        "samples",
    }
    assert OmegaConf.load(trained / "config.yaml").trainer.max_epochs == 2
    steps = [torch.load(trained / f"checkpoints/{name}.ckpt", weights_only=True)["global_step"] for name in ("best", "last")]
    assert steps[0] in (3, 6) and steps[1] == 6
    check_run_pictures(trained / "samples")


def test_resumed_run_equals_an_uninterrupted_one(run_entry, tmp_path):
    """Losses of the second epoch and the final weights, raw and averaged, to the last bit; its tables have the first too."""
    keep = [
        "callbacks.checkpoint.save_top_k=-1",
        "callbacks.checkpoint.filename='at-{step}'",
        "+callbacks.checkpoint.auto_insert_metric_name=false",
    ]
    run_entry("train.py", *TINY, *keep)
    run_entry("train.py", "resume=runs/now/checkpoints/at-3.ckpt", "hydra.run.dir=runs/again")
    whole, resumed = losses("runs/now"), losses("runs/again")
    assert sorted(whole) == list(range(1, 7)) and resumed == whole
    one, other = (torch.load(tmp_path / f"runs/{run}/checkpoints/last.ckpt", weights_only=True) for run in ("now", "again"))
    for kind in ("state_dict", "current_model_state"):
        assert all(torch.equal(one[kind][name], other[kind][name]) for name in one[kind])
    for path in sorted((tmp_path / "runs/again/averages").glob("*.pt")):
        mine, other = (torch.load(tmp_path / f"runs/{run}/averages" / path.name, weights_only=True) for run in ("now", "again"))
        assert mine["step"] == other["step"] > 3
        for ours, theirs in zip(mine["averages"], other["averages"], strict=True):
            assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    moved = [name for name in one["state_dict"] if not torch.equal(one["state_dict"][name], one["current_model_state"][name])]
    assert moved  # the average is not the raw weights


def test_averages_afterwards(trained, run_entry, capsys, tmp_path):
    """Of the run's own width it is the checkpoint; earlier or longer it is another; guided by it samples change."""
    run_entry("ema.py", "std=0.1", "out=same.ckpt")
    assert "averaged    over 10.0% of 6 steps, with an error of 0.0%" in capsys.readouterr().out
    whole, same = (torch.load(path, weights_only=True) for path in (trained / "checkpoints/last.ckpt", tmp_path / "same.ckpt"))
    assert "optimizer_states" in whole and "optimizer_states" not in same
    for name, weight in whole["state_dict"].items():
        torch.testing.assert_close(same["state_dict"][name], weight, rtol=2e-3, atol=1e-5)  # stored in float16
    run_entry("ema.py", "std=0.12", "step=4")
    early = torch.load(trained / "checkpoints/ema-0.12-step-4.ckpt", weights_only=True)
    assert any(not torch.allclose(early["state_dict"][name], w, rtol=1e-2) for name, w in whole["state_dict"].items())
    draw = ["num_samples=1", "contrast=AXT2", "steps=4", "accelerator=cpu"]
    run_entry("sample.py", "ckpt=runs/now/checkpoints/ema-0.12-step-4.ckpt", *draw, "out=early")
    for name, guidance in (("plain", ["none"]), ("guided", ["autoguidance", "guidance.interval=[0,100]"])):
        capsys.readouterr()
        run_entry("sample.py", *draw, f"guidance={guidance[0]}", *guidance[1:], f"out={name}")
        assert f"{ {'plain': 4, 'guided': 8}[name] } network evaluations per image" in capsys.readouterr().out
    with h5py.File("plain/samples.h5") as plain, h5py.File("guided/samples.h5") as guided:
        assert not (plain["images"][()] == guided["images"][()]).all()
    for arguments, names in [
        (["std=0.9"], "std=0.9: the relative width"),
        (["std=0.27"], r"std=0.27 step=6: the stored averages reproduce it with an error of \d+% in the weights, more than 10%"),
        (["step=0"], "step=0: no average was stored so early; there are those of steps 1, 2"),
        (["std=wide"], "std=wide"),
        (["ckpt=same.ckpt"], "no stored averages"),
    ]:
        assert re.search(names, bad(capsys, run_entry, "ema.py", *arguments))


def test_consistency_begins_with_a_trained_model(trained, run_entry, capsys, tmp_path):
    """Its network is the teacher's, whatever the command line leaves out; and it samples in one evaluation."""
    settings = [item for item in TINY if not item.startswith(("net", "hydra"))]
    teacher = "teacher=runs/now/checkpoints/last.ckpt"
    run_entry("train.py", *settings, "experiment=consistency", teacher, "hydra.run.dir=runs/few", "model.optimizer.lr=0")
    one, other = (torch.load(tmp_path / f"runs/{run}/checkpoints/last.ckpt", weights_only=True) for run in ("now", "few"))
    assert all(torch.equal(one["state_dict"][name], other["state_dict"][name]) for name in one["state_dict"])
    few = ["ckpt=runs/few/checkpoints/last.ckpt", "sampler=consistency", "steps=1", "num_samples=1", "accelerator=cpu", "out=x"]
    run_entry("sample.py", *few)
    assert "1 network evaluations per image" in capsys.readouterr().out
    run_entry("sample.py", few[0], *few[3:-1], "out=y")  # as its run did
    assert "2 network evaluations per image" in capsys.readouterr().out
    other["hyper_parameters"]["data"]["conditioning"]["ranges"] = {"_target_": "os.mkdir", "path": "made"}
    torch.save(other, tmp_path / "evil.ckpt")
    asked = ["model=acquisition", "init=evil.ckpt"]
    assert "os.mkdir" in bad(capsys, run_entry, "train.py", *settings, *asked)
    assert not (tmp_path / "made").exists()
    complex_ = bad(capsys, run_entry, "train.py", *settings, "experiment=consistency", teacher, "data.transform=complex")
    assert "its network has image_channels 1, the data 2" in complex_
    assert "teacher has no value" in bad(capsys, run_entry, "train.py", *settings, "experiment=consistency")


def test_diverging_training_stops_and_keeps_the_last_good_checkpoint(run_entry, capsys, tmp_path):
    good = ["trainer.max_epochs=1", "hydra.run.dir=runs/now"]
    run_entry("train.py", *TINY, *good)
    kept = (tmp_path / "runs/now/checkpoints/last.ckpt").read_bytes()
    wild = ["resume=runs/now/checkpoints/last.ckpt", "trainer.max_epochs=2", "hydra.run.dir=runs/now"]
    error = bad(capsys, run_entry, "train.py", *wild, "callbacks.divergence._target_=tests.conftest.Poison")
    assert re.search(r"not a number at step 5, sigma [\d.]+; stopped, the last good checkpoint is \S+last.ckpt", error)
    assert (tmp_path / "runs/now/checkpoints/last.ckpt").read_bytes() == kept


def test_a_chain_that_leaves_signal_warns(run_entry, tmp_path):
    short = ["trainer.max_epochs=1", "data.steps_per_epoch=1", "schedule=linear", "schedule.num_steps=200"]
    run_entry("train.py", *TINY, *short, "schedule.reference_steps=200")
    log = (tmp_path / "runs/now/train.log").read_text()
    assert "sqrt(alpha_bar_T) = 0.36 of the image is left" in log
    assert re.search(r"measured on the training images: sigma_data 0\.\d+; .* log sigma .*; sigma_max", log)
    run_entry("train.py", *TINY, *short, "hydra.run.dir=runs/rescaled")
    log = (tmp_path / "runs/rescaled/train.log").read_text()
    assert "is left" not in log and "terminal SNR 3e-05" in log
    saved = torch.load("runs/rescaled/checkpoints/last.ckpt", weights_only=True)
    assert saved["PhantomDataModule"]["statistics"].keys() == {"sigma_data", "log_sigma_mean", "log_sigma_std", "sigma_max"}


@pytest.mark.parametrize(
    ("net", "target", "classes"),
    [
        ("context_unet", "condiff.nn.ContextUNet", {ContextUNet}),
        ("unet_cross_attention", "condiff.nn.UNet", {UNet, CrossAttention}),
    ],
)
def test_other_networks(run_entry, tmp_path, net, target, classes):
    settings = [item for item in TINY if not item.startswith("net")]
    run_entry("train.py", *settings, f"net={net}", "trainer.max_epochs=1", "averaging=constant")
    path = tmp_path / "runs/now/checkpoints/last.ckpt"
    assert torch.load(path, weights_only=True)["hyper_parameters"]["net"]["_target_"] == target
    network = Checkpoint.read(path).model().denoiser.net
    assert type(network) in classes and classes <= {type(module) for module in network.modules()}
    run_entry("sample.py", "num_samples=1", "steps=2", "accelerator=cpu", "out=x")
    with h5py.File("x/samples.h5") as file:
        images = file["images"][()]
    assert images.shape == (4, 1, 16, 16) and np.isfinite(images).all() and images.std() > 0


@pytest.mark.slow
def test_compiled_network(run_entry, tmp_path):
    """The same run, compiled: the same losses but for rounding, and a checkpoint that loads."""
    run_entry("train.py", *TINY, "trainer.max_epochs=1")
    run_entry("train.py", *TINY, "trainer.max_epochs=1", "compile=true", "hydra.run.dir=runs/fast")
    eager, compiled = losses("runs/now"), losses("runs/fast")
    assert compiled == pytest.approx(eager, rel=1e-3)
    run_entry("sample.py", "ckpt=runs/fast/checkpoints/last.ckpt", "num_samples=1", "steps=2", "accelerator=cpu", "out=x")


def test_a_sampler_that_diverges_does_not_stop_training(run_entry, tmp_path, capsys):
    run_entry("train.py", *TINY, "sampler.fn._target_=tests.conftest.diverging")
    assert "no sample grid at step 3: the network's output is not a number at evaluation 2" in "".join(capsys.readouterr())
    assert (tmp_path / "runs/now/checkpoints/last.ckpt").is_file()
    assert [path.name for path in (tmp_path / "runs/now").rglob("samples/*")] == ["curves.png"]


def test_finished_run_has_nothing_to_resume(trained, run_entry, capsys):
    error = bad(capsys, run_entry, "train.py", "resume=runs/now", "hydra.run.dir=runs/again")  # the folder of the run
    assert "is finished after 2 epochs; to train longer give trainer.max_epochs=4" in error


def check_pictures(folder, magnitudes):
    """The pictures beside samples [4, 2, 16, 16] of four contrasts, drawn in four steps from the seeds 0 to 7."""
    (samples,), (statistics,), (process,), film = (
        shown(folder / name) for name in ("samples.png", "statistics.png", "process.png", "denoising.gif")
    )
    noise = SeededNoise(range(8)).draw((16, 16))
    mean, variance = magnitudes.mean(dim=1), magnitudes.var(dim=1, correction=0)
    beside = pictures.TILE + pictures.GAP
    for row in range(4):
        for picture, column, images in (
            (samples, 0, magnitudes[row]),
            (film[0], 0, (noise[2 * row : 2 * row + 2] + 1) / 2),  # the highest level shows nothing but noise
            (statistics, 0, mean[row, None]),
            (statistics, beside, variance[row, None] / variance.max()),
        ):
            np.testing.assert_allclose(*block(picture, column, row, images), atol=4)
    assert len(film) == 5 and np.array_equal(film[-1], samples)
    assert process.shape == (pictures.HEADING + 2 * pictures.TILE, pictures.MARGIN + 5 * pictures.TILE)
    inner = slice(24, -24)  # of a tile that no neighbour reaches
    for level, image in ((0, magnitudes[0, :1]), (4, (noise[:1] + 1) / 2)):  # the sample, and where it came from
        found, expected = block(process, level * pictures.TILE, 1, image)
        np.testing.assert_allclose(found[:, inner], expected[:, inner], atol=4)
    real = [block(process, level * pictures.TILE, 0, mean[:1])[0] for level in range(5)]
    assert real[0].std() > 20 and all(np.abs(one - other).max() > 20 for one, other in pairwise(real))


def test_sample(trained, run_entry, tmp_path):
    run_entry("sample.py", "out=all", "num_samples=2", "steps=4", "format=nifti", "accelerator=cpu")
    with h5py.File("all/samples.h5") as file:
        images, seeds, contrasts = file["images"][()], file["seed"][()], file["contrast"].asstr()[()]
        assert images.shape == (8, 1, 16, 16) and images.dtype == "float32"
    assert list(seeds) == list(range(8)) and list(contrasts[::2]) == ["AXT1", "AXT1POST", "AXT2", "AXFLAIR"]
    check_pictures(tmp_path / "all", torch.from_numpy(((images[:, 0] + 1) / 2).clip(0)).view(4, 2, 16, 16))
    import nibabel as nib

    image = nib.load("all/nifti/AXT2_000005.nii.gz")
    assert image.header.get_zooms()[:2] == pytest.approx((220 / 16, 220 / 16))
    expected = ((images[5, 0] + 1) / 2).clip(0)
    assert image.get_fdata()[:, :, 0].T == pytest.approx(expected, abs=1e-6)

    run_entry("sample.py", "out=one", "num_samples=1", "steps=4", "contrast=AXT2", "seed=5", "batch_size=1", "accelerator=cpu")
    with h5py.File("one/samples.h5") as file:
        assert file["images"][0] == pytest.approx(images[5], abs=1e-5)  # its seed and contrast alone make it


def test_shared_noise(trained, run_entry):
    run_entry("sample.py", "out=shared", "num_samples=2", "steps=2", "shared_noise=true", "accelerator=cpu", "sampler=ddpm")
    with h5py.File("shared/samples.h5") as file:
        assert list(file["seed"]) == [0, 1] * 4


def test_folders_of_samples(trained, run_entry, capsys, tmp_path):
    """Every job of a sweep has its own; an identical command repeats, another is refused; what is refused leaves none."""
    fast = ["num_samples=1", "steps=2", "accelerator=cpu", "contrast=AXT1"]
    run_entry("sample.py", "-m", *fast, "seed=0,1", "out=swept")
    folders = sorted(path.parent.name for path in (tmp_path / "swept").rglob("samples.h5"))
    assert len(folders) == 2 and "seed-0" in folders[0] and "seed-1" in folders[1]
    run_entry("sample.py", *fast, "out=one", "guidance.interval=null")
    run_entry("sample.py", *fast, "out=one", "guidance.interval=null", "batch_size=1")
    assert "out=one: holds results of other settings" in bad(capsys, run_entry, "sample.py", *fast, "out=one", "seed=9")
    for words in (
        ["te=80"],
        ["contrast=AXT9"],
        ["guidance.scal=2"],
        ["steps=2.5"],
        ["guidance=autoguidance", "guidance.weaker.share=0"],
    ):
        bad(capsys, run_entry, "sample.py", *fast, *words, "out=refused/here")
    assert not (tmp_path / "refused").exists()


def test_no_phantom_is_built_for_a_picture(trained, run_entry, cache, tmp_path):
    """process.png shows a real image where one is ready, and goes without on another machine."""
    fast = ["num_samples=1", "steps=2", "accelerator=cpu", "contrast=AXT1"]
    run_entry("sample.py", *fast, "out=here")
    path = trained / "checkpoints/last.ckpt"
    content = torch.load(path, weights_only=True)
    content["hyper_parameters"]["data"]["phantom"]["patients"] = 4
    torch.save(content, "moved.ckpt")
    before = {*cache.iterdir()}
    run_entry("sample.py", *fast, "out=there", "ckpt=moved.ckpt")
    assert {*cache.iterdir()} == before
    heights = [Image.open(tmp_path / name / "process.png").height for name in ("here", "there")]
    assert heights[0] > heights[1]


def test_unconditional(run_entry, capsys):
    run_entry("train.py", *TINY, "model=unconditional", "trainer.max_epochs=1")
    run_entry("sample.py", "out=any", "num_samples=1", "steps=2", "accelerator=cpu")
    with h5py.File("any/samples.h5") as file:
        assert list(file["contrast"].asstr()) == ["any"]
    error = bad(capsys, run_entry, "sample.py", "contrast=AXT2", "accelerator=cpu")
    assert "unconditional" in error


def test_multirun(run_entry, tmp_path):
    """Folders are named by what differs, in words that can stand on a command line."""
    short = ["experiment=smoke", "data.phantom.matrix=32", "data.steps_per_epoch=2", "trainer.max_epochs=1"]
    run_entry("train.py", "-m", *short, "schedule=linear,cosine", "hydra.sweep.dir=runs/sweep")
    found = sorted((tmp_path / "runs/sweep").glob("*/checkpoints/last.ckpt"))
    assert len(found) == 2 and "schedule-cosine" in str(found[0]) and "=" not in str(found[0].relative_to(tmp_path))
    run_entry("sample.py", f"ckpt={found[0].relative_to(tmp_path)}", "num_samples=1", "steps=2", "out=x", "accelerator=cpu")


def test_trains_on_a_fastmri_folder(run_entry, tmp_path, capsys):
    """Three patients, one without a T1POST, one broken file: the test split may be empty, and that is said."""
    (tmp_path / "data").mkdir()
    for patient in "abc":
        for contrast in ("AXT1", "AXT2", "AXFLAIR", "AXT1POST")[: 3 if patient == "c" else 4]:
            write_volume(tmp_path / f"data/{patient}{contrast}.h5", contrast=contrast, patient=patient)
    (tmp_path / "data/broken.h5").write_text("x")
    settings = [item for item in TINY if "phantom" not in item]
    run_entry("train.py", "data=fastmri", "data.root=data", "data.workers=0", "data.matrix=32", *settings, "trainer.max_epochs=1")
    assert (tmp_path / "runs/now/samples/samples.png").exists()
    log = (tmp_path / "runs/now/train.log").read_text()
    assert "broken.h5" in log and "skipped 1 of 12 files" in log


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["trainer.devces=2"], r"trainer.devces: no such option; did you mean trainer.devices"),
        (["data=fastmri"], r"data.root has no value; give one"),
        (["data=fastmri", "data.root=nowhere"], r"data.root: no folder nowhere"),
        (["data=nowhere"], r"data=nowhere: no such choice; there are bids, dicom, fastmri, nifti, phantom"),
        (["data.volumes_per_contrast=99"], r"data.volumes_per_contrast=99: .*set data.volumes_per_contrast=2"),
        (["data.contrasts=[AXT1,AXT9]"], r"no AXT9 volume"),
        (["resume=nowhere.ckpt"], r"nowhere.ckpt: no such checkpoint"),
        (["net.blocks=[1]"], r"error: net.channels=\[8, 8\], blocks=\[1\], .*: give one entry per level"),
        (["net.channels=[8,8,8]", "net.blocks=[1,1,1]", "net.attention=[false,false,false]", "net.patch=8"], r"multiples of 32"),
        (["data.batch_size=0"], r"data.batch_size=0: give a whole number"),
        (["trainer.max_epochs=abc"], r"trainer.max_epochs=abc: give a whole number"),
        (["schedule=lineer"], r"did you mean linear[?] There are consistency, cosine, .*, lognormal, scaled_linear, sigmoid$"),
        (["resume=."], r"no run in this folder has a checkpoint"),
        (["trainer.accelerator=abacus"], r"trainer: .*abacus"),
        (["guidance=autoguidance"], r"guidance=autoguidance: .*use it in python sample.py"),
        (["guidance.scale=-2"], r"guidance.scale=-2: give 0"),
        (["schedule=linear", "schedule.num_steps=2"], r"steps=3: this chain has 2 levels"),
    ],
)  # fmt: skip
def test_bad_input_to_train(capsys, run_entry, arguments, names):
    settings = TINY if "data=fastmri" not in arguments else [item for item in TINY if "phantom" not in item]
    assert re.search(names, bad(capsys, run_entry, "train.py", *settings, *arguments))


def test_bad_input_to_sample(trained, capsys, run_entry, tmp_path):
    (tmp_path / "a_file").touch()
    for arguments, names in [
        (["contrast=AXT9"], "contrast=AXT9: unknown to this model, which has AXT1, AXT1POST"),
        (["ckpt=nowhere.ckpt"], "nowhere.ckpt: no such checkpoint"),
        (["steps=0"], "steps=0: give a whole number, at least 1"),
        (["stepz=3"], "stepz: no such option; did you mean steps"),
        (["sampler=euler"], "there are annealed_langevin, consistency, ddim, ddpm, ddpm_beta, dpmpp, dpmpp_sde, heun"),
        (["guidance.scale=-1"], "guidance.scale=-1: give 0"),
        (["guidance.interval=[2,1]"], r"guidance.interval=\[2,1\]: give two sigmas"),
        (["guidance=autoguidance", "guidance.weaker.share=0"], "guidance.weaker.share=0: give a share"),
        (["num_samples=0"], "num_samples=0"),
        (["steps=abc"], "steps=abc: give a whole number"),
        (["batch_size=0"], "batch_size=0: give a whole number"),
        (["out=a_file"], "a_file"),
        (["format=dcm"], "format=dcm: give h5 or nifti or dicom"),
    ]:
        assert re.search(names, bad(capsys, run_entry, "sample.py", *arguments, "accelerator=cpu")), arguments
    (tmp_path / "cut.ckpt").write_bytes((trained / "checkpoints/last.ckpt").read_bytes()[:5000])
    assert "truncated" in bad(capsys, run_entry, "sample.py", "ckpt=cut.ckpt")
    content = torch.load(trained / "checkpoints/last.ckpt", weights_only=True)
    content["hyper_parameters"]["data"]["contrasts"].append("AXT9")  # as if conditions had been longer then
    torch.save(content, tmp_path / "other.ckpt")
    said = bad(capsys, run_entry, "sample.py", "ckpt=other.ckpt")
    assert "other.ckpt: its network takes conditions of 4 numbers, this version of condiff makes them of 5" in said


def test_two_processes(run_entry, cache, tmp_path):
    """Train on two processes, and draw on two: the same images as on one."""

    def two(script, *arguments):
        environment = os.environ | {"CONDIFF_CACHE": str(cache), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, str(ROOT / script), *arguments], cwd=tmp_path, env=environment, timeout=240, check=True
        )

    two("train.py", *TINY, "trainer.devices=2", "trainer.max_epochs=1")
    assert sorted(losses(tmp_path / "runs/now")) == [1, 2, 3]
    drawing = ["num_samples=1", "contrast=[AXT1,AXT2,AXFLAIR]", "steps=4", "accelerator=cpu"]
    two("sample.py", *drawing, "devices=2", "out=two")
    run_entry("sample.py", *drawing, "out=one")
    with h5py.File(tmp_path / "two/samples.h5") as pair, h5py.File(tmp_path / "one/samples.h5") as alone:
        assert pair["images"][()] == pytest.approx(alone["images"][()], abs=1e-5)
        assert list(pair["contrast"].asstr()) == ["AXT1", "AXT2", "AXFLAIR"]
