"""Heads: the MNI152 tissue maps, deformed into as many subjects as asked for.

The grey- and white-matter maps are the ICBM 2009a symmetric templates at 2 mm, in mni152.npz (made by
scripts/make_mni152.py; see NOTICE). Cerebrospinal fluid is what remains of the brain mask; skull and scalp are shells of
the distance from it; veins, dura and choroid plexus, which take up contrast agent, are drawn from
the same distances. Millimetres, x to the right, y to the front, z up, origin as in MNI space.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TEMPLATE = Path(__file__).with_name("mni152.npz")
RESOLUTION_MM = 2
FIELD_MM = 260.0  # width of the cube that random fields fill


@dataclass(frozen=True)
class Template:
    """Maps [1, 3, Z, Y, X]: white matter, grey matter, distance to the brain [mm, positive outside]."""

    maps: Tensor
    origin: Tensor  # position of voxel 0 in x, y, z [mm]

    def sample(self, points: Tensor) -> Tensor:
        """The three maps at ``points`` [..., 3] (x, y, z in mm), linearly interpolated: [3, ...]."""
        size = torch.tensor(self.maps.shape[:1:-1])
        grid = 2 * (points - self.origin) / RESOLUTION_MM / (size - 1) - 1
        flat = grid.reshape(1, 1, 1, -1, 3)
        return F.grid_sample(self.maps, flat, align_corners=True, padding_mode="border").reshape(3, *points.shape[:-1])


@cache
def load_template() -> Template:
    """The template head, read once a process."""
    from scipy import ndimage  # half a second to import, and only those who build a phantom need it

    with np.load(TEMPLATE) as file:
        white, grey = (file[name].astype(np.float32) / np.float32(255) for name in ("white", "grey"))
        brain = np.unpackbits(file["brain"], count=white.size).reshape(white.shape) > 0
        origin = torch.from_numpy(file["origin"])
    # Bridge the fissures, so that the skull is convex where the brain surface is not.
    ball = ndimage.iterate_structure(ndimage.generate_binary_structure(3, 1), 6)
    padded = np.pad(brain, 12)
    closed = ndimage.binary_closing(padded, ball)[12:-12, 12:-12, 12:-12]
    outside = ndimage.distance_transform_edt(~closed) - ndimage.distance_transform_edt(closed)
    distance = (RESOLUTION_MM * ndimage.gaussian_filter(outside, 1)).astype(np.float32)
    return Template(torch.from_numpy(np.stack([white, grey, distance]).transpose(0, 3, 2, 1).copy())[None], origin)


@dataclass(frozen=True)
class Field:
    """A smooth function of space: values on a cubic grid about the origin, interpolated in between."""

    nodes: Tensor  # [1, C, N, N, N]

    def __call__(self, points: Tensor) -> Tensor:
        """[..., 3] in mm -> [C, ...]."""
        flat = (points / (FIELD_MM / 2)).reshape(1, 1, 1, -1, 3)
        values = F.grid_sample(self.nodes, flat, align_corners=True, padding_mode="border")
        return values.reshape(self.nodes.shape[1], *points.shape[:-1])


def smooth_field(generator: torch.Generator, channels: int, scale: float) -> Field:
    """Random field of unit variance with ``channels`` components: white noise blurred over ``scale`` mm."""
    step = scale / 3
    nodes = math.ceil(FIELD_MM / step) + 1
    reach = torch.arange(-8, 9) * (FIELD_MM / (nodes - 1))
    kernel = torch.exp(-(reach / scale).square())
    kernel = kernel / kernel.norm()  # white noise keeps its variance
    noise = torch.randn(channels, 1, nodes + 16, nodes + 16, nodes + 16, generator=generator)
    for shape in ((1, 1, -1, 1, 1), (1, 1, 1, -1, 1), (1, 1, 1, 1, -1)):
        noise = F.conv3d(noise, kernel.reshape(shape))
    return Field(noise.movedim(1, 0))


def draw_subject(generator: torch.Generator) -> Callable[[Tensor], dict[str, Tensor]]:
    """One person: a function from points [..., 3] in mm to tissue fractions [...], by tissue name.

    Size, pose and two smooth deformations (of 45 and 18 mm scale) set one head apart from another,
    as do the thickness of its shells and the places of its veins.
    """
    pose = _pose(generator)
    coarse, fine = smooth_field(generator, 3, 45.0), smooth_field(generator, 3, 18.0)
    thickness, veins = smooth_field(generator, 3, 60.0), smooth_field(generator, 2, 14.0)
    csf, skull, scalp = (base * (1 + 0.2 * _normal(generator)) for base in (2.0, 6.0, 5.0))
    ventricles = 1 + 0.06 * _normal(generator)

    def subject(points: Tensor) -> dict[str, Tensor]:
        warp = 4.5 * coarse(points) + 1.2 * fine(points)
        at = (points @ pose + warp.movedim(0, -1)) * torch.tensor([1.0, 1.0, ventricles])
        white, grey, distance = load_template().sample(at)
        varied = 1 + 0.2 * thickness(points)
        edges = torch.cumsum(torch.stack([csf * varied[0], skull * varied[1], scalp * varied[2]]), 0)
        shells = _shells(white, grey, distance, edges)
        enhancing = _enhancing(at, white + grey, distance, edges, veins(points))
        return _layered(shells, enhancing)

    return subject


def _shells(white: Tensor, grey: Tensor, distance: Tensor, edges: Tensor) -> dict[str, Tensor]:
    """Brain tissues inside, then subarachnoid fluid, bone with marrow in the middle, fat, skin."""
    fluid, bone, scalp = edges
    middle = (fluid + bone) / 2
    marrow = _within(distance, middle - 0.22 * (bone - fluid), middle + 0.22 * (bone - fluid))
    inside = _within(distance, torch.full_like(distance, -1e3), fluid)
    return {
        "white": white,
        "grey": grey,
        "csf": (inside - (white + grey).clamp(max=1)).clamp(min=0),
        "bone": (_within(distance, fluid, bone) - marrow).clamp(min=0),
        "marrow": marrow,
        "fat": _within(distance, bone, scalp - 1.5),
        "skin": _within(distance, scalp - 1.5, scalp),
    }


def _enhancing(at: Tensor, matter: Tensor, distance: Tensor, edges: Tensor, texture: Tensor) -> dict[str, Tensor]:
    """What takes up contrast agent: dura and falx, sagittal sinus and cortical veins, choroid plexus."""
    x, y = at[..., 0], at[..., 1]
    fluid, free = edges[0], (1 - matter).clamp(0, 1)
    falx = _bump(x, 1.2) * _within(distance, torch.full_like(distance, -22.0), fluid) * free
    sinus = _bump(x, 4.0) * _bump(distance - fluid + 1.5, 3.0) * torch.sigmoid(-(y + 10) / 10)
    cortical = torch.sigmoid(6 * (texture[0] - 0.9)) * _within(distance, torch.full_like(distance, -6.0), fluid) * free
    deep = torch.sigmoid(-(distance + 30) / 2) * free.square() * torch.sigmoid(-(y + 5) / 5)
    return {
        "dura": 0.5 * _bump(distance - fluid, 1.2) + 0.4 * falx,
        "vein": torch.maximum(sinus, cortical),
        "plexus": deep * torch.sigmoid(4 * texture[1]),
    }


def _layered(below: dict[str, Tensor], above: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fractions that sum to at most 1 at every point; what lies above displaces what lies below."""
    cover = torch.stack(list(above.values())).sum(0)
    above = {name: fraction / cover.clamp(min=1) for name, fraction in above.items()}
    filled = torch.stack(list(below.values())).sum(0).clamp(min=1)
    return {name: (1 - cover).clamp(min=0) * fraction / filled for name, fraction in below.items()} | above


def _pose(generator: torch.Generator) -> Tensor:
    """Rotation by a few degrees about each axis, times a scale a few percent off 1, [3, 3]."""
    degrees = torch.randn(3, generator=generator) * torch.tensor([3.0, 2.0, 5.0])
    a, b, c = torch.deg2rad(degrees).tolist()
    skew = torch.tensor([[0.0, -c, b], [c, 0.0, -a], [-b, a, 0.0]])
    scale = 1.06 + 0.04 * torch.randn(3, generator=generator)  # more than 1 is a smaller head
    return torch.linalg.matrix_exp(skew) * scale


def _within(value: Tensor, low: Tensor, high: Tensor, softness: float = 0.5) -> Tensor:
    return torch.sigmoid((value - low) / softness) * torch.sigmoid((high - value) / softness)


def _bump(value: Tensor, width: float) -> Tensor:
    return torch.exp(-0.5 * (value / width).square())


def _normal(generator: torch.Generator) -> float:
    return torch.randn((), generator=generator).item()
