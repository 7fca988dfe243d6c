"""The condition: any subset of what is known, scaled by what was seen."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from condiff.data.conditioning import AcquisitionCondition, features
from condiff.data.fastmri import Volume
from condiff.data.header import Header
from condiff.errors import InputError
from condiff.systems import DiffusionSystem


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
    result = AcquisitionCondition(("AXT1POST", "AXT2", "AXFLAIR"))
    result.learn(SEEN)
    return result


def parts(condition, vector):
    names = "contrast", "agent", "sequence", "slice", "tr", "te", "ti", "flip", "field"
    fields = dict(zip(names, vector.split(condition.fields), strict=True))
    for name in names[3:]:  # the sines and cosines say the value once more
        torch.testing.assert_close(fields[name], features(fields[name][0].item()) * fields[name][1])
    return {name: part[: 2 if name in names[3:] else None].tolist() for name, part in fields.items()}


def test_features():
    """By hand; neighbours in one contrast's share of the range are further apart than their values are."""
    assert features(0.25).tolist() == pytest.approx([0.25, 1, 0.5**0.5, 1, 0.5**0.5, 0], abs=1e-6)
    assert features(0.0).tolist() == pytest.approx([0, 1, 0, 0, 1, 1])
    near, far = features(0.5), features(0.6)
    assert (near - far)[2:].norm() > 5 * (near - far)[0].abs()


def test_nothing_known_is_zero(condition):
    assert condition.encode(None).abs().max() == 0 and len(condition.encode(None)) == condition.dim == sum(condition.fields)


def test_values_are_scaled_to_what_was_seen(condition):
    found = parts(condition, condition.encode("AXT2", {"te": 100.0, "tr": 6000.0, "field": 3.0, "slice": 0.75}))
    assert found["contrast"] == [0, 1, 0] and found["agent"] == found["sequence"] == found["ti"] == [0, 0]
    assert found["field"] == [1, 1] and found["slice"] == [0.5, 1]
    assert found["te"] == pytest.approx([2 * (torch.tensor(100 / 8).log() / torch.tensor(125 / 8).log()).item() - 1, 1])
    assert parts(condition, condition.encode(None, {"tr": 400}))["tr"] == pytest.approx([-1, 1])


def test_of_a_volume(condition):
    vectors = condition.of(SEEN[2], range(1, 4))
    assert vectors.shape == (3, condition.dim)
    found = [parts(condition, vector) for vector in vectors]
    assert [f["slice"][0] for f in found] == [-0.5, 0, 0.5]
    assert all(f["agent"] == [0, 1] and f["sequence"] == [1, 0] and f["ti"] == [0, 0] for f in found)
    assert parts(condition, condition.of(SEEN[3], range(1))[0])["ti"] == [0, 1]  # an inversion, and the one time seen
    assert parts(condition, condition.of(SEEN[0], range(1))[0])["agent"] == [0, 0]  # of T2 nobody says


def test_outside_the_range_is_named_and_refused(condition):
    with pytest.raises(InputError, match=r"te=150: the training images of AXT2 have 80 to 125; .*extrapolate=true"):
        condition.encode("AXT2", {"te": 150})
    with pytest.raises(InputError, match=r"te=100: the training images of AXT1POST have 8; stay within"):
        condition.encode("AXT1POST", {"te": 100})
    assert condition.encode(None, {"te": 100}).any()  # seen, in some contrast
    assert parts(condition, condition.encode("AXT2", {"te": 150}, extrapolate=True))["te"][0] > 1
    with pytest.raises(InputError, match="ti=2500: no training image of AXT2 has one"):
        condition.encode("AXT2", {"ti": 2500})


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"te": -1}, "te=-1: give a number"), ({"te": "long"}, "te=long: give a number"), ({"echo": 3}, "echo: no parameter"),
        ({"agent": "gd"}, "agent=gd: unknown to this model; it has without, with"), ({"sequence": "EPI"}, "sequence=EPI"),
        ({"slice": 1.5}, "slice=1.5: .*0 to 1"), ({"te": float("nan")}, "te=nan: give a number"),
    ],
)  # fmt: skip
def test_bad_requests(condition, known, message):
    with pytest.raises(InputError, match=message):
        condition.encode("AXT2", known)


def test_ranges_are_kept(condition):
    again = AcquisitionCondition(condition.contrasts, condition.ranges)
    again.learn([volume("AXT2", 1, 1)])
    assert torch.equal(again.encode("AXT2", {"te": 100}), condition.encode("AXT2", {"te": 100}))


def test_validation_volumes_outside_or_without_parameters(condition):
    assert condition.of(volume("AXT2", 4000, 300), range(2)).isfinite().all()
    empty = Volume(Path("b.h5"), "AXT2", "q", "AXT2", slices=3)
    assert parts(condition, condition.of(empty, range(1))[0])["te"] == [0, 0]


def test_any_subset_is_seen_in_training():
    """Half of the images know everything; of the others every number of fields is as likely as any; fields stay whole."""
    system = SimpleNamespace(fields=(3, 1, 2), p_unknown=0.5, device=torch.device("cpu"))
    known = DiffusionSystem._subset(system, 20_000, torch.Generator().manual_seed(0))
    assert known.shape == (20_000, 6)
    first, second, third = known.split((3, 1, 2), dim=1)
    assert (first.all(1) == first.any(1)).all() and (third.all(1) == third.any(1)).all()
    number = first[:, 0].int() + second[:, 0] + third[:, 0]
    shares = torch.bincount(number, minlength=4) / 20_000
    torch.testing.assert_close(shares, torch.tensor([1, 1, 1, 5]) / 8, rtol=0, atol=0.015)


def test_one_value_teaches_nothing_of_others(condition):
    with pytest.raises(InputError, match="flip=90: all training images have 150, so nothing was learned"):
        condition.encode("AXT2", {"flip": 90}, extrapolate=True)
    assert parts(condition, condition.encode("AXT2", {"flip": 150}))["flip"] == [0, 1]
