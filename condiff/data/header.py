"""The header: acquisition parameters of a file, whatever its format; and the sizes that an image of a head can have."""

from dataclasses import dataclass

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
