"""Fixtures of the commands' tests."""

import pytest


@pytest.fixture(autouse=True)
def quick(quick_evaluation):
    """Everywhere here."""
