"""Lightning callbacks: averaged weights, pictures and measurements of what the model can do so far."""

from condiff.callbacks.averaging import EMA, StoredAverages
from condiff.callbacks.checkpoints import Checkpoints, StopAtSignal, Stopped
from condiff.callbacks.divergence import StopAtNaN
from condiff.callbacks.pictures import SampleGrid
from condiff.callbacks.processes import StopAtLostProcess
from condiff.callbacks.quality import Quality
from condiff.callbacks.reconstructions import ReconstructionGrid

__all__ = [
    "EMA",
    "Checkpoints",
    "Quality",
    "ReconstructionGrid",
    "SampleGrid",
    "StopAtLostProcess",
    "StopAtNaN",
    "StopAtSignal",
    "Stopped",
    "StoredAverages",
]
