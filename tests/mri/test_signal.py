"""Signal equations at the limits where they are known."""

from math import exp, log

import pytest

from condiff.mri.signal import Protocol, Tissue, inversion_recovery, spin_echo

TISSUE = Tissue(t1=1000, t2=80, pd=0.7)


def test_long_tr_short_te_is_proton_density():
    assert spin_echo(TISSUE, Protocol(tr=1e6, te=0)) == pytest.approx(0.7)


def test_te_equal_t2_leaves_one_eth():
    assert spin_echo(TISSUE, Protocol(tr=1e6, te=80)) == pytest.approx(0.7 * exp(-1))


def test_saturation_recovery_at_te_zero():
    """With no echo delay the refocused spin echo is 1 - exp(-TR / T1)."""
    assert spin_echo(TISSUE, Protocol(tr=500, te=0)) == pytest.approx(0.7 * (1 - exp(-0.5)))


def test_inversion_nulls_at_ln2():
    assert inversion_recovery(TISSUE, Protocol(tr=1e6, te=0, ti=1000 * log(2))) == pytest.approx(0, abs=1e-12)
    assert inversion_recovery(TISSUE, Protocol(tr=1e6, te=0, ti=1)) > 0.69


def test_t1_grows_with_the_field():
    """At twice the field 30 % in grey and white matter, as from 830 ms to 1080 ms; not at all where dispersion is 0."""
    assert TISSUE.in_field(2).t1 == pytest.approx(1000 * 2**0.38) and TISSUE.in_field(2).t2 == TISSUE.t2
    assert Tissue(4200, 1500, 1, dispersion=0).in_field(0.5).t1 == 4200


def test_agent_shortens_t1():
    enhanced = TISSUE.enhanced(1.0)
    assert 1 / enhanced.t1 == pytest.approx(1 / 1000 + 4.5 / 1000)
    assert enhanced.t2 == TISSUE.t2
