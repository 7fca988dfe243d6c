"""What is written of a volume."""

from condiff.reconstruction.numbers import without_nan


def test_json_has_no_nan():
    assert without_nan({"a": [float("nan"), 1.0], "b": {"c": float("inf")}, "d": "x"}) == {
        "a": [None, 1.0],
        "b": {"c": None},
        "d": "x",
    }
