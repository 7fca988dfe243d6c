"""Fixtures of the commands' tests."""

import pytest
from matplotlib.figure import Figure

from condiff.evaluation import features, report


@pytest.fixture(autouse=True)
def quick_classifiers(monkeypatch):
    """Classifiers of the evaluation that have learned little: what they measure is tested in tests/evaluation."""
    monkeypatch.setattr(features, "STEPS", 30)


@pytest.fixture(autouse=True)
def empty_pages(monkeypatch):
    """Pages of the evaluation without content, which takes a second to draw."""
    monkeypatch.setattr(report, "full_page", lambda *_: Figure())
