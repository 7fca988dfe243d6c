"""Signal equations of pulse sequences. Times in ms, concentrations in mmol/l.

Longitudinal and transverse relaxation as in Bernstein, King & Zhou, Handbook of MRI Pulse
Sequences (2004), sections 14.1 (spin echo, inversion recovery).
"""

from dataclasses import dataclass, replace
from math import exp

RELAXIVITY_R1 = 4.5  # l/(mmol s) of gadolinium chelates in plasma at 3 T (Rohrer et al. 2005: 3.1 to 5.5)


@dataclass(frozen=True)
class Tissue:
    """Relaxation times T1 and T2 [ms], proton density PD relative to water.

    T1 is proportional to B0^dispersion: Rooney et al. 2007 found 0.38 in grey and white matter, 0 in cerebrospinal fluid.
    Between 1.5 and 3 T the change of T2 is small, and left out.
    """

    t1: float
    t2: float
    pd: float
    dispersion: float = 0.38

    def in_field(self, ratio: float) -> "Tissue":
        """The tissue in a B0 of ``ratio`` times the one its T1 was given for."""
        return replace(self, t1=self.t1 * ratio**self.dispersion)

    def enhanced(self, concentration: float) -> "Tissue":
        """Returns the tissue with a contrast agent: 1/T1' = 1/T1 + r1 c."""
        return replace(self, t1=1 / (1 / self.t1 + RELAXIVITY_R1 * concentration / 1000))


@dataclass(frozen=True)
class Protocol:
    """Acquisition parameters: TR, TE, TI [ms], flip angle [degrees]; ti = 0 means no inversion."""

    tr: float
    te: float
    ti: float = 0.0
    flip: float = 180.0


def spin_echo(tissue: Tissue, protocol: Protocol) -> float:
    """PD (1 - 2 exp(-(TR - TE/2) / T1) + exp(-TR / T1)) exp(-TE / T2), after a 90 degree pulse."""
    recovered = 1 - 2 * exp(-(protocol.tr - protocol.te / 2) / tissue.t1) + exp(-protocol.tr / tissue.t1)
    return tissue.pd * recovered * exp(-protocol.te / tissue.t2)


def inversion_recovery(tissue: Tissue, protocol: Protocol) -> float:
    """PD |1 - 2 exp(-TI / T1) + exp(-TR / T1)| exp(-TE / T2), magnitude."""
    recovered = 1 - 2 * exp(-protocol.ti / tissue.t1) + exp(-protocol.tr / tissue.t1)
    return tissue.pd * abs(recovered) * exp(-protocol.te / tissue.t2)
