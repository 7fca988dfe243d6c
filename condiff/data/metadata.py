"""How a volume was taken: the acquisition parameters of its header, contrast agent, sequence and site."""

import re
from typing import Any

from condiff.data.volume import Volume

SEQUENCES = ("TurboSpinEcho", "Flash")
NOT_INVERTED = ("AXT1", "AXT1PRE", "AXT1POST", "AXT2")  # their TI is a placeholder of fastMRI


def plain_words(text: str) -> str:
    """The words of a name, without punctuation that a command line would read, at most 60 characters."""
    return " ".join(re.findall(r"[\w.+-]+", text))[:60].strip(" .+-")


def header_parameters(volume: Volume) -> dict[str, float]:
    """The parameters that a volume's header gives; without placeholders."""
    header = volume.header
    if header is None:
        return {}
    values = {"tr": header.tr, "te": header.te, "ti": header.ti, "flip": header.flip, "field": header.field_t}
    if volume.acquisition in NOT_INVERTED:
        values["ti"] = None
    return {name: value for name, value in values.items() if value}


def volume_metadata(volume: Volume) -> dict[str, Any]:
    """Parameters, contrast agent, sequence and site of a volume; None where unknown.

    FastMRI does not record whether T2 and FLAIR were taken with an agent.
    """
    agent = volume.agent or {"AXT1POST": "with", "AXT1": "without", "AXT1PRE": "without"}.get(volume.acquisition)
    sequence = volume.header.sequence if volume.header and volume.header.sequence in SEQUENCES else None
    return header_parameters(volume) | {"agent": agent, "sequence": sequence, "site": volume.site or None}
