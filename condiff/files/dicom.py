"""DICOM series of generated or reconstructed slices, marked as such, without a patient.

Source: DICOM PS3.3, MR Image IOD (A.4), MR Image module (C.8.3.1), Synthetic Data (0008,001C) of SOP Common (C.12.1).
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from torch import Tensor

from condiff.errors import InputError
from condiff.files.place import LPS, UNKNOWN, Place

MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
WHITE = 30_000  # stored value of the brightest pixel
PARAMETERS = {
    "tr": "RepetitionTime", "te": "EchoTime", "ti": "InversionTime", "flip": "FlipAngle", "field": "MagneticFieldStrength",
}  # fmt: skip
FIELDS: Mapping[str, Any] = {
    "SpecificCharacterSet": "ISO_IR 192",
    "SOPClassUID": MR_IMAGE_STORAGE, "Modality": "MR", "Manufacturer": "condiff", "PatientBirthDate": "", "PatientSex": "",
    "AccessionNumber": "", "ReferringPhysicianName": "", "StudyID": "", "AcquisitionNumber": None, "Laterality": "",
    "PatientPosition": "HFS", "PositionReferenceIndicator": "", "ImageType": ["DERIVED", "SECONDARY", "OTHER"],
    "ScanningSequence": "RM", "SequenceVariant": "NONE", "ScanOptions": "", "MRAcquisitionType": "2D", "EchoTrainLength": None,
    "RepetitionTime": None, "EchoTime": None, "VOILUTFunction": "LINEAR_EXACT",
    "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 0, "RescaleIntercept": "0", "RescaleType": "US",
    "SeriesNumber": 1, "BurnedInAnnotation": "NO", "LossyImageCompression": "00",
}  # fmt: skip


def save_series(
    folder: Path, images: Tensor, place: Place, contrast: str, parameters: Mapping[str, Any], about: str, synthetic: bool
) -> None:
    """Magnitudes [S, H, W] as one series of MR Images, 0001.dcm and so on, in a folder that is new or empty.

    Rows and columns are turned to lead to the patient's left, back and feet, as viewers show them.

    Args:
        parameters: tr, te, ti (ms), flip (degrees), field (T), if known.
        about: a description of the series, after the contrast.
        synthetic: whether the images are generated, not measured.

    Raises:
        InputError: the folder holds files.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder}: holds files; a series needs a folder of its own, give another")
    folder.mkdir(parents=True, exist_ok=True)
    values, affine = _as_shown(images.float().cpu().numpy(), place.affine)
    slope = max(float(values.max()), 1e-12) / WHITE
    stored = np.round(values.clip(min=0) / slope).astype(np.uint16)
    now, uids = (
        datetime.now(),
        {name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")},
    )
    who = "SYNTHETIC" if synthetic else ""
    common: dict[str, Any] = {
        **FIELDS, **uids,
        "PatientName": who, "PatientID": who, "SyntheticData": "YES" if synthetic else "NO",
        "StudyDate": now.strftime("%Y%m%d"), "StudyTime": now.strftime("%H%M%S"), "SeriesDescription": f"{contrast} {about}"[:64],
        "DerivationDescription": about, "RescaleSlope": _numbers([slope])[0], "WindowCenter": _numbers([WHITE / 2 * slope])[0],
        "WindowWidth": _numbers([WHITE * slope])[0], "SoftwareVersions": "condiff",
    }  # fmt: skip
    common |= {PARAMETERS[name]: _numbers([value])[0] for name, value in parameters.items() if name in PARAMETERS}
    common["SliceThickness"] = _numbers([place.thickness_mm])[0]
    if place.code == UNKNOWN:
        common["ImageComments"] = "orientation and position are nominal: left and right are not recorded"
    for number, image in enumerate(stored):
        _file(common | _plane(affine, number), image, number).save_as(folder / f"{number + 1:04d}.dcm", enforce_file_format=True)


def remove_series(folder: Path) -> None:
    """Deletes what `save_series` wrote into a folder before; other files stay."""
    for path in folder.glob("[0-9][0-9][0-9][0-9].dcm"):
        path.unlink()


def _file(fields: Mapping[str, Any], image: np.ndarray, number: int) -> FileDataset:
    data = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=bytes(128))
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = pydicom.uid.UID(MR_IMAGE_STORAGE)
    data.file_meta.MediaStorageSOPInstanceUID = instance = generate_uid()
    data.SOPInstanceUID = instance
    for name, value in fields.items():
        setattr(data, name, value)
    data.InstanceNumber, (data.Rows, data.Columns) = number + 1, image.shape
    data.PixelData = np.ascontiguousarray(image, dtype="<u2").tobytes()
    return data


def _plane(affine: np.ndarray, number: int) -> dict[str, Any]:
    """The elements of a slice's plane."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    directions = LPS @ affine[:3, :3] / sizes
    position = LPS @ (affine @ [0, 0, number, 1])[:3]
    return {
        "ImageOrientationPatient": _numbers([*directions[:, 0], *directions[:, 1]]),
        "ImagePositionPatient": _numbers(position),
        "PixelSpacing": _numbers([sizes[1], sizes[0]]),
        "SpacingBetweenSlices": _numbers([sizes[2]])[0],
    }


def _as_shown(values: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slices with columns that lead to the patient's left or back, and rows that lead to the back or the feet; their affine."""
    affine = affine.copy()
    for axis, column in ((2, 0), (1, 1)):
        direction = affine[:3, column]
        if direction[np.argmax(np.abs(direction))] > 0:  # to the right, front or top
            affine[:3, 3] += direction * (values.shape[axis] - 1)
            affine[:3, column] = -direction
            values = np.flip(values, axis)
    return values, affine


def _numbers(values: Any) -> list[str]:
    """Decimal strings of at most 16 characters."""
    return [pydicom.valuerep.format_number_as_ds(float(value)) for value in values]
