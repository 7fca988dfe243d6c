"""The description of a DICOM series, without the person."""

import re

from pydicom.dataset import Dataset

from condiff.errors import printable

LONGEST = 64  # characters, as DICOM allows
LONG_NUMBER = re.compile(r"\d{6}")  # a date, or an identifier
DATE = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}")
PROTOCOL = re.compile(  # words that tell the contrast or its absence, and stay though a name has them
    r"(?:flair|tirm|dark|fluid|t[12]w?|mp2?rage|spgr|bravo|tfe|vibe|pre|post|gad|gd|km|ce|contrast|with|without|non?|nativ"
    r"|[ds]wi|adc|dti|asl|bold|fmri|epi|tof|mr[av]|stir|perf|trace|tensor|angio|map)+"
)


def description(data: Dataset, synthetic: bool) -> str:
    """The description of the series, without parts of the patient's name, identifiers and dates."""
    text = printable(data.get("SeriesDescription") or data.get("ProtocolName") or "")[:LONGEST]
    if synthetic:
        return text
    text = DATE.sub("…", text)
    person = " ".join(str(data.get(name) or "") for name in ("PatientName", "PatientID", "PatientBirthDate")).lower()
    parts = set(re.findall(r"[^\W_]+", person))

    def kept(match: re.Match[str]) -> str:
        word = match[0].lower()
        is_named = word in parts or any(part in word for part in parts if len(part) > 2) or LONG_NUMBER.search(word)
        return "…" if is_named and not PROTOCOL.fullmatch(word) else match[0]

    return re.sub(r"[^\W_]+", kept, text)
