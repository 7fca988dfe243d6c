"""Scans of other formats through the real entry points: trained on, evaluated, resumed, and refused in one line."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from omegaconf import OmegaConf

from condiff.checkpoint import Checkpoint
from condiff.data.dicom import reader as dicom
from condiff.data.nifti import reader as nifti
from tests.commands.test_train import TINY
from tests.conftest import bad
from tests.data.heads import head, tilted, write_nifti
from tests.data.test_dicom import write_series

SETTINGS = [word for word in TINY if "phantom" not in word] + ["data.matrix=32", "data.downsample=1", "data.workers=0"]
NAMES = {"T1w": 1.0, "FLAIR": 0.6}
SOURCES = {
    "bids": ["data=bids", "data.root=heads", "data.contrasts=[T1w,FLAIR]"],
    "nifti": ["data=nifti", "data.root=heads", "data.patterns={T1: '*T1w*', FLAIR: '*FLAIR*'}", "data.patient='sub-([^/_]+)'"],
    "dicom": ["data=dicom", "data.root=heads", "data.contrasts=[T1w,FLAIR]"],
}


@pytest.fixture(scope="module")
def written_heads(tmp_path_factory):
    """Four people in two contrasts, in all formats; one file of each is damaged."""
    folder = tmp_path_factory.mktemp("written")
    for person in "abcd":
        for name, factor in NAMES.items():
            values, affine = head()
            values = np.round(values * factor + 50 * (values > 0) * "abcd".index(person))
            write_nifti(folder / f"heads/sub-{person}/anat/sub-{person}_{name}.nii.gz", values, tilted(affine))
            fields = {"PatientID": person, "SeriesDescription": name}
            write_series(folder / f"heads/dicom/{person}{name}", values, tilted(affine), **fields)
    for name in ("heads/sub-e/anat/sub-e_T1w.nii.gz", "heads/dicom/damaged.dcm"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return folder / "heads"


@pytest.fixture
def heads(written_heads, tmp_path):
    return shutil.copytree(written_heads, tmp_path / "heads", copy_function=os.link)


@pytest.mark.parametrize("source", SOURCES)
def test_train_evaluate_resume(heads, run_entry, source, capsys, tmp_path, cache):
    """The data of a run are found again without their options: by evaluate.py, and by train.py resume=."""
    before = len([*cache.glob("images-*")])
    run_entry("train.py", *SETTINGS, *SOURCES[source], "trainer.max_epochs=1", f"data.transform.fov_mm={200 + len(source)}")
    log = Path("runs/now/train.log").read_text()
    assert "train on 2 volumes of 1 patient, " in log and "skipped 1 of" in log and "co-registered contrasts" in log
    rows = [*csv.DictReader(Path("runs/now/splits.csv").read_text().splitlines())]
    assert len(rows) == 6 and len({row["coregistered"] for row in rows}) == 3
    stored = Checkpoint.read("runs/now").config["data"]
    assert stored["plane"] == "axial" and not {"patterns", "patient"} & stored.keys()
    run_entry("evaluate.py", "num_samples=2", "steps=2", "accelerator=cpu", "out=judged")
    assert len([*cache.glob("images-*")]) == before + 1  # prepared images are found again
    assert json.loads(Path("judged/evaluation.json").read_text())["held_out"]["patients"] == 2
    run_entry("train.py", "resume=runs/now", "trainer.max_epochs=2", "hydra.run.dir=runs/again")
    assert OmegaConf.load("runs/again/config.yaml").data.slice_mm == 5.0
    assert "no longer splits" not in capsys.readouterr().err


def test_a_second_data_set_whose_patients_have_the_same_names(heads, run_entry, capsys):
    """sub-a of another tree may be another person: the error names data.study, which keeps the two apart."""
    run_entry("train.py", *SETTINGS, *SOURCES["bids"], "trainer.max_epochs=1")
    evaluate = [
        "evaluate.py",
        "num_samples=2",
        "steps=2",
        "accelerator=cpu",
        "data.seed=5",
    ]  # validates on c, which the model was trained on
    assert "if they are other people with the same names, give data.study=NAME" in bad(capsys, run_entry, *evaluate, "out=no")
    run_entry(*evaluate, "data.study=second", "out=yes")
    assert "copies: no search" in capsys.readouterr().out
    begun = [*SETTINGS, *SOURCES["bids"], "trainer.max_epochs=1", "data.seed=5", "init=runs/now"]
    assert "give data.study=NAME" in bad(capsys, run_entry, "train.py", *begun, "hydra.run.dir=runs/no")
    run_entry("train.py", *begun, "data.study=second", "hydra.run.dir=runs/yes")


def test_translation_goes_back_to_the_place_of_the_scan(heads, run_entry, tmp_path, capsys):
    """Of a NIfTI file and of the same scan in DICOM, to both formats: one array and one place; samples have an orientation."""
    run_entry("train.py", *SETTINGS, *SOURCES["bids"], "trainer.max_epochs=1")
    source = {"nifti": "heads/sub-a/anat/sub-a_T1w.nii.gz", "dicom": "heads/dicom/aT1w"}
    drawing = ["contrast=FLAIR", "source=T1w", "strength=0.3", "steps=3", "accelerator=cpu"]
    for name, file in source.items():
        run_entry("sample.py", f"init={file}", *drawing, f"format={name}", f"out={name}")
    ours = nifti.read_stack(tmp_path / "nifti/nifti/FLAIR.nii.gz", "axial")
    theirs = dicom.read_stack(sorted((tmp_path / "dicom/dicom/FLAIR.dcm").iterdir()), "axial")
    torch.testing.assert_close(ours.values, theirs.values, atol=2e-3, rtol=0)
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-3)
    scan = nifti.read_stack(tmp_path / source["nifti"], "axial")
    assert len(ours.values) == len(scan.values) and ours.voxel_mm == pytest.approx((5, 7.5, 7.5))  # 240 mm, 32 pixels
    middles = [stack.affine @ [(stack.values.shape[2] - 1) / 2, (stack.values.shape[1] - 1) / 2, 3, 1] for stack in (ours, scan)]
    np.testing.assert_allclose(*middles, atol=1e-3)
    few = [f"init={source['nifti']}", *drawing, "out=few", "init_slices=[3,5,9]"]
    line = bad(capsys, run_entry, "sample.py", *few, "format=dicom")
    assert "slices [3, 5, 9]: lie at different distances, and make no volume" in line
    run_entry("sample.py", *few)  # a picture needs no places
    for _ in range(2):  # the second replaces the series of the first
        run_entry("sample.py", "num_samples=1", "steps=2", "accelerator=cpu", "format=dicom", "out=drawn")
    assert sorted(path.name for path in (tmp_path / "drawn/dicom").iterdir()) == ["FLAIR_000001.dcm", "T1w_000000.dcm"]
    file = pydicom.dcmread(tmp_path / "drawn/dicom/T1w_000000.dcm/0001.dcm")
    assert file.SyntheticData == "YES" and "ImageComments" not in file and float(file.SliceThickness) == 5


def test_slices_of_another_plane(heads, run_entry, tmp_path):
    run_entry(
        "prepare.py",
        *SOURCES["bids"],
        "data.plane=sagittal",
        "data.slice_mm=null",
        "data.matrix=32",
        "data.workers=0",
        "data.cache=cache",
    )
    (folder,) = (tmp_path / "cache").glob("images-*")
    shapes = [json.loads(path.open("rb").readline())["shape"] for path in folder.glob("*.images")]
    assert len(shapes) == 8 and all(28 <= shape[0] <= 30 for shape in shapes)  # 150 mm of head


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["data.contrasts=[PDw]"],
            "data.contrasts=[PDw]: no PDw volume in data.root (there are 4 FLAIR, 4 T1w); give those that there are, "
            "data.contrasts=[FLAIR,T1w]",
        ),
        (["data.contrasts=[T1,FLAIR]"], "give those that there are, data.contrasts=[T1w,FLAIR]"),
        (
            ["data.contrasts=[T1w,T2w]"],
            "no T2w volume in data.root (there are 4 FLAIR, 4 T1w); give those that there are, data.contrasts=[T1w]",
        ),
        (["data.plane=oblique"], "data.plane=oblique: give axial or coronal or sagittal"),
        (["data.transform=complex", "data.select.coils=[0,9]"], "data.transform: complex images are made of k-space"),
        (
            ["data=nifti"],
            "data.patterns has no value; give one on the command line, data.patterns=... (contrast: pattern of the path",
        ),
        (["data.root=nowhere"], "data.root: no folder nowhere; give the one that holds the anatomical NIfTI files"),
        (["data.voxel_mm=[1,1]"], "data.voxel_mm=[1,1]: give three sizes in mm"),
        (["data.voxel_mm=2"], "data.voxel_mm=2: give three sizes in mm"),
        (["data=nifti", "data.patient=p", "data.patterns=x"], "data.patterns=x: give a pattern for each contrast"),
        (["data.root=heads/dicom/damaged.dcm"], "data.root: heads/dicom/damaged.dcm is a file; give the one that holds"),
        (["data.slice_mm=-1"], "data.slice_mm=-1: give"),
    ],
)
def test_bad_input(heads, run_entry, capsys, words, message):
    assert message in bad(capsys, run_entry, "train.py", *SETTINGS, *SOURCES["bids"], *words)
