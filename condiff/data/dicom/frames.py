"""What a DICOM file says of its images: series, place and acquisition parameters, and nothing of the person but a hash.

Source: DICOM PS3.3, MR Image (C.8.3), Image Plane (C.7.6.2) and the functional groups of enhanced MR images (C.7.6.16, C.8.13).
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from condiff.data.dicom.contrast import contrast_of
from condiff.data.dicom.description import LONGEST, description, text_of
from condiff.data.header import within
from condiff.errors import DataFault, printable
from condiff.files import foreign

TAGS = (
    "ImageType", "ComplexImageComponent", "Modality", "SeriesInstanceUID", "SeriesDescription", "ProtocolName", "PatientName",
    "PatientID", "PatientBirthDate", "SyntheticData", "FrameOfReferenceUID", "StudyInstanceUID", "ContrastBolusAgentSequence",
    "Manufacturer", "ManufacturerModelName", "ContrastBolusAgent", "RepetitionTime", "EchoTime", "InversionTime", "FlipAngle",
    "MagneticFieldStrength", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns",
    "SamplesPerPixel", "NumberOfFrames", "PixelData", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
UNUSABLE = {  # a word of ImageType -> what the image is
    "LOCALIZER": "a localizer",
    "MOSAIC": "a mosaic of several slices; convert it with dcm2niix and use data=nifti",
    "P": "a phase image",
    "PHASE": "a phase image",
    "PHASE MAP": "a phase image",
    "R": "the real part of a complex image",
    "REAL": "the real part of a complex image",
    "I": "the imaginary part of a complex image",
    "IMAGINARY": "the imaginary part of a complex image",
    "PROJECTION IMAGE": "a projection",
    "ADC": "a map of diffusion",
}
COMPUTED = re.compile(r"(?:^|[ _])(?:MAP|SUB|SUBTRACT|SUBTRACTION)$")  # the end of such a word of an image that was computed
NO_AGENT = re.compile(r"(?:none|no|n/?a|0|without.*|w/?o.*)?")
MOST_FRAMES = 1000
PARAMETERS = {
    "tr": "RepetitionTime",
    "te": "EchoTime",
    "ti": "InversionTime",
    "flip": "FlipAngle",
    "field_t": "MagneticFieldStrength",
}
MAKES = ("Manufacturer", "ManufacturerModelName")
DEFERRED = 4096  # bytes of an element that is not read for the header


@dataclass(frozen=True)
class Frames:
    """The images of a file; a classic one has one.

    Attributes:
        series, frame: hashes of the identifiers of the series, and of its frame of reference or study.
        patient: hash of the patient's identifier, empty without one.
        synthetic: whether a program made the images, as `condiff.files.dicom` does.
        description: of the series, or of the protocol, without the person.
        contrast: that the whole description and the parameters tell, `contrast_of`.
        agent: whether a contrast agent is named.
        makes: manufacturer and model of the scanner, by their names in DICOM.
        orientation: direction of rows and of columns, to the patient's left, back and head.
        spacing: between rows and between columns, mm.
        size: rows, columns.
        positions: of the first pixel of each image, mm.
        parameters: tr, te, ti (ms), flip (degrees), field_t (T).
    """

    series: str
    frame: str
    patient: str
    synthetic: bool
    description: str
    contrast: str
    agent: bool
    makes: dict[str, str]
    orientation: list[float]
    spacing: list[float]
    size: list[int]
    positions: list[list[float]]
    parameters: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_frames(path: Path) -> Frames:
    """The images of a file, without their pixels. Raises DataFault with the reason if it holds no magnitudes of an MR scan."""
    data = opened(path, TAGS)
    with decoding():
        return _frames(data)


def _frames(data: Dataset) -> Frames:
    if data.get("Modality", "MR") != "MR":
        raise DataFault(f"is of modality {printable(data.Modality)}; MR expected")
    kinds = data.get("ImageType") or ()
    for word in [kinds] if isinstance(kinds, str) else kinds:
        if str(word).upper() in UNUSABLE:
            raise DataFault(f"is {UNUSABLE[str(word).upper()]}")
        if COMPUTED.search(str(word).upper()):
            raise DataFault(f"is an image computed of others ({printable(word)})")
    if parts := _parts(data) - {"", "MAGNITUDE"}:
        raise DataFault(f"is a {printable(parts.pop()).lower()} image (0008,9208); magnitudes expected")
    if "PixelData" not in data:
        raise DataFault("holds no pixel data")
    if data.get("SamplesPerPixel", 1) != 1:
        raise DataFault("holds colours; magnitudes expected")
    try:
        orientation, spacing, positions = _geometry(data)
        size = [int(data.Rows), int(data.Columns)]
        series = str(data.SeriesInstanceUID)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise DataFault(f"does not say where its images lie or what series they are of ({error})") from None
    patient = str(data.get("PatientID") or data.get("PatientName") or "")
    frame = str(data.get("FrameOfReferenceUID") or data.get("StudyInstanceUID") or "")
    synthetic, parameters, agent = data.get("SyntheticData") == "YES", _parameters(data), _agent(data)
    contrast = contrast_of(text_of(data), parameters, agent)
    return Frames(
        _hash(series), _hash(frame), _hash(patient) if patient else "", synthetic, description(data, synthetic), contrast, agent,
        _makes(data), orientation, spacing, size, positions, parameters,
    )  # fmt: skip


def opened(path: Path, tags: tuple[str, ...] | None = None) -> Dataset:
    """The elements of a file, or those of ``tags``.

    Raises:
        DataFault: no DICOM, or one whose elements are compressed as a whole: their size is not known before they are unpacked.
    """
    if not is_dicom(path):
        raise DataFault("is no DICOM file")
    with decoding():
        if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            raise DataFault("is deflated, which is not read; write it with another transfer syntax")
        return pydicom.dcmread(path, specific_tags=list(tags) if tags else None, defer_size=DEFERRED if tags else None)


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does. Raises DataFault for one that cannot be read, or is no regular file."""
    foreign.check_regular(path)
    with decoding(), path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def decoding() -> AbstractContextManager[None]:
    """`foreign.reading` of DICOM, whose elements pydicom decodes on access."""
    return foreign.reading(" as DICOM")


def groups(data: Dataset) -> Iterator[tuple[Dataset, Dataset]]:
    """The functional groups of each frame of an enhanced image: its own, and those of all."""
    shared = data.SharedFunctionalGroupsSequence[0] if data.get("SharedFunctionalGroupsSequence") else Dataset()
    for own in data.PerFrameFunctionalGroupsSequence:
        yield own, shared


def _of_group(frame: tuple[Dataset, Dataset], sequence: str, name: str) -> Any:
    """An element of a functional group of a frame; KeyError without one."""
    for group in frame:
        if group.get(sequence):
            return group[sequence][0][name].value
    raise KeyError(name)


def _parts(data: Dataset) -> set[str]:
    """What an image, or the frames of one, show of the complex signal: MAGNITUDE, PHASE …; empty if that is not said."""
    frames = groups(data) if data.get("PerFrameFunctionalGroupsSequence") else ()
    kinds = [group["MRImageFrameTypeSequence"][0] for frame in frames for group in frame if group.get("MRImageFrameTypeSequence")]
    return {str(each.get("ComplexImageComponent") or "").upper() for each in (data, *kinds)}


def _geometry(data: Dataset) -> tuple[list[float], list[float], list[list[float]]]:
    """Orientation [6], spacing [2] and positions [F][3]."""
    if not data.get("PerFrameFunctionalGroupsSequence"):
        if int(data.get("NumberOfFrames") or 1) > 1:
            raise ValueError("several frames without functional groups")
        return _numbers(data.ImageOrientationPatient, 6), _numbers(data.PixelSpacing, 2), [_numbers(data.ImagePositionPatient, 3)]
    frames = [*groups(data)]
    if len(frames) != int(data.NumberOfFrames) or len(frames) > MOST_FRAMES:
        raise ValueError(f"{data.NumberOfFrames} frames, places of {len(frames)}; at most {MOST_FRAMES} expected")
    orientations = [_of_group(frame, "PlaneOrientationSequence", "ImageOrientationPatient") for frame in frames]
    if len({tuple(_numbers(each, 6)) for each in orientations}) > 1:
        raise ValueError("its frames lie in several directions")
    spacing = _of_group(frames[0], "PixelMeasuresSequence", "PixelSpacing")
    positions = [_numbers(_of_group(frame, "PlanePositionSequence", "ImagePositionPatient"), 3) for frame in frames]
    return _numbers(orientations[0], 6), _numbers(spacing, 2), positions


def _parameters(data: Dataset) -> dict[str, float]:
    values = {key: _number(data.get(name)) for key, name in PARAMETERS.items()}
    if data.get("PerFrameFunctionalGroupsSequence"):
        frame = next(groups(data))
        in_groups = {
            "te": ("MREchoSequence", "EffectiveEchoTime"),
            "tr": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
            "flip": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
            "ti": ("MRModifierSequence", "InversionTimes"),
        }
        for key, place in in_groups.items():
            try:
                value = _of_group(frame, *place)
                values[key] = _number(value[0] if isinstance(value, Sequence) and not isinstance(value, str) else value)
            except (KeyError, IndexError):
                continue
    return within(values)


def _agent(data: Dataset) -> bool:
    """Whether a contrast agent is named."""
    text = str(data.get("ContrastBolusAgent") or "").strip().lower()
    return bool(data.get("ContrastBolusAgentSequence")) or not NO_AGENT.fullmatch(text)


def _makes(data: Dataset) -> dict[str, str]:
    return {name: " ".join(re.findall(r"[\w.+-]+", str(data.get(name) or "")))[:LONGEST] for name in MAKES}


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _numbers(values: Any, count: int) -> list[float]:
    numbers = [float(value) for value in values]
    if len(numbers) != count:
        raise ValueError(f"{len(numbers)} numbers instead of {count}")
    return numbers


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
