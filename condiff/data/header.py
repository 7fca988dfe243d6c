"""The ISMRMRD header that each fastMRI file carries as XML: what the reader needs of it, read and written.

Read with the standard library: the schema's own parser refuses headers that lack a field it calls
mandatory (a patient position, say), which says nothing about the image.
"""

from dataclasses import dataclass
from xml.etree import ElementTree

NAMESPACE = {"i": "http://www.ismrm.org/ISMRMRD"}


@dataclass(frozen=True)
class Header:
    """Encoded matrix and field of view, (readout, phase encode): the pixel of the uncropped image."""

    matrix: tuple[int, int]
    fov_mm: tuple[float, float]

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Pixel size along rows and columns, mm."""
        return self.fov_mm[0] / self.matrix[0], self.fov_mm[1] / self.matrix[1]


def parse(xml: bytes) -> Header:
    """Raises ValueError that names the field where the XML or a field of it is missing or no number."""
    try:
        space = ElementTree.fromstring(xml).find("i:encoding/i:encodedSpace", NAMESPACE)
    except ElementTree.ParseError as error:
        raise ValueError(f"ismrmrd_header is no XML ({error})") from None
    if space is None:
        raise ValueError("ismrmrd_header lacks encoding/encodedSpace")
    rows, cols = (_number(space, f"matrixSize/{axis}") for axis in "xy")
    height, width = (_number(space, f"fieldOfView_mm/{axis}") for axis in "xy")
    return Header((int(rows), int(cols)), (height, width))


def _number(space: ElementTree.Element, path: str) -> float:
    text = space.findtext("/".join(f"i:{name}" for name in path.split("/")), namespaces=NAMESPACE)
    try:
        value = float(text or "")
    except ValueError:
        value = 0.0
    if value <= 0:
        raise ValueError(f"ismrmrd_header: encodedSpace/{path} is {text!r}, not a positive number")
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
    <systemFieldStrength_T>2.8936</systemFieldStrength_T>
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
      <fieldOfView_mm><x>{fov}</x><y>{fov}</y><z>{thickness}</z></fieldOfView_mm>
    </reconSpace>
    <encodingLimits>
      <kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{centre}</center></kspace_encoding_step_1>
    </encodingLimits>
    <trajectory>cartesian</trajectory>
  </encoding>
  <sequenceParameters>
    <TR>{tr}</TR><TE>{te}</TE><TI>{ti}</TI><flipAngle_deg>{flip}</flipAngle_deg><sequence_type>TurboSpinEcho</sequence_type>
  </sequenceParameters>
</ismrmrdHeader>
"""
