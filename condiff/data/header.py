"""What a file gives of an acquisition, whatever its format, and the sizes that an image of a head can have."""

from dataclasses import dataclass

PIXEL_MM = 0.05, 20.0
FOV_MM = 20.0, 1000.0  # of the image; a readout may cover twice that


@dataclass(frozen=True)
class Header:
    """What is used of it; what a header does not give is None, or empty.

    Attributes:
        matrix, fov_mm: encoded, (readout, phase encode): the pixel of the uncropped image.
        recon_fov_mm: of the image, in the same order.
        columns: [first, last) of the phase encodes that were measured; beyond them k-space is padded with zeros. (0, 0)
            where the header does not give them.
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
