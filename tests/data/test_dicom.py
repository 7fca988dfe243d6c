"""DICOM series: read as their own geometry says, each fault in one line, nothing of the person kept."""

import os
import shutil
import subprocess
from functools import partial

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, generate_uid

from condiff.data import image_files
from condiff.data.conditioning import ContrastCondition
from condiff.data.dicom.contrast import contrast_of
from condiff.data.dicom.frames import is_dicom, read_frames
from condiff.data.dicom.layout import Dicom, series_at
from condiff.data.dicom.reader import read_slices, read_stack
from condiff.data.image_spec import ImageSpec
from condiff.data.index import index
from condiff.data.metadata import volume_metadata
from condiff.data.nifti import reader as nifti
from condiff.data.transforms import Magnitude
from condiff.errors import DataFault, InputError
from tests.data.heads import head, tilted, turned, write_nifti

TO_LPS = np.diag([-1.0, -1.0, 1.0])
MR_IMAGE, ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
FIELDS = {
    "Modality": "MR", "PatientName": "Doe^Jane", "PatientID": "Jane Doe 77", "PatientBirthDate": "19660102",
    "SeriesDescription": "t1_se_tra", "RepetitionTime": 500, "EchoTime": 12, "FlipAngle": 90, "MagneticFieldStrength": 1.5,
    "ImageType": ["ORIGINAL", "PRIMARY", "M"], "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 0, "RescaleSlope": 0.5, "RescaleIntercept": 0,
    "ScanningSequence": "SE", "SequenceVariant": "NONE", "ScanOptions": "", "MRAcquisitionType": "2D", "Manufacturer": "none",
    "StudyDate": "20200101", "StudyTime": "100000", "PatientPosition": "HFS",
}  # fmt: skip


def new_file(sop_class, **fields):
    data = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=bytes(128))
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = sop_class
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    for name, value in (FIELDS | fields).items():
        if value is not None:
            setattr(data, name, value)
    return data


def geometry(affine, index=0):
    """Orientation, spacing and position of a slice of an array (columns, rows, slices) with an affine."""
    sizes = nib.affines.voxel_sizes(affine)
    directions = TO_LPS @ affine[:3, :3] / sizes
    position = TO_LPS @ (affine @ [0, 0, index, 1])[:3]
    return [*directions[:, 0], *directions[:, 1]], [sizes[1], sizes[0]], list(position), sizes[2]


def short(numbers):
    return [f"{number:.10g}"[:16] for number in numbers]


def write_series(folder, values, affine, names="{:03d}.dcm", **fields):
    """One file a slice of an array (columns, rows, slices); pixels are twice the values."""
    folder.mkdir(parents=True, exist_ok=True)
    uids = {"SeriesInstanceUID": generate_uid(), "StudyInstanceUID": generate_uid()}
    uids["FrameOfReferenceUID"] = generate_uid(entropy_srcs=[str(fields.get("PatientID"))])  # one a person
    paths = []
    for number in range(values.shape[2]):
        orientation, spacing, position, thickness = geometry(affine, number)
        data = new_file(MR_IMAGE, **uids | fields)
        data.ImageOrientationPatient, data.PixelSpacing = short(orientation), short(spacing)
        data.ImagePositionPatient, data.SliceThickness = short(position), short([thickness])[0]
        data.Columns, data.Rows, data.InstanceNumber, data.SeriesNumber = *values.shape[:2], number + 1, 3
        data.PixelData = np.round(2 * values[:, :, number].T).astype(np.uint16).tobytes()
        paths.append(folder / names.format(number))
        data.save_as(paths[-1], enforce_file_format=True)
    return paths


def write_enhanced(path, values, affine):
    """All slices as the frames of one file, in any order."""
    data = new_file(ENHANCED_MR_IMAGE, SeriesInstanceUID=generate_uid(), RescaleSlope=None, RescaleIntercept=None, EchoTime=None)
    order = np.random.default_rng(0).permutation(values.shape[2])
    orientation, spacing, _, _ = geometry(affine)
    shared = Dataset()
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence, shared.MREchoSequence = [Dataset()], [Dataset()], [Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = short(orientation)
    shared.PixelMeasuresSequence[0].PixelSpacing = short(spacing)
    shared.MREchoSequence[0].EffectiveEchoTime = 14.0
    frames = []
    for number in order:
        frame = Dataset()
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [Dataset()], [Dataset()]
        frame.PlanePositionSequence[0].ImagePositionPatient = short(geometry(affine, number)[2])
        frame.PixelValueTransformationSequence[0].RescaleSlope = 0.5
        frame.PixelValueTransformationSequence[0].RescaleIntercept = 0
        frames.append(frame)
    data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = [shared], frames
    data.Columns, data.Rows, data.NumberOfFrames = *values.shape[:2], len(order)
    data.PixelData = np.stack([np.round(2 * values[:, :, number].T) for number in order]).astype(np.uint16).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def found_in(folder, tmp_path, patterns=None):
    return index(folder, tmp_path / "cache", Dicom(patterns))


@pytest.fixture
def scan():
    """An oblique scan with voxels of three sizes, stored from right to left and front to back."""
    values, affine = head((38, 32, 24), (5.0, 6.5, 6.0))
    return turned(np.round(values, 0), tilted(affine), "LPS")


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_as_the_same_scan_in_nifti(scan, tmp_path, plane):
    """Whatever the order of the files, and in one file of many frames."""
    truth = nifti.read_stack(write_nifti(tmp_path / "a.nii", *scan), plane)
    classic = write_series(tmp_path / "classic", *scan)
    for paths in (classic, classic[::-1], [write_enhanced(tmp_path / "enhanced/a.dcm", *scan)]):
        stack = read_stack(paths, plane)
        torch.testing.assert_close(stack.values, truth.values)
        np.testing.assert_allclose(stack.affine, truth.affine, atol=1e-3)
    slices, pixel_mm = nifti.read_slices(tmp_path / "a.nii", plane, slice_mm=8.0)
    ours, ours_mm = read_slices(*classic, plane=plane, slice_mm=8.0)
    torch.testing.assert_close(ours, slices)
    assert ours_mm == pytest.approx(pixel_mm, rel=1e-5)


@pytest.mark.skipif(not shutil.which("dcm2niix"), reason="dcm2niix is not installed")
def test_as_dcm2niix_reads_it(scan, tmp_path):
    paths = write_series(tmp_path / "series", *scan)
    subprocess.run(["dcm2niix", "-f", "a", "-o", tmp_path, tmp_path / "series"], check=True, capture_output=True)
    truth, ours = nifti.read_stack(tmp_path / "a.nii", "axial"), read_stack(paths, "axial")
    torch.testing.assert_close(ours.values, truth.values)
    np.testing.assert_allclose(ours.affine, truth.affine, atol=1e-3)


def test_series_are_volumes_however_their_files_lie(scan, tmp_path):
    values, affine = scan
    folder = tmp_path / "data"
    write_series(folder, values, affine, "a{:03d}")
    t2 = {"SeriesDescription": "T2 TSE", "EchoTime": 90, "RepetitionTime": 4000}
    write_series(folder, 0.5 * values, affine, "b{:03d}.IMA", **t2)
    write_series(folder / "other", values, affine, "1.2.840.{}", PatientID="8", ContrastBolusAgent="Gd", SeriesDescription="")
    volumes = sorted(found_in(folder, tmp_path).volumes, key=lambda volume: volume.contrast)
    assert [volume.contrast for volume in volumes] == ["T1w", "T2w", "ceT1w"]
    assert [volume.slices for volume in volumes] == 3 * [24] and [len(volume.files) for volume in volumes] == 3 * [24]
    assert volumes[0].patient == volumes[1].patient != volumes[2].patient and volumes[0].grid == volumes[1].grid
    assert volume_metadata(volumes[1]) == {
        "tr": 4000,
        "te": 90,
        "flip": 90,
        "field": 1.5,
        "agent": None,
        "sequence": None,
        "site": None,
    }
    assert volume_metadata(volumes[2])["agent"] == "with"
    torch.testing.assert_close(read_stack(volumes[1].files, "axial").values, 0.5 * read_stack(volumes[0].files, "axial").values)


def test_the_site_is_a_make(scan, tmp_path):
    write_series(tmp_path / "data", *scan, Manufacturer="MAKER, Inc.", ManufacturerModelName="M3")
    for site, word in (("Manufacturer", "MAKER Inc."), ("ManufacturerModelName", "M3"), (None, "")):
        (volume,) = index(tmp_path / "data", tmp_path / "cache", Dicom(site=site)).volumes
        assert volume.site == word
    with pytest.raises(InputError, match="data.site=Station: there are Manufacturer and ManufacturerModelName"):
        Dicom(site="Station")


def test_nothing_of_the_person_is_kept(scan, tmp_path):
    write_series(tmp_path / "data", *scan, SeriesDescription="brain of jane")
    (volume,) = found_in(tmp_path / "data", tmp_path).volumes
    kept = "".join(path.read_text() for path in (tmp_path / "cache").rglob("*.csv")) + repr(volume)
    assert not any(word in kept.lower() for word in ("doe", "jane", "19660102", "jane doe 77"))  # digits of a hash may be 1966


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "is a localizer"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "is a mosaic of several slices; convert it with dcm2niix"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P"]}, "is a phase image"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "I_FFE", "I", "FFE"]}, "is the imaginary part of a complex image"),
        ({"ComplexImageComponent": "PHASE"}, "is a phase image (0008,9208); magnitudes expected"),
        ({"Modality": "CT"}, "is of modality CT; MR expected"),
        ({"SamplesPerPixel": 3}, "holds colours"),
        ({"SeriesInstanceUID": None}, "what series they are of"),
        ({"PatientID": "", "PatientName": ""}, "its series of 24 files names no patient"),
        ({"SeriesDescription": "resting", "EchoTime": 40}, "no contrast that description or TR, TE and TI tell (resting, "),
        ({"SeriesDescription": "t2*_swi"}, "no contrast"),
        ({"SeriesDescription": "Sub_T1", "PatientID": "sub-01"}, "no contrast"),
        ({"SeriesDescription": "T1 mapping", "PatientID": "MAP-01"}, "no contrast"),
    ],
)
def test_series_of_no_use(scan, tmp_path, fields, reason):
    write_series(tmp_path / "data", *scan, **fields)
    with pytest.raises(InputError, match="holds no readable volume .24 DICOM files"):
        found_in(tmp_path / "data", tmp_path)
    report = next((tmp_path / "cache").rglob("index_report.csv")).read_text()
    assert reason in report


def test_places_missing_and_places_twice(scan, tmp_path):
    """A gap, a copy, several volumes in a series, too few slices, no pixels, half a file: one line each; the rest is read."""
    values, affine = scan
    for number, name in enumerate(("gap", "copy", "backup", "twice", "few", "bare", "cut", "good")):
        paths = write_series(tmp_path / "data" / name, values + number, affine, SeriesDescription=f"t1 {number}")
        if name == "gap":
            paths[10].unlink()
        if name in ("bare", "cut"):
            for path in paths[:-3]:
                path.unlink()
        if name == "few":
            [path.unlink() for path in paths[3:]]
        if name == "copy":
            shutil.copy(paths[4], paths[4].with_name("copy.dcm"))
        if name == "backup":
            [shutil.copy(path, path.with_name(f"again{path.name}")) for path in paths]
        if name == "twice":
            for path in paths[:12]:  # of a second volume, which was not finished
                data = pydicom.dcmread(path)
                data.PixelData, data.SOPInstanceUID = bytes(len(data.PixelData)), generate_uid()
                data.save_as(path.with_name(f"0{path.name}"))
        if name == "bare":
            data = pydicom.dcmread(paths[-1])
            del data.PixelData
            data.save_as(paths[-1])
        if name == "cut":
            paths[-1].write_bytes(paths[-1].read_bytes()[:200])
    (tmp_path / "data/README").write_text("no DICOM")
    found = found_in(tmp_path / "data", tmp_path)
    assert sorted(volume.path.parent.name for volume in found.volumes) == ["backup", "copy", "good"]
    first = {(path.parent.name, reason): path for path, reason in reversed(found.skipped.items())}  # of the files of a series
    reasons = {f"{path.parent.name}/{path.name}": reason for (_, reason), path in first.items()}
    expected = {
        "gap/000.dcm": "its series of 23 files misses about 1 slice (steps of 6 and 12 mm); copy it again",
        "copy/copy.dcm": "is a copy of 004.dcm",
        "twice/000.dcm": "its series of 36 files has 36 images of 24 places",
        **{f"backup/again{number:03d}.dcm": f"is a copy of {number:03d}.dcm" for number in range(24)},
        "few/000.dcm": "its series of 3 files has 3 slices; 4 or more expected",
        "bare/023.dcm": "holds no pixel data",
        "bare/021.dcm": "its series of 2 files has 2 slices",
        "cut/023.dcm": "holds no pixel data",
        "cut/021.dcm": "its series of 2 files has 2 slices",
        "data/README": "is no DICOM file",
    }
    assert reasons.keys() == expected.keys()
    for name, words in expected.items():
        assert words in reasons[name], name


def test_what_may_block_or_burst_is_not_opened(scan, tmp_path):
    """A FIFO, and a file whose elements are compressed as a whole."""
    paths = write_series(tmp_path / "data", *scan)
    os.mkfifo(tmp_path / "data/pipe.dcm")
    os.mkfifo(tmp_path / "data/pipe.nii")
    data = pydicom.dcmread(paths[0])
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(tmp_path / "data/deflated.dcm")
    skipped = {path.name: reason for path, reason in found_in(tmp_path / "data", tmp_path).skipped.items()}
    assert skipped.keys() == {"pipe.dcm", "deflated.dcm"}
    assert "no regular file" in skipped["pipe.dcm"] and "is deflated" in skipped["deflated.dcm"]
    with pytest.raises(DataFault, match="no regular file"):
        nifti.read_header(tmp_path / "data/pipe.nii")
    with pytest.raises(DataFault, match="no regular file"):
        nifti.read_stack(tmp_path / "data/pipe.nii", "axial")


def test_a_patient_s_echoes_are_volumes_of_their_own(scan, tmp_path):
    values, affine = scan
    series = generate_uid()
    for te in (15, 90):
        fields = {"EchoTime": te, "RepetitionTime": 3000, "SeriesInstanceUID": series, "SeriesDescription": "pd+t2"}
        write_series(tmp_path / f"data/{te}", values + te, affine, **fields)
    volumes = found_in(tmp_path / "data", tmp_path, {"both": "pd*"}).volumes
    assert sorted(volume.header.te for volume in volumes) == [15, 90] and {volume.contrast for volume in volumes} == {"both"}


def test_files_of_two_grids(scan, tmp_path):
    values, affine = scan
    one, other = write_series(tmp_path / "a", values, affine), write_series(tmp_path / "b", values[2:], affine)
    with pytest.raises(DataFault, match="lies on another grid than 000.dcm"):
        read_stack([*one, *other], "axial")


def test_phase_of_an_enhanced_image(scan, tmp_path):
    path = write_enhanced(tmp_path / "a.dcm", *scan)
    data = pydicom.dcmread(path)
    for component, is_read in (("MAGNITUDE", True), ("PHASE", False)):
        kind = Dataset()
        kind.ComplexImageComponent = component
        data.PerFrameFunctionalGroupsSequence[3].MRImageFrameTypeSequence = [kind]
        data.save_as(path)
        if is_read:
            assert len(read_frames(path).positions) == scan[0].shape[2]
        else:
            with pytest.raises(DataFault, match="is a phase image .0008,9208."):
                read_frames(path)


def test_a_file_of_a_series_without_a_suffix(scan, tmp_path):
    """Named as scanners do; of another kind it is HDF5."""
    one, *_ = write_series(tmp_path / "data", *scan, names="IM{:04d}")
    assert is_dicom(one) and series_at(one).slices == scan[0].shape[2]
    spec = ImageSpec(
        partial(read_slices, plane="axial", slice_mm=None), Magnitude(matrix=32, downsample=1), ContrastCondition(["T1w"])
    )
    images, contrast, place = image_files.read(one, spec)
    assert images.shape == (scan[0].shape[2], 1, 32, 32) and contrast == "T1w" and place is not None


@pytest.mark.parametrize(
    ("description", "parameters", "agent", "contrast"),
    [
        ("AX T1 MPRAGE", {}, False, "T1w"), ("t1_mprage_sag_p2_iso_Gd", {}, False, "ceT1w"), ("SAG T1 POST", {}, False, "ceT1w"),
        ("anat-T1w", {}, False, "T1w"), ("t1_tse_tra", {}, True, "ceT1w"), ("T2 FLAIR ax", {}, False, "FLAIR"),
        ("t2_tse_tra", {}, False, "T2w"), ("t2_tirm_tra_dark-fluid", {}, False, "FLAIR"), ("T2* gre", {}, False, ""),
        ("ep2d_diff_3scan_trace", {"tr": 4000, "te": 90}, False, ""), ("SWI", {"tr": 28, "te": 20}, False, ""),
        ("", {"tr": 500, "te": 10}, False, "T1w"), ("", {"tr": 2000, "te": 3, "ti": 900}, True, "ceT1w"),
        ("", {"tr": 9000, "te": 90, "ti": 2500}, False, "FLAIR"), ("", {"tr": 4000, "te": 100}, False, "T2w"),
        ("", {"tr": 3000, "te": 15}, False, ""), ("", {}, False, ""),
        ("Ax T1 FLAIR", {}, False, "T1w"), ("t1_tirm_tra_dark-fluid", {}, True, "ceT1w"),
        ("AX T1 W/O CONTRAST", {}, False, "T1w"),
        ("SAG T1 pre gad", {}, False, "T1w"), ("SAG T1 pre gad", {}, True, ""),
        ("T1 non-contrast", {}, False, "T1w"), ("T1 ohne KM", {}, False, "T1w"),
        ("T1 post contrast", {}, False, "ceT1w"), ("t1_se_postKM", {}, False, "ceT1w"), ("T1 + C", {}, False, "ceT1w"),
        ("T2 posterior fossa", {}, False, "T2w"), ("T2 post fossa", {}, False, "T2w"), ("Ax PD/T2", {"te": 12}, False, ""),
        ("Ax PD/T2", {"te": 96}, False, "T2w"), ("t2_fl2d_tra_hemo", {}, False, ""), ("T2 GRE", {}, False, ""),
        ("T1 FFE 3D", {}, False, "T1w"), ("mp2rage_T1_Images", {}, False, ""), ("mp2rage_UNI", {}, False, "T1w"),
        ("T1 SE SUB", {}, False, ""), ("AX T1 POST W/O FS", {}, True, "ceT1w"), ("T1 PRE OP STEALTH +C", {}, True, "ceT1w"),
        ("T1 SE POST GD WITHOUT FAT SAT", {}, False, "ceT1w"), ("AAHead_Scout_32ch", {"tr": 3.15, "te": 1.37}, False, ""),
        ("Ax SWAN", {"tr": 40, "te": 25}, False, ""), ("MRV 2D", {"tr": 20, "te": 5}, False, ""), ("T1 RHO", {}, False, ""),
        ("COR STIR", {"tr": 4000, "te": 90, "ti": 150}, False, ""), ("t2_tirm_cor", {"ti": 150}, False, ""),
        ("s3DI_MC_HR", {"tr": 23, "te": 3.4}, False, ""), ("MRA COW", {"tr": 23, "te": 3.4}, False, ""),
        ("Sub_T1", {}, False, ""), ("T1 no contrast", {}, False, "T1w"), ("T1 mprage epilepsy", {}, False, "T1w"),
    ],
)  # fmt: skip
def test_contrast_of_words_and_parameters(description, parameters, agent, contrast):
    assert contrast_of(description, parameters, agent) == contrast


@pytest.mark.parametrize(
    ("agent", "contrast"), [("NONE", "T1w"), ("no", "T1w"), ("N/A", "T1w"), ("", "T1w"), ("Gadovist", "ceT1w")]
)
def test_no_agent_is_no_agent(scan, tmp_path, agent, contrast):
    write_series(tmp_path / "data", *scan, ContrastBolusAgent=agent, SeriesDescription="T1")
    assert found_in(tmp_path / "data", tmp_path).volumes[0].contrast == contrast


def test_parameters_of_enhanced_images(scan, tmp_path):
    """The inversion time and the agent lie in sequences: a FLAIR is not taken for T2, and the agent is found."""
    path = write_enhanced(tmp_path / "data/a.dcm", *scan)
    data = pydicom.dcmread(path)
    shared, (agent,) = data.SharedFunctionalGroupsSequence[0], (Dataset(),)
    shared.MREchoSequence[0].EffectiveEchoTime = 90.0
    shared.MRTimingAndRelatedParametersSequence, shared.MRModifierSequence = [Dataset()], [Dataset()]
    shared.MRTimingAndRelatedParametersSequence[0].RepetitionTime = 9000.0
    shared.MRModifierSequence[0].InversionTimes = [2500.0]
    data.ContrastBolusAgentSequence, data.SeriesDescription = [agent], ""
    data.save_as(path)
    (volume,) = found_in(tmp_path / "data", tmp_path).volumes
    assert (volume.contrast, volume.header.ti) == ("ceFLAIR", 2500.0)


def test_damage_of_one_file_stops_nothing(scan, tmp_path):
    """Elements that cannot be decoded, or contradict each other: a reason each; the other series is read."""
    write_series(tmp_path / "data/good", *scan)
    for name in ("samples", "frames"):
        data = pydicom.dcmread(write_enhanced(tmp_path / f"data/{name}.dcm", *scan))
        data.SeriesInstanceUID = generate_uid()
        data.NumberOfFrames = 10**6 if name == "frames" else data.NumberOfFrames
        data.save_as(tmp_path / f"data/{name}.dcm")
    path = tmp_path / "data/samples.dcm"
    element = bytes.fromhex("280002005553") + (2).to_bytes(2, "little")
    content = path.read_bytes()
    path.write_bytes(content.replace(element, bytes.fromhex("280002005553") + (3).to_bytes(2, "little"), 1))
    found = found_in(tmp_path / "data", tmp_path)
    assert [volume.path.parent.name for volume in found.volumes] == ["good"]
    reasons = {path.name: reason for path, reason in found.skipped.items()}
    assert reasons.keys() == {"samples.dcm", "frames.dcm"} and "1000000 frames, places of 24" in reasons["frames.dcm"]
    paths = write_series(tmp_path / "slope", *scan)
    content = paths[0].read_bytes()
    at = content.index(bytes.fromhex("280053104453")) + 8
    paths[0].write_bytes(content[:at] + b"abc"[: content[at - 2]] + content[at + min(3, content[at - 2]) :])
    with pytest.raises(DataFault, match="as DICOM"):
        read_stack(paths, "axial")


def test_synthetic_series_are_left_out_and_people_kept_apart(scan, tmp_path):
    values, affine = scan
    series = generate_uid()
    write_series(
        tmp_path / "data/made", values, affine, SyntheticData="YES", SeriesDescription="T1w synthetic", PatientName="SYNTHETIC"
    )
    for person in "ab":
        fields = {"PatientID": person, "SeriesInstanceUID": series}
        write_series(tmp_path / f"data/{person}", values + ord(person), affine, "{:03d}.dcm", **fields)
    found = found_in(tmp_path / "data", tmp_path)
    assert sorted(volume.path.parent.name for volume in found.volumes) == ["a", "b"]  # one identifier, two people
    (reason,) = {*found.skipped.values()}
    assert "is synthetic (0008,001C)" in reason and len(found.skipped) == 24  # the report has every file


@pytest.mark.parametrize(
    ("text", "secret", "person"),
    [
        ("brain of Li", "Li", ("Li^Jane", "jd-77")),
        ("T1 20010203", "20010203", ("Li^Jane", "jd-77")),
        ("id jd-77 t1", "jd-77", ("Li^Jane", "jd-77")),
        ("12.03.1980 AX T1", "12.03.1980", ("Li^Jane", "jd-77")),
        ("Swanson Ann T1 mprage", "Swanson", ("Swanson^Ann", "1")),
        ("T1 Gadner", "Gadner", ("Gadner^Jo", "1")),
        ("SmithT1 ax", "SmithT1", ("Smith^Jo", "1")),
        ("brain T20391", "T20391", ("Li^Jane", "T20391")),
        *((f"T1 {date}", date, ("Li^Jane", "1")) for date in ("1966_01_02", "20_01_1966", "02 01 1966", "02Jan1966", "2-Jan-66")),
        ("Müller T1", "Müller", ("Muller^Jo", "1")),
    ],
)
def test_descriptions_that_name_the_person_are_not_kept(scan, tmp_path, text, secret, person):
    fields = {"PatientName": person[0], "PatientID": person[1], "PatientBirthDate": "19660102"}
    write_series(tmp_path / "data", *scan, SeriesDescription=text, RepetitionTime=500, EchoTime=10, **fields)
    assert len(found_in(tmp_path / "data", tmp_path).volumes) == 1
    assert secret not in "".join(path.read_text() for path in (tmp_path / "cache").rglob("*.csv"))


@pytest.mark.parametrize(
    ("text", "fields", "contrast"),
    [
        ("t1 se post gd 20240105", {}, "ceT1w"),
        ("T2 FLAIR", {"PatientName": "Flair^Study"}, "FLAIR"),
        ("t1 se POST GD", {"PatientID": "POST-0017"}, "ceT1w"),
        ("AX T1 W/O CONTRAST", {"PatientName": "Smith^John^W"}, "T1w"),
        ("AX T1 FSE +C", {"PatientName": "Smith^John^C"}, "ceT1w"),
        ("T1 MPRAGE GADAVIST", {"PatientName": "X^Gad"}, "ceT1w"),
    ],
)
def test_words_of_a_protocol_stay_though_a_name_has_them(scan, tmp_path, text, fields, contrast):
    write_series(tmp_path / "data", *scan, **{"SeriesDescription": text, "RepetitionTime": 500, "EchoTime": 10, **fields})
    assert [volume.contrast for volume in found_in(tmp_path / "data", tmp_path).volumes] == [contrast]


def test_patterns_of_descriptions(scan, tmp_path):
    """The agent is the header's; a description that fits several patterns is left out."""
    write_series(tmp_path / "data/a", *scan, SeriesDescription="t1_mprage_km", ContrastBolusAgent="Gd")
    write_series(tmp_path / "data/b", *scan, SeriesDescription="t1 both")
    found = found_in(tmp_path / "data", tmp_path, {"T1w": "*t1*", "other": "*both*"})
    assert [(volume.contrast, volume.agent) for volume in found.volumes] == [("T1w", "with")]
    (reason,) = {*found.skipped.values()}
    assert "matches T1w and other of data.patterns (t1 both, tr 500, te 12, flip 90" in reason
    with pytest.raises(InputError, match=r"matches none of data.patterns \(t1"):
        found_in(tmp_path / "data", tmp_path, {"T2w": "*t2*"})


def test_two_acquisitions_of_a_series_are_not_interleaved(scan, tmp_path):
    values, affine = scan
    series = generate_uid()
    moved = affine.copy()
    moved[:3, 3] += 0.44 * affine[:3, 2]
    write_series(tmp_path / "data/a", values, affine, SeriesInstanceUID=series)
    write_series(tmp_path / "data/b", values // 3, moved, SeriesInstanceUID=series)
    with pytest.raises(InputError, match="several volumes in one"):
        found_in(tmp_path / "data", tmp_path)


def test_a_deflated_file_is_not_opened_wherever_it_says_so(scan, tmp_path):
    (path, *_) = write_series(tmp_path / "data", *scan)
    data = pydicom.dcmread(path)
    data.file_meta.PrivateInformationCreatorUID, data.file_meta.PrivateInformation = "1.2", bytes(5000)
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(path)
    with pytest.raises(DataFault, match="is deflated"):
        read_frames(path)


def test_an_image_type_of_one_value(scan, tmp_path):
    (path, *_) = write_series(tmp_path / "data", *scan, ImageType="PRIMARY")
    assert read_frames(path).size
