"""The description of a DICOM series, without the person."""

import re
import unicodedata

from pydicom.dataset import Dataset

from condiff.errors import printable

LONGEST = 64  # characters, as DICOM allows
LONG_NUMBER = re.compile(r"\d{6}")  # a date, or an identifier
MONTH = "(?:jan|feb|mar|mär|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)[a-zä]*"
DATE = re.compile(
    rf"(?<!\d)(?:\d{{4}}[./_ -]\d\d?[./_ -]\d\d?|\d\d?[./_ -](?:\d\d?|{MONTH})[./_ -](?:\d\d){{1,2}}|\d\d?{MONTH}\d+)(?!\d)", re.I
)
PROTOCOL = re.compile(  # words for data.patterns, which stay though a name has them
    r"(?:flair|tirm|dark|fluid|t[12]w?|mp2?rage|spgr|bravo|tfe|vibe|pre|post|gad|gd|km|ce|contrast|with|without|non?|nativ)+"
)


def text_of(data: Dataset) -> str:
    """The description of the series, or of the protocol, as it is."""
    return printable(data.get("SeriesDescription") or data.get("ProtocolName") or "")[:LONGEST]


def description(data: Dataset, synthetic: bool) -> str:
    """The description without parts of the patient's name, identifiers and dates; all of it where a program made the images."""
    text = text_of(data)
    if synthetic:
        return text
    person = " ".join(str(data.get(name) or "") for name in ("PatientName", "PatientID", "PatientBirthDate"))
    parts = set(re.findall(r"[^\W_]+", _plain(person)))

    def kept(match: re.Match[str]) -> str:
        word = _plain(match[0])
        is_named = word in parts or any(part in word for part in parts if len(part) > 2) or LONG_NUMBER.search(word)
        return "…" if is_named and not PROTOCOL.fullmatch(word) else match[0]

    return re.sub(r"[^\W_]+", kept, DATE.sub("…", text))


def _plain(text: str) -> str:
    """Lower case, without accents."""
    decomposed = unicodedata.normalize("NFKD", text.lower())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))
