"""Slices of scans: the same whatever the axes of the file, averaged, cut to the head, and refused where no head can be."""

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import torch

from condiff.data import planes
from condiff.data.nifti.reader import read_slices, read_stack
from condiff.errors import DataFault, InputError
from condiff.files.place import ALIGNED, SCANNER
from tests.data.heads import head, tilted, turned, write_nifti

ORIENTATIONS = ["".join(sides) for axes in permutations(("RL", "AP", "SI")) for sides in product(*axes)]


def positions(affine, shape):
    """Where the voxels of an array lie, [*shape, 3]."""
    return nib.affines.apply_affine(affine, np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1))


@pytest.mark.parametrize("plane", planes.PLANES)
def test_all_orientations_give_the_same_slices(tmp_path, plane):
    """In the 48 ways to store a volume, straight and oblique, with voxels of three sizes."""
    values, affine = head((38, 32, 30), (5.0, 6.5, 5.5))
    truth = None
    for place in (affine, tilted(affine)):
        for codes in ORIENTATIONS:
            path = write_nifti(tmp_path / "a.nii", *turned(values, place, codes))
            slices, pixel_mm = read_slices(path, plane)
            truth = slices if truth is None else truth
            assert torch.equal(slices, truth), codes
            rows, columns = {"axial": (6.5, 5.0), "coronal": (5.5, 5.0), "sagittal": (5.5, 6.5)}[plane]
            assert pixel_mm == pytest.approx((rows, columns), rel=1e-4)


@pytest.mark.parametrize(
    ("own", "voxel"), [("sagittal", (6.0, 4.0, 4.0)), ("coronal", (4.0, 8.5, 4.0)), ("axial", (4.0, 4.0, 9.0))]
)
def test_thick_slices_of_another_plane_are_left_out(tmp_path, own, voxel):
    """Slices of 6 mm, twice as long as wide from the side, or nearly; those in their own plane are read."""
    values, affine = head(tuple(round(200 / size) for size in voxel), voxel)
    path = write_nifti(tmp_path / "a.nii", values, affine)
    for plane in planes.PLANES:
        if plane == own or max(voxel) < 8:
            assert len(read_slices(path, plane)[0]) > 4
        else:
            with pytest.raises(DataFault, match=f"is a scan of {own} slices {max(voxel):g} mm thick, of which {plane} images"):
                read_slices(path, plane)


def test_directions_of_axes(tmp_path):
    """Slices lead up, rows to the front, columns to the right: the head is brighter to these sides."""
    values, affine = head()
    stack = read_stack(write_nifti(tmp_path / "a.nii", *turned(values, affine, "LPI")), "axial")
    s, h, w = (size // 2 for size in stack.values.shape)
    assert stack.values[s + 6, h, w] > stack.values[s - 6, h, w]
    assert stack.values[s, h + 6, w] > stack.values[s, h - 6, w] and stack.values[s, h, w + 6] > stack.values[s, h, w - 6]
    column, row, slice_ = 3, 5, 7
    assert stack.affine @ [column, row, slice_, 1] == pytest.approx(affine @ [column, row, slice_, 1])


def test_oblique_volumes_are_straightened_on_request(tmp_path):
    """A linear ramp in the scanner keeps its value at every place; the axes then are the scanner's, the voxels cubes."""
    _, affine = head((40, 48, 36), (4.0, 4.5, 5.0))
    place = tilted(affine)
    ramp = (1000 + positions(place, (40, 48, 36)) @ [1.0, 2.0, 3.0]).astype(np.float32)
    values, straight = planes.straightened(ramp, place, 4.0)
    assert np.allclose(straight[:3, :3], 4 * np.eye(3), atol=1e-6)
    world = positions(straight, values.shape)
    voxels = nib.affines.apply_affine(np.linalg.inv(place), world)
    inside = ((voxels >= 0) & (voxels <= [39, 47, 35])).all(-1)
    assert inside.sum() > 50_000 and values[inside] == pytest.approx(1000 + world[inside] @ [1, 2, 3], rel=1e-4)
    for size, where in ((None, place), (4.0, affine)):
        assert planes.straightened(ramp, where, size)[0] is ramp  # not asked for; nothing to do
    with pytest.raises(DataFault, match="three directions"):
        planes.oriented(*planes.straightened(ramp, np.zeros((4, 4)), 4.0), "axial")
    with pytest.raises(InputError, match="data.resample_mm=0"):
        planes.straightened(ramp, place, 0)
    path = write_nifti(tmp_path / "a.nii", head()[0], tilted(head()[1]))
    slices, pixel_mm = read_slices(path, resample_mm=2.5)
    assert pixel_mm == pytest.approx((2.5, 2.5)) and slices.shape[1] > 90
    assert read_slices(path)[1] == pytest.approx((5.0, 5.0))


@pytest.mark.parametrize(("n", "thickness", "slice_mm", "count"), [(30, 1.0, 5.0, 6), (31, 1.2, 5.0, 7), (20, 2.9, 4.5, 12)])
def test_thin_slices_are_averaged(n, thickness, slice_mm, count):
    """A linear ramp keeps its value at every place; the middle of the volume stays where it was."""
    affine = np.diag([2.0, 2.0, thickness, 1.0])
    affine[:3, 3] = [1, 2, 3]
    ramp = planes.Stack(torch.arange(n)[:, None, None] * thickness * torch.ones(n, 2, 2), affine)
    thick = planes.averaged(ramp, slice_mm)
    assert len(thick.values) == count and thick.voxel_mm[0] == pytest.approx(slice_mm)
    z = [(thick.affine @ [0, 0, index, 1])[2] - 3 for index in range(count)]
    assert thick.values[:, 0, 0].tolist() == pytest.approx(z, abs=thickness / 10)  # within a slice values are constant
    assert thick.affine[:3, :2].tolist() == affine[:3, :2].tolist()


def test_thick_slices_stay():
    stack = planes.Stack(torch.rand(5, 2, 2), np.diag([2.0, 2.0, 3.5, 1.0]))
    assert planes.averaged(stack, 5.0) is stack and planes.averaged(stack, None) is stack
    with pytest.raises(InputError, match="data.slice_mm=0"):
        planes.averaged(stack, 0)


def test_air_and_neck_are_cut(tmp_path):
    values, affine = head((40, 48, 60))
    values[10:30, 12:36, :20] = 900  # a neck, which ends at the lower edge
    slices, _ = read_slices(write_nifti(tmp_path / "a.nii", values, affine))
    assert len(slices) == planes.SKULL_MM / 5 and (slices > 0).any(dim=(1, 2)).all()
    assert torch.equal(slices[-20:], read_slices(write_nifti(tmp_path / "b.nii", *head()))[0][-20:])  # above the neck
    assert 36 <= len(read_slices(tmp_path / "a.nii", "coronal")[0]) <= 38  # of 190 mm


def test_a_voxel_size_that_cannot_be_true_and_its_remedy(tmp_path):
    values, affine = head()
    path = write_nifti(tmp_path / "a.nii", values, np.diag([1.0, 1.0, 1.0, 1.0]))
    with pytest.raises(DataFault, match=r"a head of 38 x 30 mm in 28 slices .* data.voxel_mm=\[x,y,z\]"):
        read_slices(path)
    mended, pixel_mm = read_slices(path, voxel_mm=[5.0, 5.0, 5.0])
    assert torch.equal(mended, read_slices(write_nifti(tmp_path / "b.nii", values, affine))[0]) and pixel_mm == (5.0, 5.0)
    with pytest.raises(DataFault, match="a head of 540 x 450 mm"):
        read_slices(path, voxel_mm=[15.0, 15.0, 15.0])
    for sizes in ([5.0, 5.0], [5.0, 0.0, 5.0]):
        with pytest.raises(InputError, match="data.voxel_mm=.*give three sizes"):
            read_slices(path, voxel_mm=sizes)


def test_one_slice_is_no_volume(tmp_path):
    values, affine = head()
    path = write_nifti(tmp_path / "a.nii", values[:, :, 18:19], affine)
    with pytest.raises(DataFault, match="shows the head in 1 slice; 4 or more expected"):
        read_slices(path)
    assert read_stack(path).values.shape == (1, 48, 40)  # which sample.py init= takes


def test_values_of_all_kinds(tmp_path):
    """Whole numbers with a scale, not a number outside of the head, and negative values of an interpolation."""
    values, affine = head()
    truth, _ = read_slices(write_nifti(tmp_path / "a.nii", values, affine))
    scaled = nib.Nifti1Image(np.round(values).astype(np.int16), affine)
    scaled.header.set_slope_inter(0.5, 0)
    nib.save(scaled, tmp_path / "b.nii")
    assert (2 * read_slices(tmp_path / "b.nii")[0] - truth).abs().max() <= 0.5
    background = np.where(values > 0, values, np.nan)
    assert torch.equal(read_slices(write_nifti(tmp_path / "c.nii", background, affine))[0], truth)
    few, many = values.copy(), values.copy()
    few[0], many[: len(many) // 2] = -3, -3
    assert torch.equal(read_slices(write_nifti(tmp_path / "d.nii", few, affine))[0], truth)
    with pytest.raises(DataFault, match="50% negative values, as phase"):
        read_slices(write_nifti(tmp_path / "e.nii", many, affine))


@pytest.mark.parametrize(("code", "known"), [(1, SCANNER), (2, ALIGNED), (4, ALIGNED), (0, None)])
def test_a_place_is_as_sure_as_the_file_says(tmp_path, code, known):
    """The scanner's, or aligned to something else; a file that does not say how the head lies is refused."""
    image = nib.Nifti1Image(*head())
    image.set_sform(image.affine, code)
    image.set_qform(image.affine, code)
    nib.save(image, tmp_path / "a.nii")
    if known is None:
        with pytest.raises(DataFault, match="does not say how the head lies"):
            read_stack(tmp_path / "a.nii")
    else:
        assert planes.averaged(read_stack(tmp_path / "a.nii").part(2, 30), 10.0).place.code == known
