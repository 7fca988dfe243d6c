"""The condition: any subset of what is known, scaled by what was seen."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from torch import nn

from condiff.data.conditioning import PARAMETERS, AcquisitionCondition, periodic, piecewise_linear
from condiff.data.header import Header
from condiff.data.volume import Volume
from condiff.diffusion.schedules import Karras
from condiff.errors import InputError
from condiff.nn import Pixels
from condiff.training import DiffusionSystem


def volume(acquisition, tr, te, ti=100.0, flip=150.0, field=3.0, slices=5, sequence="TurboSpinEcho"):
    about = Header((64, 32), (440, 220), (220, 220), (0, 32), "m", field, tr, te, ti, flip, sequence)
    return Volume(Path("a.h5"), acquisition, "p", acquisition, slices=slices, header=about)


SEEN = [
    volume("AXT2", 4000, 80),
    volume("AXT2", 9000, 125),
    volume("AXT1POST", 400, 8, field=1.5),
    volume("AXFLAIR", 9000, 80, 2500),
]


@pytest.fixture
def condition():
    return AcquisitionCondition(("AXT1POST", "AXT2", "AXFLAIR"), features=piecewise_linear).with_ranges_of(SEEN)


def parts(condition, vector):
    """By name; of a parameter the scaled value and whether it is known."""
    names = "contrast", "agent", "sequence", *PARAMETERS
    fields = dict(zip(names, vector.split(condition.fields), strict=True))
    return {name: part[: 2 if name in PARAMETERS else None].tolist() for name, part in fields.items()}


def test_piecewise_linear_by_hand():
    assert piecewise_linear(-1.0).tolist() == [-1, 1, -1, -1, -1, -1]
    assert piecewise_linear(0.125).tolist() == [0.125, 1, 1, 1, -0.5, -1]
    assert piecewise_linear(2.0).tolist() == [2, 1, 1, 1, 1, 1]


def test_features_grow_apart_with_their_values():
    """Within the range and beyond both ends, so no two values are alike; a quarter of the range between them is 1.5 or more."""
    values = torch.linspace(-2, 2, 81)
    features = torch.stack([piecewise_linear(value) for value in values.tolist()])
    distances = torch.cdist(features, features)
    for i in range(len(values)):
        assert (distances[i, i:].diff() > 0).all() and (distances[i, : i + 1].diff() < 0).all()
    inside = features[20:61]  # -1 to 1
    assert torch.cdist(inside[:-10], inside[10:]).diagonal().min() > 1.49


def test_nothing_but_the_value_changes_outside_the_range():
    for end in (-1.0, 1.0):
        step = piecewise_linear(1.5 * end) - piecewise_linear(end)
        assert step.tolist() == [0.5 * end, 0, 0, 0, 0, 0]


def test_base_and_vertex_are_the_farthest_slices(condition):
    slices = condition.encode_slices(volume("AXT2", 4000, 80, slices=21), range(21))
    from_base = (slices - slices[0]).norm(dim=1)
    assert (from_base.diff() > 0).all() and from_base[-1] > 4


def test_checkpoints_without_features_keep_theirs(condition):
    """By hand: both ends of the range have the same sines and cosines, which is why there are others now."""
    assert periodic(0.25).tolist() == pytest.approx([0.25, 1, 0.5**0.5, 1, 0.5**0.5, 0], abs=1e-6)
    torch.testing.assert_close(periodic(-1.0)[1:], periodic(1.0)[1:])
    stored = {"_target_": "condiff.data.conditioning.AcquisitionCondition", "_partial_": True, "ranges": condition.ranges}
    before = instantiate(stored)(contrasts=condition.contrasts)
    te = before.encode("AXT2", {"te": 125}).split(before.fields)[5]
    torch.testing.assert_close(te, periodic(1.0))
    assert before.dim == 43


def test_nothing_known_is_zero(condition):
    assert condition.encode(None).abs().max() == 0 and len(condition.encode(None)) == condition.dim == sum(condition.fields)


def test_values_are_scaled_to_what_was_seen(condition):
    found = parts(condition, condition.encode("AXT2", {"te": 100.0, "tr": 6000.0, "field": 3.0, "slice": 0.75}))
    assert found["contrast"] == [0, 1, 0] and found["agent"] == found["sequence"] == found["ti"] == [0, 0]
    assert found["field"] == [1, 1] and found["slice"] == [0.5, 1]
    assert found["te"] == pytest.approx([2 * (torch.tensor(100 / 8).log() / torch.tensor(125 / 8).log()).item() - 1, 1])
    assert parts(condition, condition.encode(None, {"tr": 400}))["tr"] == pytest.approx([-1, 1])


def test_of_a_volume(condition):
    vectors = condition.encode_slices(SEEN[2], range(1, 4))
    assert vectors.shape == (3, condition.dim)
    found = [parts(condition, vector) for vector in vectors]
    assert [f["slice"][0] for f in found] == [-0.5, 0, 0.5]
    assert all(f["agent"] == [0, 1] and f["sequence"] == [1, 0] and f["ti"] == [0, 0] for f in found)
    assert parts(condition, condition.encode_slices(SEEN[3], range(1))[0])["ti"] == [
        0,
        1,
    ]  # the only TI in training
    assert parts(condition, condition.encode_slices(SEEN[0], range(1))[0])["agent"] == [0, 0]  # not recorded for T2


def test_outside_the_range_is_named_and_refused(condition):
    with pytest.raises(InputError, match=r"te=150: the training images of AXT2 have 80 to 125; .*extrapolate=true"):
        condition.encode("AXT2", {"te": 150})
    with pytest.raises(InputError, match="AXT1POST have 8; stay within, give contrast=AXT2, or set"):
        condition.encode("AXT1POST", {"te": 100})
    assert condition.encode(None, {"te": 100}).any()  # seen, in some contrast
    assert parts(condition, condition.encode("AXT2", {"te": 150}, extrapolate=True))["te"][0] > 1
    with pytest.raises(InputError, match="ti=2500: no training image of AXT2 has one"):
        condition.encode("AXT2", {"ti": 2500})


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"te": -1}, "te=-1: give a number"), ({"te": "long"}, "te=long: give a number"), ({"echo": 3}, "echo: is no argument"),
        ({"agent": "gd"}, "agent=gd: unknown to this model; it has without, with"), ({"sequence": "EPI"}, "sequence=EPI"),
        ({"slice": 1.5}, "slice=1.5: .*0 to 1"), ({"te": float("nan")}, "te=nan: give a number"),
    ],
)  # fmt: skip
def test_bad_requests(condition, known, message):
    with pytest.raises(InputError, match=message):
        condition.encode("AXT2", known)


def test_ranges_are_kept(condition):
    again = AcquisitionCondition(condition.contrasts, condition.ranges, condition.features).with_ranges_of([volume("AXT2", 1, 1)])
    assert torch.equal(again.encode("AXT2", {"te": 100}), condition.encode("AXT2", {"te": 100}))


def test_validation_volumes_outside_or_without_parameters(condition):
    assert condition.encode_slices(volume("AXT2", 4000, 300), range(2)).isfinite().all()
    empty = Volume(Path("b.h5"), "AXT2", "q", "AXT2", slices=3)
    assert parts(condition, condition.encode_slices(empty, range(1))[0])["te"] == [0, 0]


def test_any_subset_is_seen_in_training():
    """Half of the images know everything; of the others every number of fields is as likely as any; fields stay whole."""
    system = DiffusionSystem(nn.Identity(), Karras(), None, None, Pixels(), p_drop_fields=0.5, fields=(3, 1, 2))
    known = system._field_mask(20_000, torch.Generator().manual_seed(0))
    assert known.shape == (20_000, 6)
    first, second, third = known.split((3, 1, 2), dim=1)
    assert (first.all(1) == first.any(1)).all() and (third.all(1) == third.any(1)).all()
    number = first[:, 0].int() + second[:, 0] + third[:, 0]
    shares = torch.bincount(number, minlength=4) / 20_000
    torch.testing.assert_close(shares, torch.tensor([1, 1, 1, 5]) / 8, rtol=0, atol=0.015)


@pytest.mark.parametrize(
    ("scale", "te", "expected"),
    [
        ([9.0, 100.0], (10.0, 90.0), [9.0, 100.0]),  # within
        ([9.0, 100.0], (8.0, 110.0), [9.0, 100.0]),  # a little beyond both ends
        ([9.0, 9.1], (9.0, 100.0), [9.0, 100.0]),  # far beyond
        ([80.0, 100.0], (8.0, 90.0), [8.0, 100.0]),
    ],
)
def test_scales_of_the_first_model_are_near_the_ranges_of_the_second(scale, te, expected):
    known = AcquisitionCondition(["AXT2"], features=piecewise_linear, scales={"te": scale, "ti": [100.0, 200.0]})
    condition = known.with_ranges_of([volume("AXT2", 4000, te[0]), volume("AXT2", 4000, te[1])])
    assert list(condition.scale("te")) == expected and condition.range_of("te", "AXT2") == te
    assert all(abs(parts(condition, condition.encode("AXT2", {"te": end}))["te"][0]) <= 2 for end in te)


@pytest.mark.parametrize("span", [[0.0, 100.0], [5.0], [1.0, math.inf], [-1.0, 2.0], [math.nan, 1.0]])
def test_ranges_of_a_forged_checkpoint(span):
    with pytest.raises(InputError, match="ranges: tr of AXT1 is .*; lowest and highest of a parameter expected"):
        AcquisitionCondition(["AXT1"], {"AXT1": {"tr": span}})
    with pytest.raises(InputError, match="ranges: tr of scales is "):
        AcquisitionCondition(["scales"], {"scales": {}}, scales={"tr": span})


def test_one_value_teaches_nothing_of_others(condition):
    with pytest.raises(InputError, match="flip=90: all training images have 150, so nothing was learned"):
        condition.encode("AXT2", {"flip": 90}, extrapolate=True)
    assert parts(condition, condition.encode("AXT2", {"flip": 150}))["flip"] == [0, 1]


def test_the_site_is_a_field_of_its_own():
    """Of the training volumes, in alphabetical order; unknown ones, and those of other data, are zero."""
    volumes = [replace(volume("AXT2", 3000.0, 80.0), site=site) for site in ("b", "a", "", "b")]
    condition = AcquisitionCondition(["AXT2"], features=piecewise_linear, sites=None).with_ranges_of(volumes)
    assert condition.sites == ("a", "b") and condition.fields[-1] == 2 and condition.columns[-2:] == ("site a", "site b")
    assert condition.encode("AXT2", {"site": "b"})[-2:].tolist() == [0, 1]
    assert torch.equal(condition.encode("AXT2", {"site": "b,"}), condition.encode("AXT2", {"site": "b"}))  # as in its table
    rows = [condition.encode_slices(one, [0])[0, -2:].tolist() for one in (*volumes, replace(volumes[0], site="c"))]
    assert rows == [[0, 1], [1, 0], [0, 0], [0, 1], [0, 0]]
    with pytest.raises(InputError, match="site=c: unknown to this model; it has a, b"):
        condition.encode("AXT2", {"site": "c"})
    without = AcquisitionCondition(["AXT2"], features=piecewise_linear, sites=None).with_ranges_of([volume("AXT2", 3000.0, 80.0)])
    assert without.sites == () and len(without.fields) == len(condition.fields) - 1
