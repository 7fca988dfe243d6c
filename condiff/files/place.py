"""Where the slices of a volume lie, for files that a viewer opens."""

from dataclasses import dataclass

import numpy as np

from condiff.errors import InputError

UNKNOWN, SCANNER, ALIGNED = 0, 1, 2  # codes of NIfTI: no orientation, a scan's own place, orientation without a place
SLICE_MM = 5.0  # nominal thickness of slices that do not record theirs
LPS = np.diag([-1.0, -1.0, 1.0])  # between these axes and DICOM's, which lead to the left, back and head
PLANES = {  # directions of columns, rows and slices to the right, front and top
    "axial": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "coronal": [[1, 0, 0], [0, 0, 1], [0, 1, 0]],
    "sagittal": [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
}
ENDS = {"axial": ("skull base", "vertex"), "coronal": ("back", "front"), "sagittal": ("left", "right")}  # of the slices


@dataclass(frozen=True)
class Place:
    """Where slices [S, H, W] lie.

    Attributes:
        affine: [4, 4], indices (column, row, slice) -> mm to the right, to the front and up.
        code: `UNKNOWN`, `SCANNER` or `ALIGNED`.
        thickness: of a slice, mm, where it is not the distance to the next one.
    """

    affine: np.ndarray
    code: int
    thickness: float | None = None

    @property
    def thickness_mm(self) -> float:
        """Of a slice."""
        return self.thickness or float(np.linalg.norm(self.affine[:3, 2]))

    @classmethod
    def nominal(
        cls,
        shape: tuple[int, ...],
        pixel_mm: tuple[float, float],
        slice_mm: float = SLICE_MM,
        plane: str = "axial",
        code: int = UNKNOWN,
    ) -> "Place":
        """Slices of a plane about the origin, with pixels of this size along rows and columns."""
        sizes, counts = np.array([pixel_mm[1], pixel_mm[0], slice_mm]), np.array(shape[::-1])
        directions = np.array(PLANES[plane], dtype=float).T * sizes
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = directions, -directions @ ((counts - 1) / 2)
        return cls(affine, code)

    def on_grid(self, size: tuple[int, int], new_size: tuple[int, int], pixel_mm: float) -> "Place":
        """The place of slices [H, W] that were resampled about their middle to another grid, of square pixels."""
        columns = self.affine[:3, :2] / np.linalg.norm(self.affine[:3, :2], axis=0) * pixel_mm
        middle = self.affine @ [(size[1] - 1) / 2, (size[0] - 1) / 2, 0, 1]
        affine = self.affine.copy()
        affine[:3, :2] = columns
        affine[:3, 3] = middle[:3] - columns @ [(new_size[1] - 1) / 2, (new_size[0] - 1) / 2]
        return Place(affine, self.code, self.thickness)

    def of_slices(self, indices: list[int]) -> "Place":
        """The place of some slices; of one it is that slice's. Raises InputError where their distances differ."""
        if len({*np.diff(indices)}) > 1:
            raise InputError(f"slices {indices}: lie at different distances, and make no volume; give every one or every n-th")
        affine = self.affine.copy()
        affine[:3, 3] += indices[0] * self.affine[:3, 2]
        affine[:3, 2] *= indices[1] - indices[0] if len(indices) > 1 else 1
        return Place(affine, self.code, self.thickness_mm)
