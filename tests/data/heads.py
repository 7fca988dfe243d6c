"""Heads of known shape in a scanner, for the readers of scans."""

import nibabel as nib
import numpy as np

OBLIQUE = np.array([[0.9752, -0.1676, 0.1446], [0.1836, 0.9776, -0.1028], [-0.1241, 0.1268, 0.9842]])


def head(shape=(40, 48, 36), voxel=(5.0, 5.0, 5.0)):
    """A RAS array: an ellipsoid of 75, 95 and 70 mm semi-axes whose brightness differs to all sides, and its affine."""
    axes = [(np.arange(n) - (n - 1) / 2) * size for n, size in zip(shape, voxel, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    inside = (x / 75) ** 2 + (y / 95) ** 2 + (z / 70) ** 2 < 1
    values = inside * (1 + x / 300 + y / 500 + z / 400) * 1000
    affine = np.diag([*voxel, 1.0])
    affine[:3, 3] = [axis[0] for axis in axes]
    return values.astype(np.float32), affine


def turned(values, affine, codes):
    """The same head, stored along other axes, such as "LPS" or "AIR"."""
    change = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(codes))
    return (
        nib.orientations.apply_orientation(values, change),
        affine @ nib.orientations.inv_ornt_aff(change, values.shape),
    )


def tilted(affine):
    """The affine in a scanner that is turned by ten degrees."""
    rotation = np.eye(4)
    rotation[:3, :3] = np.linalg.qr(OBLIQUE)[0] @ np.diag(np.sign(np.diag(np.linalg.qr(OBLIQUE)[1])))
    return rotation @ affine


def write_nifti(path, values, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)
    return path
