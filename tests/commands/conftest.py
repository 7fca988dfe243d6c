"""Fixtures of the commands' tests."""

import pytest

from condiff.evaluation import features


@pytest.fixture(autouse=True)
def quick_classifiers(monkeypatch):
    """Classifiers of the evaluation that have learned little: what they measure is tested in tests/evaluation."""
    monkeypatch.setattr(features, "STEPS", 30)
