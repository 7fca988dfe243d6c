"""The ISMRMRD header that each fastMRI file carries as XML: what the reader needs of it, read and written.

Read with the standard library: the schema's own parser refuses headers that lack a field it calls
mandatory (a patient position, say), which says nothing about the image.
"""

from xml.etree import ElementTree

from condiff.data.header import FOV_MM, PIXEL_MM, Header
from condiff.errors import DataFault, printable

NAMESPACE = {"i": "http://www.ismrm.org/ISMRMRD"}
LONGEST = 2**20  # bytes of XML; fastMRI's has 30 kB
DEEPEST = 50  # elements within elements; the schema has 7
LONGEST_TEXT = 1024  # characters of a field
MATRIX = 4096
RATIO = 0.125, 2.0  # of the image's field of view to the encoded one
TIME_MS, FLIP, FIELD_T = (0.01, 1e6), (0.0, 360.0), (1e-3, 30.0)  # what is beyond counts as not given


def parse(xml: bytes) -> Header:
    """The header. Raises DataFault that names the field where the XML or a field of it is missing, invalid or absurd."""
    root = _tree(xml)
    rows, cols = _pair(root, "encoding/encodedSpace/matrixSize", 1, MATRIX)
    if (rows, cols) != (int(rows), int(cols)):
        raise DataFault(f"ismrmrd_header: encoding/encodedSpace/matrixSize is {rows:g} x {cols:g}, not whole numbers")
    sequence = "sequenceParameters"
    found = Header(
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
    if not all(PIXEL_MM[0] <= pixel <= PIXEL_MM[1] for pixel in found.pixel_mm):
        raise DataFault(
            f"ismrmrd_header: {found.fov_mm[0]:g} x {found.fov_mm[1]:g} mm of {found.matrix[0]} x {found.matrix[1]} samples are "
            f"pixels of {found.pixel_mm[0]:.3g} x {found.pixel_mm[1]:.3g} mm; {PIXEL_MM[0]:g} to {PIXEL_MM[1]:g} mm expected"
        )
    for encoded, image in zip(found.fov_mm, found.recon_fov_mm, strict=True):
        if not RATIO[0] <= image / encoded <= RATIO[1]:
            raise DataFault(
                f"ismrmrd_header: reconSpace/fieldOfView_mm is {image:g}, {image / encoded:.3g} times the encodedSpace's "
                f"{encoded:g}; {RATIO[0]:g} to {RATIO[1]:g} times expected"
            )
    return found


class _Builder(ElementTree.TreeBuilder):
    """Of trees of limited depth, without entities."""

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
    """Its root; bytes that are no UTF-8, though XML without another declaration is, are taken as Latin-1."""
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
    """From the encoding limits; (0, 0) where those are not given or leave no column."""
    limits = "encoding/encodingLimits/kspace_encoding_step_1"
    last, centre = (_number(root, f"{limits}/{name}", 0, MATRIX) for name in ("maximum", "center"))
    if last is None or centre is None:
        return 0, 0
    first = width // 2 - int(centre)
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
    """None where it is missing, no number, or out of bounds."""
    try:
        value = float(root.findtext(_path(path), "", NAMESPACE))
    except ValueError:
        return None
    return value if low <= value <= high else None


def _pair(root: ElementTree.Element, path: str, low: float, high: float) -> tuple[float, float]:
    """Two numbers that have to be there."""
    values = [_number(root, f"{path}/{axis}", low, high) for axis in "xy"]
    if None in values:
        said = [(root.findtext(_path(f"{path}/{axis}"), "", NAMESPACE) or "missing")[:40] for axis in "xy"]
        raise DataFault(f"ismrmrd_header: {path} is {said[0]!r} x {said[1]!r}; numbers from {low:g} to {high:g} expected")
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
      <kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{centre}</center></kspace_encoding_step_1>
    </encodingLimits>
    <trajectory>cartesian</trajectory>
  </encoding>
  <sequenceParameters>
    <TR>{tr:g}</TR><TE>{te:g}</TE><TI>{ti:g}</TI><flipAngle_deg>{flip}</flipAngle_deg><sequence_type>{sequence}</sequence_type>
  </sequenceParameters>
</ismrmrdHeader>
"""
