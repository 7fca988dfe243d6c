"""The ISMRMRD header, XML in each fastMRI file: the fields that the reader needs, read and written.

It is read with the standard library, because the schema's own parser refuses headers without fields that it calls mandatory but
that images do not depend on, such as the patient's position.
"""

from xml.etree import ElementTree

from condiff.data.header import FIELD_T, FLIP, FOV_MM, PIXEL_MM, TIME_MS, Header
from condiff.errors import DataFault, printable

NAMESPACE = {"i": "http://www.ismrm.org/ISMRMRD"}
LONGEST = 2**20  # bytes of XML; fastMRI's has 30 kB
DEEPEST = 50  # elements within elements; the schema has 7
LONGEST_TEXT = 1024  # characters of a field
MATRIX = 4096
RATIO = 0.125, 2.0  # of the image's field of view to the encoded one


def parse(xml: bytes) -> Header:
    """The header. Raises DataFault that names the field where the XML or a field of it is missing, invalid or absurd."""
    root = _tree(xml)
    rows, cols = _pair(root, "encoding/encodedSpace/matrixSize", 1, MATRIX)
    if (rows, cols) != (int(rows), int(cols)):
        raise DataFault(f"ismrmrd_header: encoding/encodedSpace/matrixSize is {rows:g} x {cols:g}, not whole numbers")
    sequence = "sequenceParameters"
    header = Header(
        matrix=(int(rows), int(cols)),
        fov_mm=_pair(root, "encoding/encodedSpace/fieldOfView_mm", FOV_MM[0], 2 * FOV_MM[1]),
        recon_fov_mm=_pair(root, "encoding/reconSpace/fieldOfView_mm", *FOV_MM),
        columns=_columns(root, int(cols)),
        measurement=_text(root, "measurementInformation/measurementID"),
        field_t=_number(root, "acquisitionSystemInformation/systemFieldStrength_T", *FIELD_T),
        tr=_number(root, f"{sequence}/TR", *TIME_MS), te=_number(root, f"{sequence}/TE", *TIME_MS),
        ti=_number(root, f"{sequence}/TI", *TIME_MS), flip=_number(root, f"{sequence}/flipAngle_deg", *FLIP),
        sequence=_text(root, f"{sequence}/sequence_type"),
    )  # fmt: skip
    if not all(PIXEL_MM[0] <= pixel <= PIXEL_MM[1] for pixel in header.pixel_mm):
        raise DataFault(
            f"ismrmrd_header: {header.fov_mm[0]:g} x {header.fov_mm[1]:g} mm of {header.matrix[0]} x {header.matrix[1]} samples "
            f"are pixels of {header.pixel_mm[0]:.3g} x {header.pixel_mm[1]:.3g} mm; "
            f"{PIXEL_MM[0]:g} to {PIXEL_MM[1]:g} mm expected"
        )
    for encoded_mm, image_mm in zip(header.fov_mm, header.recon_fov_mm, strict=True):
        if not RATIO[0] <= image_mm / encoded_mm <= RATIO[1]:
            raise DataFault(
                f"ismrmrd_header: reconSpace/fieldOfView_mm is {image_mm:g}, {image_mm / encoded_mm:.3g} times the "
                f"encodedSpace's {encoded_mm:g}; {RATIO[0]:g} to {RATIO[1]:g} times expected"
            )
    return header


class _Builder(ElementTree.TreeBuilder):
    """Builds trees of limited depth, without entities."""

    depth = 0

    def start(self, tag, attributes):
        self.depth += 1
        if self.depth > DEEPEST:
            raise DataFault(f"ismrmrd_header is nested more than {DEEPEST} deep, and no ISMRMRD header")
        return super().start(tag, attributes)

    def end(self, tag):
        self.depth -= 1
        return super().end(tag)

    def doctype(self, name, public, system):
        raise DataFault("ismrmrd_header declares a document type, which may stand for anything; write it without DOCTYPE")


def _tree(xml: bytes) -> ElementTree.Element:
    """The root element. Bytes that are not UTF-8, in a file that declares no other encoding, are taken as Latin-1."""
    parser = ElementTree.XMLParser(target=_Builder())
    try:
        xml.decode()
        text: bytes | str = xml
    except UnicodeDecodeError:
        text = xml.decode("latin-1") if xml.startswith(b"<") and b"UTF-8" in xml[:100].upper() else xml
    try:
        return ElementTree.fromstring(text, parser)
    except DataFault:
        raise
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataFault(f"ismrmrd_header is no XML ({error})") from None


def _columns(root: ElementTree.Element, width: int) -> tuple[int, int]:
    """[first, last) from the encoding limits; (0, 0) where those are not given or leave no column."""
    limits = "encoding/encodingLimits/kspace_encoding_step_1"
    last, center = (_number(root, f"{limits}/{name}", 0, MATRIX) for name in ("maximum", "center"))
    if last is None or center is None:
        return 0, 0
    first = width // 2 - int(center)
    columns = max(first, 0), min(first + int(last) + 1, width)
    return columns if columns[0] < columns[1] else (0, 0)


def _path(path: str) -> str:
    return "/".join(f"i:{name}" for name in path.split("/"))


def _text(root: ElementTree.Element, path: str) -> str:
    text = root.findtext(_path(path), "", NAMESPACE).strip()
    if len(text) > LONGEST_TEXT:
        raise DataFault(f"ismrmrd_header: {path} is longer than {LONGEST_TEXT} characters")
    return printable(text)


def _number(root: ElementTree.Element, path: str, low: float, high: float) -> float | None:
    """The number of a field; None where it is missing, no number, or out of bounds."""
    try:
        value = float(root.findtext(_path(path), "", NAMESPACE))
    except ValueError:
        return None
    return value if low <= value <= high else None


def _pair(root: ElementTree.Element, path: str, low: float, high: float) -> tuple[float, float]:
    """The x and y of a field. Raises DataFault where one is missing or out of bounds."""
    values = [_number(root, f"{path}/{axis}", low, high) for axis in "xy"]
    if None in values:
        texts = [(root.findtext(_path(f"{path}/{axis}"), "", NAMESPACE) or "missing")[:40] for axis in "xy"]
        raise DataFault(f"ismrmrd_header: {path} is {texts[0]!r} x {texts[1]!r}; numbers from {low:g} to {high:g} expected")
    return values[0], values[1]  # type: ignore[return-value]


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
      <kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{center}</center></kspace_encoding_step_1>
    </encodingLimits>
    <trajectory>cartesian</trajectory>
  </encoding>
  <sequenceParameters>
    <TR>{tr:g}</TR><TE>{te:g}</TE><TI>{ti:g}</TI><flipAngle_deg>{flip}</flipAngle_deg><sequence_type>{sequence}</sequence_type>
  </sequenceParameters>
</ismrmrdHeader>
"""
