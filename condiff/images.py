"""Images of a model: values, contrasts and seeds, with pictures and files."""

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from condiff.data.image_spec import ImageSpec
from condiff.errors import InputError
from condiff.files import dicom, nifti, pictures, samples_h5, suffix
from condiff.files.place import Place

FIGURE_IMAGES_PER_CONTRAST = 8


@dataclass(frozen=True)
class Images:
    """Images [N, C, H, W] in network units, with contrast and seed of each.

    A notebook shows them as a picture, one row per contrast.

    Attributes:
        values: [N, C, H, W].
        spec: specification of the images.
        contrasts: one per image; "any" without a contrast.
        seeds: of the noise, one per image.
        parameters: further settings that determine the images, such as te.
        scan: place of the scan that they are slices of, if any.
    """

    values: Tensor
    spec: ImageSpec
    contrasts: tuple[str, ...]
    seeds: tuple[int, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    scan: Place | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: SupportsIndex | slice) -> "Images":
        """Returns a subset of the images. Raises IndexError for a number that none has."""
        if not isinstance(index, slice):
            number = range(len(self))[index]
            index = slice(number, number + 1)
        indices = list(range(len(self)))[index]
        scan = self.scan.of_slices(indices) if self.scan and indices else None
        return Images(self.values[index], self.spec, self.contrasts[index], self.seeds[index], self.parameters, scan)

    def __iter__(self) -> Iterator["Images"]:
        return (self[index] for index in range(len(self)))

    @property
    def magnitude(self) -> np.ndarray:
        """Magnitudes [N, H, W], float32: air is 0, the 99 % quantile of a volume 1."""
        return self.spec.transform.magnitude(self.values).numpy()

    @property
    def complex(self) -> np.ndarray:
        """Complex images [N, H, W], complex64. Raises InputError for a model of magnitudes."""
        image = self.spec.transform.image(self.values)
        if not image.is_complex():
            raise InputError("complex: the images are magnitudes; use .magnitude, or a model of data.transform=complex")
        return image.numpy()

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel, mm."""
        return self.spec.pixel_mm

    @property
    def place(self) -> Place:
        """Where the images lie as slices of a volume; nominal without a scan."""
        return self.scan or self.spec.place(len(self))

    def picture(self) -> Image.Image:
        """Returns a picture of at most 8 images per contrast, one row each, front of the head up; phases beside magnitudes."""
        views = self.spec.transform.views(self.values)
        return pictures.grid({f"generated {title}".strip(): self._rows(view) for title, view in views.items()})

    def check_fit(self, spec: ImageSpec) -> None:
        """Raises InputError unless the images are of the size and the pixels of a model's."""
        (shape, pixel), (shape_of_model, pixel_of_model) = ((grid.shape, grid.pixel_mm) for grid in (self.spec, spec))
        if shape != shape_of_model or not isclose(pixel, pixel_of_model, rel_tol=1e-6):
            raise InputError(
                f"images: are {list(shape)} with pixels of {pixel:.3g} mm, and the model's {list(shape_of_model)} of "
                f"{pixel_of_model:.3g} mm; give images of the same model"
            )

    def save(self, path: str | Path) -> Path:
        """Writes a file; its suffix decides the format. Returns the path.

        ``.png``: `picture`. ``.gif``: one image per frame. ``.h5``: all values, with contrasts and seeds. ``.nii.gz`` or
        ``.nii``: magnitudes as the slices of one volume. ``.dcm``: these as a DICOM series, in a folder of that name.

        Raises:
            InputError: an unknown suffix, or a file that cannot be written.
        """
        path = Path(path)
        suffix.by_suffix(path, SAVERS)(self, path)
        return path

    def _rows(self, view: Tensor) -> dict[str, Tensor]:
        names = dict.fromkeys(self.contrasts)
        indices_of = {name: [i for i, contrast in enumerate(self.contrasts) if contrast == name] for name in names}
        return {name: view[indices[:FIGURE_IMAGES_PER_CONTRAST]] for name, indices in indices_of.items()}

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.picture().save(content, "PNG")
        return content.getvalue()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"image/png": self._repr_png_(), "text/plain": repr(self)}

    def __repr__(self) -> str:
        channels, rows, columns = self.spec.shape
        kind = "complex " if channels == 2 else ""
        return f"Images({len(self)} {kind}images of {rows} x {columns}, {', '.join(dict.fromkeys(self.contrasts))})"


def _save_png(images: Images, path: Path) -> None:
    images.picture().save(path)


def _save_gif(images: Images, path: Path) -> None:
    pictures.save_gif(path, [pictures.tiles(torch.from_numpy(magnitude[None])) for magnitude in images.magnitude])


def _save_h5(images: Images, path: Path) -> None:
    samples_h5.save_h5(path, images.values, images.contrasts, images.seeds, **images.parameters)


def _save_nifti(images: Images, path: Path) -> None:
    nifti.save_volume(path, torch.from_numpy(images.magnitude), images.place)


def _save_dicom(images: Images, path: Path) -> None:
    contrast = " ".join(dict.fromkeys(images.contrasts))
    dicom.save_series(
        path, torch.from_numpy(images.magnitude), images.place, contrast, images.parameters, nifti.DESCRIPTION, synthetic=True
    )


SAVERS: Mapping[str, Callable[[Images, Path], None]] = {
    ".png": _save_png,
    ".gif": _save_gif,
    ".h5": _save_h5,
    ".nii.gz": _save_nifti,
    ".nii": _save_nifti,
    ".dcm": _save_dicom,
}
