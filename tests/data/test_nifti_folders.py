"""Folders of NIfTI files and BIDS trees: contrast, patient and acquisition parameters of every file, or a reason."""

import gzip
import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from condiff.data.cache import VolumeCache
from condiff.data.index import index
from condiff.data.metadata import volume_metadata
from condiff.data.nifti.bids import Bids
from condiff.data.nifti.patterns import NamedFiles
from condiff.data.nifti.reader import read_slices
from condiff.data.scans import InPlane
from condiff.data.split import coregistered
from condiff.data.transforms import Magnitude
from condiff.errors import InputError
from tests.data.heads import head, write_nifti

REAL = Path(__file__).parents[2].parent / "shared/data/bids"
SHAPES = {"T1w": (40, 48, 36), "ce-gad_T1w": (40, 48, 36), "T2w": (32, 40, 30), "FLAIR": (36, 44, 32)}


@pytest.fixture
def tree(tmp_path):
    """Two subjects, one with two sessions; T1w with and without agent share a grid. Parameters at every level."""
    root = tmp_path / "tree"
    for number, folder in enumerate(("sub-01/ses-1", "sub-01/ses-2", "sub-02")):
        for name, shape in SHAPES.items():
            values, affine = head(shape)
            stem = folder.replace("/", "_")
            write_nifti(root / folder / "anat" / f"{stem}_{name}.nii.gz", values * (1 + number), affine)
    sidecars = {
        "T1w.json": {"RepetitionTime": 0.5, "EchoTime": 0.01, "MagneticFieldStrength": 3},
        "sub-01/sub-01_T1w.json": {"EchoTime": 0.012},
        "sub-01/ses-1/anat/sub-01_ses-1_ce-gad_T1w.json": {"RepetitionTime": 0.6, "FlipAngle": 70},
        "FLAIR.json": {"InversionTime": 2.5, "RepetitionTime": "9"},
        "sub-02/anat/sub-02_T2w.json": {"EchoTime": 1e9, "FlipAngle": [1, 2]},
    }
    for name, fields in sidecars.items():
        (root / name).write_text(json.dumps(fields))
    return root


def found_in(root, cache, layout):
    return {str(volume.path.relative_to(root)): volume for volume in index(root, cache, layout).volumes}


def test_contrast_patient_and_parameters_of_a_tree(tree, tmp_path):
    """The closest sidecar wins; seconds become ms; values that cannot be, or of another type, count as not given."""
    volumes = found_in(tree, tmp_path / "cache", Bids())
    assert len(volumes) == 12 and {volume.patient for volume in volumes.values()} == {"01", "02"}
    plain = volumes["sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"]
    enhanced = volumes["sub-01/ses-1/anat/sub-01_ses-1_ce-gad_T1w.nii.gz"]
    flair, t2 = (volumes[f"sub-02/anat/sub-02_{suffix}.nii.gz"] for suffix in ("FLAIR", "T2w"))
    assert (plain.contrast, enhanced.contrast, flair.contrast, t2.contrast) == ("T1w", "ceT1w", "FLAIR", "T2w")
    assert volume_metadata(plain) == {"tr": 500, "te": 12, "field": 3, "agent": "without", "sequence": None, "site": None}
    assert volume_metadata(enhanced) == {
        "tr": 600,
        "te": 12,
        "flip": 70,
        "field": 3,
        "agent": "with",
        "sequence": None,
        "site": None,
    }
    assert volume_metadata(flair) == {"ti": 2500, "agent": None, "sequence": None, "site": None}
    assert volume_metadata(t2) == {"agent": None, "sequence": None, "site": None}
    assert plain.header.pixel_mm == (5, 5) and (plain.slices, plain.rows, plain.cols) == (36, 48, 40)


def test_what_can_be_no_head_is_left_out_before_the_split(tree, tmp_path):
    """Slices too few, a volume too thin for its voxel size, and a file that does not say how the head lies."""
    values, affine = head()
    write_nifti(tree / "sub-03/anat/sub-03_T1w.nii.gz", values[:, :, :3], affine)
    write_nifti(tree / "sub-04/anat/sub-04_T1w.nii.gz", values, np.diag([1.0, 1.0, 1.0, 1.0]))
    unknown = nib.Nifti1Image(values, affine)
    unknown.set_sform(affine, 0)
    unknown.set_qform(affine, 0)
    (tree / "sub-05/anat").mkdir(parents=True)
    nib.save(unknown, tree / "sub-05/anat/sub-05_T1w.nii.gz")
    reasons = {path.name[:6]: reason for path, reason in index(tree, tmp_path / "cache", Bids()).skipped.items()}
    assert reasons["sub-03"] == "has 3 slices; 4 or more expected"
    assert "covers 40 x 48 x 36 mm with voxels of 1 x 1 x 1 mm" in reasons["sub-04"] and "data.voxel_mm" in reasons["sub-04"]
    assert "how the head lies" in reasons["sub-05"]
    mended = index(tree, tmp_path / "cache", Bids(voxel_mm=[5.0, 5.0, 5.0]))
    assert {path.name[:6] for path in mended.skipped} == {"sub-03", "sub-05"}


def test_the_site_of_a_subject_is_a_column_of_the_participants(tree, tmp_path):
    (tree / "participants.tsv").write_text("participant_id\tage\tmake\nsub-01\t40\tA-1 (old); of B\nsub-02\t50\tn/a\n")
    sites = {volume.patient: volume.site for volume in index(tree, tmp_path / "cache", Bids("make")).volumes}
    assert sites == {"01": "A-1 old of B", "02": ""}
    with pytest.raises(InputError, match="data.site=brand: .*participants.tsv has the columns participant_id, age, make"):
        index(tree, tmp_path / "cache", Bids("brand"))
    (tree / "participants.tsv").unlink()
    with pytest.raises(InputError, match="data.site=make: .*participants.tsv: No such file"):
        index(tree, tmp_path / "cache", Bids("make"))


def test_contrasts_on_the_same_grid_are_recorded(tree, tmp_path):
    """Within a session: a person lies differently in the next one, whatever the affine."""
    groups = coregistered(index(tree, tmp_path / "cache", Bids()).volumes)
    assert [sorted(volume.contrast for volume in group) for group in groups] == 3 * [["T1w", "ceT1w"]]


def test_what_is_no_anatomical_magnitude_is_left_out(tree, tmp_path, caplog):
    values, affine = head()
    for name in (
        "sub-01/ses-1/func/sub-01_ses-1_task-rest_bold", "derivatives/x/sub-01/anat/sub-01_T1w", "sub-01/ses-1/anat/.hidden_T1w",
        "sub-02/anat/sub-02_part-phase_T1w", "sub-02/anat/T1w final",
    ):  # fmt: skip
        write_nifti(tree / f"{name}.nii.gz", values, affine)
    (tree / "sub-02/anat/sub-02_ce-gad_T1w.json").write_text("{broken")
    write_nifti(tree / "sub-02/anat/sub-02_run-2_T1w.nii.gz", np.stack([values] * 2, -1), affine)
    (tree / "sub-02/anat/sub-02_run-3_T1w.nii.gz").write_bytes(b"no NIfTI")
    found = index(tree, tmp_path / "cache", Bids())
    reasons = {path.name: reason for path, reason in found.skipped.items()}
    assert len(found.volumes) == 12 and reasons.keys() == {
        "sub-02_part-phase_T1w.nii.gz", "T1w final.nii.gz", "sub-02_run-2_T1w.nii.gz", "sub-02_run-3_T1w.nii.gz",
    }  # fmt: skip
    assert "phase part" in reasons["sub-02_part-phase_T1w.nii.gz"] and "no BIDS name" in reasons["T1w final.nii.gz"]
    assert "(40, 48, 36, 2)" in reasons["sub-02_run-2_T1w.nii.gz"] and "as NIfTI" in reasons["sub-02_run-3_T1w.nii.gz"]
    assert "sub-02_ce-gad_T1w.json: no acquisition parameters" in caplog.text


def test_nothing_is_read_again_and_a_changed_sidecar_counts(tree, tmp_path, monkeypatch):
    before = found_in(tree, tmp_path / "cache", Bids())
    monkeypatch.setattr(Bids, "row", lambda self, path: pytest.fail(f"{path} is read again"))
    assert found_in(tree, tmp_path / "cache", Bids()) == before
    (tree / "T1w.json").write_text('{"RepetitionTime": 0.7}')
    after = found_in(tree, tmp_path / "cache", Bids())["sub-02/anat/sub-02_T1w.nii.gz"]
    assert after.header.tr == 700 and after.header.te is None


def test_a_truncated_file_is_left_out_when_it_is_prepared(tree, tmp_path):
    victim = tree / "sub-02/anat/sub-02_T2w.nii.gz"
    victim.write_bytes(victim.read_bytes()[:-3000])
    volumes = index(tree, tmp_path / "cache", Bids()).volumes
    cache = VolumeCache(tmp_path / "cache", read_slices, Magnitude(32, 1, 240.0))
    cache.prepare(volumes, 0, "some")
    (reason,) = [reason for path, reason in cache.failures(volumes).items() if path == victim]
    assert "cannot be read as NIfTI" in reason and len(cache.failures(volumes)) == 1


@pytest.mark.parametrize(
    ("patterns", "patient", "labels"),
    [
        ({"T1": "*_t1.nii", "T2": "*_t2.nii"}, r"(p\d+)", {"p1/a_t1.nii": ("T1", "p1"), "p2/a_t2.nii": ("T2", "p2")}),
        ({"T1": "p1/*", "T2": "p2/*"}, r"p\d", {"p1/a_t1.nii": ("T1", "p1"), "p2/a_t2.nii": ("T2", "p2")}),
    ],
)
def test_names_tell_contrast_and_patient(tmp_path, patterns, patient, labels):
    values, affine = head()
    for index_, name in enumerate(("p1/a_t1.nii", "p2/a_t2.nii", "x/a_t1_t2.nii", "q/a_t1.nii")):
        write_nifti(tmp_path / "data" / name, values * (1 + index_), affine)
    found = index(tmp_path / "data", tmp_path / "cache", NamedFiles(patterns, patient))
    assert {str(v.path.relative_to(tmp_path / "data")): (v.contrast, v.patient) for v in found.volumes} == labels
    of_site = index(tmp_path / "data", tmp_path / "cache", NamedFiles(patterns, patient, r"^\w"))
    assert [volume.site for volume in of_site.volumes] == ["p", "p"]
    reasons = " ".join(found.skipped.values())
    assert len(found.skipped) == 2 and ("names no patient" in reasons or "matches none of data.patterns (T1: p1/*, " in reasons)


@pytest.mark.parametrize(
    ("patterns", "patient", "message"),
    [
        ({}, "p", "data.patterns: is empty"),
        ({"T1": "*"}, "", "data.patient: is empty"),
        ({"T1": "*"}, "(p", "is no regular expression"),
        ({"T1": "*"}, r"(\w+)+x", "may search for ever"),
        ({"T1": "*"}, r".*.*.*.*.*x", "may search for ever"),
        ({"T1": "*"}, r"(?x)^(\w+) +!", "has flags or a lookaround"),
        ({"T1": "*"}, 22 * r"\w?" + "!", "may search for ever"),
        ({"T1": "*"}, 22 * "(?:a|a)" + "!", "may search for ever"),
        ({"T1": "_t1"}, "p", r"data.patterns=.T1: _t1.: fit none of 1 path, which look like a.nii; a \* stands"),
        ({"T1": "*"}, r"sub-\d", r"data.patient=sub-.*: is found in none of 1 path, which look like a.nii; give"),
    ],
)
def test_patterns_that_cannot_be(patterns, patient, message):
    layout = NamedFiles(patterns, patient)  # a model that only samples lists no files
    with pytest.raises(InputError, match=message):
        layout.volumes(Path(), {"a.nii": {}})


def test_patients_that_are_files(tmp_path, caplog):
    """A patient of his own in every file, although there are two contrasts: said, because his scans may be in two splits."""
    values, affine = head()
    for number, name in enumerate(("p1_T1.nii", "p1_t2.nii", "p2_T1.nii")):
        write_nifti(tmp_path / "data" / name, values * (1 + number), affine)
    for patient, said in ((".*", True), (r"p\d", False)):
        caplog.clear()
        found = index(tmp_path / "data", tmp_path / "cache", NamedFiles({"T1": "*_t1*", "T2": "*_T2*"}, patient))
        assert len(found.volumes) == 3 and ("every file has a patient of its own" in caplog.text) == said


def test_thick_slices_of_another_plane_are_left_out_before_the_split(tmp_path):
    """At 3 mm and less, whatever the noise of the affine, they are read; of one patient the other contrast stays."""
    layout = InPlane(NamedFiles({"T1": "*_t1*", "T2": "*_t2*"}, r"p\d"), "axial")
    scans = {"p1_t1": (6.0, 2.5, 2.5), "p1_t2": (2.5, 2.5, 6.0), "p2_t1": (3.0001, 1.0, 4.0)}
    for number, (name, voxel) in enumerate(scans.items()):
        values, affine = head(tuple(round(200 / size) for size in voxel), voxel)
        write_nifti(tmp_path / f"data/{name}.nii", values * (1 + number), affine)
    found = index(tmp_path / "data", tmp_path / "cache", layout)
    assert [volume.path.stem for volume in found.volumes] == ["p1_t2", "p2_t1"]
    assert found.volumes[0].voxel_mm == pytest.approx((2.5, 2.5, 6))
    (reason,) = found.skipped.values()
    assert "is a scan of sagittal slices 6 mm thick, of which axial images have pixels of 6 x 2.5 mm; move it out" in reason


def test_several_scans_of_a_contrast_are_told(tmp_path, caplog):
    values, affine = head()
    for number in range(12):
        write_nifti(tmp_path / f"data/p1_t1_{number}.nii", values * (1 + number), affine)
    index(tmp_path / "data", tmp_path / "cache", NamedFiles({"T1": "*_t1*"}, r"p\d"))
    assert "p1 has several T1 of one grid, p1_t1_0.nii and p1_t1_1.nii; narrow data.patterns" in caplog.text
    assert "p1_t1_2" not in caplog.text


def test_patients_that_differ_in_case_are_told(tmp_path, caplog):
    values, affine = head()
    for number, name in enumerate(("P1_t1.nii", "p1_t2.nii", "p2_t1.nii")):
        write_nifti(tmp_path / "data" / name, values * (1 + number), affine)
    index(tmp_path / "data", tmp_path / "cache", NamedFiles({"T1": "*_t1*", "T2": "*_t2*"}, r"(?P<who>[Pp]\d)_"))
    assert "data.patient: P1 and p1 count as several patients" in caplog.text


def test_derivatives_beside_the_scans(tree, tmp_path):
    values, affine = head()
    write_nifti(tree / "sub-02/anat/sub-02_desc-brain_T1w.nii.gz", values * 7, affine)
    found = index(tree, tmp_path / "cache", Bids())
    assert len(found.volumes) == 12
    (reason,) = found.skipped.values()
    assert reason == "is a derivative, by desc-brain; scans are read"


@pytest.mark.parametrize("folder", ["..", "sub-01", "sub-01/ses-1"])
def test_a_root_beside_the_tree(tree, tmp_path, folder):
    """One level too high or too low: the line names the tree."""
    with pytest.raises(InputError, match=f"a BIDS tree begins at {tree}: give that, data.root={tree}"):
        index(tree / folder / "anat" if "ses" in folder else tree / folder, tmp_path / "cache", Bids())


def test_archives_are_to_be_unpacked(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/scans.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match="holds no NIfTI file .1 .zip file found.; unpack the archives, or give the folder"):
        index(tmp_path / "data", tmp_path / "cache", NamedFiles({"T1": "*"}, "p"))


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (Bids(), "holds no anatomical NIfTI file .1 .gz file found.; give the root of a BIDS tree"),
        (NamedFiles({"T1": "*"}, "p"), "holds no NIfTI file .*data.root=DIR"),
    ],
)
def test_folders_without_scans(tmp_path, layout, message):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/notes.gz").write_bytes(gzip.compress(b"x"))
    with pytest.raises(InputError, match=message):
        index(tmp_path / "data", tmp_path / "cache", layout)


@pytest.mark.skipif(not REAL.is_dir(), reason="no real data here")
def test_a_real_tree(tmp_path):
    """Of 81 scans of 37 people 72 have a voxel size that can be true; what its README says of them."""
    volumes = index(REAL, tmp_path, Bids()).volumes
    counts = {contrast: sum(v.contrast == contrast for v in volumes) for contrast in ("T1w", "ceT1w", "T2w", "FLAIR")}
    assert counts == {"T1w": 29, "ceT1w": 4, "T2w": 9, "FLAIR": 30}  # nine of ceT1w have a placeholder as voxel size
    assert len({v.patient for v in volumes}) == 28
    assert sorted({group[0].patient: len(group) for group in coregistered(volumes)}.items()) == [
        ("msc07", 4), ("msc19", 4), ("tcga01", 2),
    ]  # fmt: skip


def test_odd_files_of_a_tree_stop_nothing(tree, tmp_path, caplog):
    """A FIFO for a sidecar, a quaternion that is no rotation, the same bytes under two names, a table with an open quote."""
    (tree / "FLAIR.json").unlink()
    os.mkfifo(tree / "FLAIR.json")
    first = tree / "sub-02/anat/sub-02_T1w.nii.gz"
    content = bytearray(gzip.decompress(first.read_bytes()))
    content[252:256] = b"\x01\0\0\0"  # qform_code 1, sform_code 0
    content[256:268] = np.array([2, 2, 2], "<f4").tobytes()
    (tree / "sub-08/anat").mkdir(parents=True)
    (tree / "sub-08/anat/sub-08_T1w.nii").write_bytes(content)
    (tree / "sub-09/anat").mkdir(parents=True)
    shutil.copy(first, tree / "sub-09/anat/sub-09_T1w.nii.gz")
    (tree / "participants.tsv").write_text('participant_id\tmake\nsub-01\t"A\nsub-02\tB\n\nsub-03\n')
    found = index(tree, tmp_path / "cache", Bids("make"))
    reasons = {path.name: reason for path, reason in found.skipped.items()}
    assert "a quaternion that is no rotation" in reasons["sub-08_T1w.nii"]
    assert "of another patient; give the person one name" in reasons["sub-09_T1w.nii.gz"]
    assert {volume.patient: volume.site for volume in found.volumes} == {"01": "A", "02": "B"}
    assert "FLAIR.json: no acquisition parameters" in caplog.text
