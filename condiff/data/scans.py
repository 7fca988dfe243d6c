"""The data modules of scans in other formats than fastMRI's: slices of a plane."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from condiff.data.datamodule import MRIDataModule
from condiff.data.dicom.layout import Dicom
from condiff.data.layout import Adapted, Layout, Study
from condiff.data.nifti.bids import Bids
from condiff.data.nifti.patterns import NamedFiles
from condiff.data.planes import check_sides
from condiff.data.volume import Volume
from condiff.errors import InputError

READING = ("plane", "slice_mm", "voxel_mm", "resample_mm")  # the last arguments of ``read``


def reading(read: Callable, settings: Mapping[str, Any]) -> Callable:
    """A reader with those of the settings that are named in `READING`, as one partial call; itself without any."""
    given = {name: settings[name] for name in READING if name in settings}
    return partial(getattr(read, "func", read), **given) if given else read  # prepared images are named after it


class InPlane(Adapted):
    """A layout without the scans that show a plane from the side of their slices; left out before patients are split."""

    def __init__(self, layout: Layout, plane: str):
        super().__init__(layout)
        self.plane = plane

    def adapted(self, volume: Volume) -> Volume:
        check_sides(volume.voxel_mm, self.plane)
        return volume


class ScanDataModule(MRIDataModule):
    """Scans with their place in the scanner.

    Args:
        read: files -> slices, still without the next three.
        plane: axial, coronal or sagittal.
        slice_mm: thickness to which thinner slices are averaged; None: none.
        voxel_mm: true size of a voxel along the file's axes where headers have a wrong one; None: as they say.
        resample_mm: size of the cubes to which oblique scans are resampled; None: none.
        study: of the patients, if those of another study have the same names; None: none.
    """

    def __init__(
        self,
        layout: Layout,
        read: Callable,
        plane: str,
        slice_mm: float | None,
        voxel_mm: Sequence[float] | None = None,
        resample_mm: float | None = None,
        study: str | None = None,
        **settings,
    ):
        self.namesakes = "" if study else "; if they are other people with the same names, give data.study=NAME"
        layout = InPlane(layout if study is None else Study(layout, study), plane)
        given = {"plane": plane, "slice_mm": slice_mm, "voxel_mm": voxel_mm, "resample_mm": resample_mm}
        super().__init__(layout=layout, read=reading(read, given), **settings)
        if self.spec.shape[0] != 1:
            raise InputError(
                "data.transform: complex images are made of k-space, which these files do not hold; use data=fastmri"
            )


class BidsDataModule(ScanDataModule):
    """The anatomical images of a BIDS tree; ``site`` as of `Bids`."""

    def __init__(self, site: str | None = None, **settings):
        super().__init__(layout=Bids(site, settings.get("voxel_mm")), **settings)


class NiftiDataModule(ScanDataModule):
    """NIfTI files whose names tell contrast and patient; the other arguments as of `NamedFiles`."""

    def __init__(self, patterns: Mapping[str, str] | None = None, patient: str = "", site: str | None = None, **settings):
        super().__init__(layout=NamedFiles(patterns or {}, patient, site, settings.get("voxel_mm")), **settings)


class DicomDataModule(ScanDataModule):
    """DICOM series; the other arguments as of `Dicom`."""

    def __init__(self, patterns: Mapping[str, str] | None = None, site: str | None = None, **settings):
        super().__init__(layout=Dicom(patterns, site), **settings)
