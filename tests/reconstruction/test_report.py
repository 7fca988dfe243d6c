"""The table of reconstructions: names that a reader knows, and a warning where the prior does harm."""

import pytest

from condiff.reconstruction.report import title, warn_if_overconfident, warn_if_worse_than_zero_filling


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("combined.one.psnr", "PSNR, dB (one sample)"),
        ("rss.zero_filled.ssim", "SSIM (zero-filled, root sum of squares)"),
        ("chi2.mean", "reduced chi2 (mean of the samples)"),
        ("seconds_per_slice", "seconds per slice"),
    ],
)
def test_titles(key, name):
    assert title(key) == name


def test_a_prior_that_does_harm_is_named(caplog):
    warn_if_worse_than_zero_filling("AXT2", {"combined.zero_filled.psnr": 25.04, "combined.one.psnr": 20.96})
    assert caplog.messages == [
        "AXT2: reconstructions are worse than zero filling, PSNR 21.0 dB and 25.0 dB; was the prior trained on such images?"
    ]
    caplog.clear()
    better = {"combined.zero_filled.psnr": 25.0, "combined.one.psnr": 20.0, "combined.mean.psnr": 26.0}
    warn_if_worse_than_zero_filling("AXT2", better)
    warn_if_worse_than_zero_filling("AXT2", {"chi2.one": 1.0})
    assert not caplog.messages


def test_an_uncertainty_that_is_too_small_is_named(caplog):
    warn_if_overconfident({"uncertainty.coverage_2": 0.854})
    assert "two standard deviations hold 85 % of the errors, not 95 %" in caplog.messages[0]
    caplog.clear()
    warn_if_overconfident({"uncertainty.coverage_2": 0.9})
    warn_if_overconfident({"combined.one.psnr": 25.0})
    assert not caplog.messages
