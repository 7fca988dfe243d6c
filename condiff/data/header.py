"""The ISMRMRD header that each fastMRI file carries as XML: what the reader needs of it, read and written.

Read with the standard library: the schema's own parser refuses headers that lack a field it calls
mandatory (a patient position, say), which says nothing about the image.
"""

import math
from dataclasses import dataclass
from xml.etree import ElementTree

NAMESPACE = {"i": "http://www.ismrm.org/ISMRMRD"}


@dataclass(frozen=True)
class Header:
    """What is used of it; what a header does not say is None, or empty.

    Attributes:
        matrix, fov_mm: encoded, (readout, phase encode): the pixel of the uncropped image.
        recon_fov_mm: of the image, in the same order.
        columns: [first, last) of the phase encodes that were measured; beyond them k-space is padded with zeros.
        measurement: the measurement's identifier.
        field_t: field strength, T.
        tr, te, ti: ms; flip: degrees. Several values of one: the first.
        sequence: type of the sequence, TurboSpinEcho or Flash in fastMRI.
    """

    matrix: tuple[int, int]
    fov_mm: tuple[float, float]
    recon_fov_mm: tuple[float, float]
    columns: tuple[int, int]
    measurement: str = ""
    field_t: float | None = None
    tr: float | None = None
    te: float | None = None
    ti: float | None = None
    flip: float | None = None
    sequence: str = ""

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Pixel size along rows and columns, mm."""
        return self.fov_mm[0] / self.matrix[0], self.fov_mm[1] / self.matrix[1]


def parse(xml: bytes) -> Header:
    """Raises ValueError that names the field where the XML or a field of it is missing or no number."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise ValueError(f"ismrmrd_header is no XML ({error})") from None
    rows, cols = _pair(root, "encoding/encodedSpace/matrixSize")
    sequence = "sequenceParameters"
    return Header(
        matrix=(int(rows), int(cols)),
        fov_mm=_pair(root, "encoding/encodedSpace/fieldOfView_mm"),
        recon_fov_mm=_pair(root, "encoding/reconSpace/fieldOfView_mm"),
        columns=_columns(root, int(cols)),
        measurement=root.findtext(_path("measurementInformation/measurementID"), "", NAMESPACE).strip(),
        field_t=_said(root, "acquisitionSystemInformation/systemFieldStrength_T"),
        tr=_said(root, f"{sequence}/TR"), te=_said(root, f"{sequence}/TE"), ti=_said(root, f"{sequence}/TI"),
        flip=_said(root, f"{sequence}/flipAngle_deg"),
        sequence=root.findtext(_path(f"{sequence}/sequence_type"), "", NAMESPACE).strip(),
    )  # fmt: skip


def _columns(root: ElementTree.Element, width: int) -> tuple[int, int]:
    """From the encoding limits; all of them where those are not given."""
    limits = "encoding/encodingLimits/kspace_encoding_step_1"
    last, centre = (_said(root, f"{limits}/{name}") for name in ("maximum", "center"))
    if last is None or centre is None:
        return 0, width
    first = width // 2 - int(centre)
    return max(first, 0), min(first + int(last) + 1, width)


def _path(path: str) -> str:
    return "/".join(f"i:{name}" for name in path.split("/"))


def _said(root: ElementTree.Element, path: str) -> float | None:
    """A number not below zero; None where it is missing or none."""
    try:
        value = float(root.findtext(_path(path), "", NAMESPACE))
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None


def _pair(root: ElementTree.Element, path: str) -> tuple[float, float]:
    return _number(root, f"{path}/x"), _number(root, f"{path}/y")


def _number(root: ElementTree.Element, path: str) -> float:
    """A number above zero that has to be there."""
    value = _said(root, path)
    if not value:
        raise ValueError(f"ismrmrd_header: {path} is {root.findtext(_path(path), None, NAMESPACE)!r}, not a positive number")
    return value


TEMPLATE = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
  <measurementInformation>
    <measurementID>{measurement}</measurementID>
    <patientPosition>HFS</patientPosition>
    <protocolName>{acquisition}</protocolName>
  </measurementInformation>
  <acquisitionSystemInformation>
    <systemVendor>condiff</systemVendor>
    <systemModel>phantom</systemModel>
    <systemFieldStrength_T>{field}</systemFieldStrength_T>
    <receiverChannels>{coils}</receiverChannels>
  </acquisitionSystemInformation>
  <experimentalConditions><H1resonanceFrequency_Hz>123200000</H1resonanceFrequency_Hz></experimentalConditions>
  <encoding>
    <encodedSpace>
      <matrixSize><x>{rows}</x><y>{cols}</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>{readout}</x><y>{fov}</y><z>{thickness}</z></fieldOfView_mm>
    </encodedSpace>
    <reconSpace>
      <matrixSize><x>{cols}</x><y>{cols}</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>{recon}</x><y>{recon}</y><z>{thickness}</z></fieldOfView_mm>
    </reconSpace>
    <encodingLimits>
      <kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{centre}</center></kspace_encoding_step_1>
    </encodingLimits>
    <trajectory>cartesian</trajectory>
  </encoding>
  <sequenceParameters>
    <TR>{tr:g}</TR><TE>{te:g}</TE><TI>{ti:g}</TI><flipAngle_deg>{flip}</flipAngle_deg><sequence_type>{sequence}</sequence_type>
  </sequenceParameters>
</ismrmrdHeader>
"""
