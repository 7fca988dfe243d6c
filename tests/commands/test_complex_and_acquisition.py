"""Complex images and acquisition parameters through the real entry points; preparation beforehand."""

import csv
import json
import re

import h5py
import nibabel as nib
import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from condiff.checkpoint import Checkpoint
from condiff.data.conditioning import AcquisitionCondition, piecewise_linear
from condiff.errors import InputError
from condiff.training.build import Origin, reuse_conditioning
from tests.conftest import TINY_RUN as TINY
from tests.conftest import bad, write_raw, write_volume
from tests.data.test_conditioning import volume
from tests.test_conf import compose

FMRI = [
    "data=fastmri", "data.root=heads", "data.matrix=32", "data.volumes_per_contrast=1", "data.contrasts=[AXT1,AXT2]",
    "data.workers=0", "data.cache=cache",
]  # fmt: skip


@pytest.fixture
def heads(tmp_path):
    """Raw volumes of four patients in two contrasts, some of which are no good."""
    (tmp_path / "heads").mkdir()
    for i in range(4):
        for contrast in ("AXT1", "AXT2"):
            write_raw(tmp_path / "heads" / f"{contrast}{i}.h5", contrast, patient=f"p{contrast}{i}", slices=4)
    (tmp_path / "heads" / "bad.h5").write_text("no HDF5")
    with h5py.File(write_raw(tmp_path / "heads" / "late.h5", "AXT2", patient="late", slices=4), "a") as file:
        file["kspace"][3, :, :5] = np.nan  # not where the index looks
    return tmp_path / "heads"


def test_complex_through_training_sampling_and_evaluation(run_entry, tmp_path, capsys):
    run_entry("train.py", *TINY, "data.transform=complex", "data.downsample=1", "data.phantom.matrix=16")
    checkpoint = Checkpoint.read(tmp_path / "runs/now/checkpoints/last.ckpt")
    assert checkpoint.config["net"]["image_channels"] == 2
    run_entry("sample.py", "num_samples=2", "out=drawn", "format=nifti")
    with h5py.File(tmp_path / "drawn/samples.h5") as file:
        images = torch.from_numpy(file["images"][()])
    assert images.shape == (8, 2, 16, 16)
    magnitude, phase = (nib.load(tmp_path / f"drawn/nifti/AXT1_000000{kind}.nii.gz").get_fdata() for kind in ("", "_phase"))
    image = torch.complex(*images[0]) / 2
    np.testing.assert_allclose(magnitude[:, :, 0].T, image.abs(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(phase[:, :, 0].T, image.angle(), rtol=1e-4, atol=1e-5)
    run_entry("evaluate.py", "num_samples=3", "steps=2", "sampler=ddim", "out=judged")
    found = json.loads((tmp_path / "judged/evaluation.json").read_text())
    assert {"kspace_decibels", "coherence"} <= found["scores"]["pooled"].keys()
    assert "k-space energy" in capsys.readouterr().out


def test_raw_volumes_train_and_the_bad_are_reported(heads, run_entry, tmp_path):
    run_entry(
        "train.py",
        *TINY[8:],
        "net.channels=[8,8]",
        *FMRI,
        "data.transform=complex",
        "data.batch_size=4",
        "data.steps_per_epoch=2",
    )
    (report,) = (tmp_path / "cache").glob("index-*/index_report.csv")
    with report.open() as file:
        reasons = {row["file"].split("/")[-1]: row["reason"] for row in csv.DictReader(file)}
    assert reasons.keys() == {"bad.h5", "late.h5"} and "HDF5" in reasons["bad.h5"] and "not finite" in reasons["late.h5"]


def test_prepare_and_verify(heads, run_entry, tmp_path, capsys):
    asked = [*FMRI[1:], "data.transform=complex", "data.volumes_per_contrast=null", "data.held_out_per_contrast=1"]
    run_entry("prepare.py", *asked, "data.shard=1/2")
    run_entry("prepare.py", *asked, "data.shard=2/2")
    out = capsys.readouterr().out
    made = [tuple(map(int, pair)) for pair in re.findall(r"prepared +(\d+) of (\d+) volumes", out)]
    assert sum(one for one, _ in made) == 8 and sum(other for _, other in made) == 9  # of late.h5 there is a reason
    (folder,) = (tmp_path / "cache").glob("images-*")
    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("*.images")}
    victim = max(stamps, key=lambda path: path.stat().st_size)
    victim.write_bytes(victim.read_bytes()[:-1] + b"!")
    run_entry("prepare.py", *asked, "verify=true")
    changed = [path for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp]
    assert changed == [victim] and "damaged" in capsys.readouterr().out
    report = next((tmp_path / "cache").glob("index-*/index_report.csv")).read_text()
    assert "late.h5" in report and "not finite" in report


def test_complex_without_kspace(run_entry, tmp_path, capsys):
    (tmp_path / "heads").mkdir()
    for i in range(4):
        for contrast in ("AXT1", "AXT2"):
            write_volume(tmp_path / "heads" / f"{contrast}{i}.h5", contrast, patient=f"{contrast}{i}")
    said = bad(capsys, run_entry, "train.py", *TINY[8:], "net.channels=[8,8]", *FMRI, "data.transform=complex")
    assert "data.select: none of the 8 volumes of heads fits" in said and "coils" in said


def test_acquisition(run_entry, tmp_path, capsys):
    protocols = ["data=phantom_protocols", "data.phantom.tr_factors=[0.8,1.25]", "data.phantom.te_factors=[0.8,1.25]"]
    run_entry("train.py", *protocols, "model=acquisition", *TINY)
    checkpoint = Checkpoint.read(tmp_path / "runs/now/checkpoints/last.ckpt")
    ranges = checkpoint.config["data"]["conditioning"]["ranges"]
    assert ranges["AXT2"].keys() == {"slice", "tr", "te", "flip", "field"} and "ti" in ranges["AXFLAIR"]
    assert sum(checkpoint.config["model"]["fields"]) == checkpoint.config["net"]["cond_dim"]
    low, high = ranges["AXT2"]["te"]
    assert 82 <= low <= high <= 129
    assert "field=1.5: all training images have 2.8936" in bad(capsys, run_entry, "sample.py", "contrast=AXT2", "field=1.5")
    run_entry("sample.py", "contrast=AXT2", f"te={low}", "num_samples=1", "out=a")
    run_entry("sample.py", "contrast=AXT2", "num_samples=1", "out=b")
    run_entry("sample.py", "contrast=any", f"te={low}", "agent=without", "num_samples=1", "out=c")
    drawn = [h5py.File(tmp_path / out / "samples.h5")["images"][()] for out in "abc"]
    assert not np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])
    assert f"te={high + 50}: the training images of AXT2" in bad(
        capsys, run_entry, "sample.py", "contrast=AXT2", f"te={high + 50}", "out=d"
    )
    run_entry("sample.py", "contrast=AXT2", f"te={high + 50}", "extrapolate=true", "num_samples=1", "out=e")
    run_entry("evaluate.py", "num_samples=2", "steps=2", "sampler=ddim", "out=judged")


def test_parameters_of_a_model_that_knows_contrasts_alone(run_entry, capsys):
    run_entry("train.py", *TINY)
    assert "te: this model knows contrasts alone; train one with model=acquisition" in bad(
        capsys, run_entry, "sample.py", "contrast=AXT2", "te=80"
    )


def test_clamps_for_air_at_minus_one(run_entry, capsys):
    complex_run = [*TINY, "data.transform=complex", "data.downsample=1", "data.phantom.matrix=16"]
    assert "clamp: static and dynamic cut from air at -1" in bad(capsys, run_entry, "train.py", *complex_run, "clamp=static")
    run_entry("train.py", *complex_run, "clamp=magnitude", "trainer.max_epochs=1")
    other = ["clamp=magnitude", "hydra.run.dir=runs/other"]
    assert "clamp=magnitude: for complex images" in bad(capsys, run_entry, "train.py", *TINY, *other)


def test_a_run_that_begins_with_another_encodes_alike_and_has_ranges_of_its_own(run_entry, tmp_path):
    asked = ["model=acquisition", *TINY, "trainer.max_epochs=1"]
    run_entry("train.py", "data=phantom_protocols", "data.phantom.te_factors=[0.5,2.0]", *asked)
    first = Checkpoint.read("runs/now").spec().conditioning
    run_entry("train.py", *asked, "init=runs/now", "+data.select.slices=[0,0.5]", "hydra.run.dir=runs/then")
    then = Checkpoint.read("runs/then").spec().conditioning
    assert then.ranges["AXT2"]["te"] != first.ranges["AXT2"]["te"] and then.ranges["AXT2"]["slice"] == [0, 0.5]
    low, high = then.ranges["AXT2"]["te"]
    for te in (low, (low + high) / 2, high):
        known = {"te": te, "slice": 0.4}
        assert torch.equal(*(condition.encode("AXT2", known, extrapolate=True) for condition in (then, first)))
    outside = first.ranges["AXT2"]["te"][1]
    with pytest.raises(InputError, match=f"te={outside:g}: the training images of AXT2 have "):
        then.encode("AXT2", {"te": outside})
    with pytest.raises(InputError, match="slice=0.8: the training images of AXT2 have 0 to 0.5; stay within, or"):
        then.encode("AXT2", {"slice": 0.8})


@pytest.mark.parametrize(("key", "sites"), [("resume", ("A",)), ("init", None)])
def test_a_run_that_begins_with_another_has_sites_of_its_own(tmp_path, key, sites):
    """None: of the training volumes. A resumed run keeps its own."""
    own = {
        "_target_": "condiff.data.conditioning.AcquisitionCondition",
        "_partial_": True,
        "ranges": {"AXT2": {}},
        "sites": ["A"],
    }
    content = {"hyper_parameters": {"model": {}, "data": {"conditioning": own}, "overrides": []}, "state_dict": {}}
    torch.save(content, tmp_path / "old.ckpt")
    cfg = compose("train", "model=acquisition", f"{key}={tmp_path}/old.ckpt")
    data = reuse_conditioning(cfg.data, Origin.of(cfg.resume, cfg.init, None))
    assert instantiate(data.conditioning)(contrasts=["AXT2"]).sites == sites


@pytest.mark.parametrize("key", ["resume", "init"])
def test_a_run_keeps_the_features_of_the_checkpoint_it_continues(tmp_path, key):
    """One made before there was a choice names none, and its network was trained with the periodic ones."""
    own = {
        "_target_": "condiff.data.conditioning.AcquisitionCondition",
        "_partial_": True,
        "ranges": {"AXT2": {"te": [80.0, 125.0]}},
    }
    content = {"hyper_parameters": {"model": {}, "data": {"conditioning": own}, "overrides": []}, "state_dict": {}}
    torch.save(content, tmp_path / "old.ckpt")
    cfg = compose("train", "model=acquisition", f"{key}={tmp_path}/old.ckpt")
    new, old = AcquisitionCondition(["AXT2"], own["ranges"], piecewise_linear), AcquisitionCondition(["AXT2"], own["ranges"])
    assert instantiate(cfg.data.conditioning)(contrasts=["AXT2"]).dim == new.dim
    data = reuse_conditioning(cfg.data, Origin.of(cfg.resume, cfg.init, None))
    seen = [volume("AXT2", 4000.0, te) for te in (90.0, 110.0)]
    found = instantiate(data.conditioning)(contrasts=["AXT2"]).with_ranges_of(seen).encode("AXT2", {"te": 100})
    assert torch.equal(found, old.encode("AXT2", {"te": 100})) and not torch.equal(found, new.encode("AXT2", {"te": 100}))
