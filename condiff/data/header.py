"""The header: acquisition parameters of a file, whatever its format; and the sizes that an image of a head can have."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TIME_MS, FLIP, FIELD_T = (0.01, 1e6), (0.0, 360.0), (1e-3, 30.0)  # a value outside counts as not given
LIMITS = {"tr": TIME_MS, "te": TIME_MS, "ti": TIME_MS, "flip": FLIP, "field_t": FIELD_T}
PIXEL_MM = 0.05, 20.0
FOV_MM = 20.0, 1000.0  # of the image; a readout may cover twice that


@dataclass(frozen=True)
class Header:
    """Acquisition parameters; those that the file does not give are None or empty.

    Attributes:
        matrix, fov_mm: of the encoded space, (readout, phase encode); they give the pixel size.
        recon_fov_mm: field of view of the image, in the same order.
        columns: [first, last) of the phase encodes that were measured; k-space is padded with zeros beyond them. (0, 0)
            where the file does not give them.
        measurement: the measurement's identifier.
        field_t: field strength, T.
        tr, te, ti: ms; flip: degrees. Of several values the first.
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

    @classmethod
    def of_image(
        cls, size: tuple[int, int], pixel_mm: tuple[float, float], parameters: Mapping[str, Any], measurement: str = ""
    ) -> "Header":
        """The header of an image without k-space, along rows and columns; ``parameters`` are some of `LIMITS`."""
        fov_mm = size[0] * pixel_mm[0], size[1] * pixel_mm[1]
        return cls(size, fov_mm, fov_mm, (0, 0), measurement, **parameters)


def within(parameters: Mapping[str, float | None]) -> dict[str, float]:
    """The acquisition parameters that are given and within `LIMITS`."""
    known = {name: value for name, value in parameters.items() if value is not None}
    return {name: value for name, value in known.items() if LIMITS[name][0] <= value <= LIMITS[name][1]}
