"""Lightning callbacks: EMA, checkpoints, sample grids, validation metrics, progress, and orderly ends of a training."""

from condiff.training.callbacks.checkpoints import Checkpoints, StopAtSignal, Stopped
from condiff.training.callbacks.curves import Curves
from condiff.training.callbacks.ema import EMA, PostHocEMASnapshots
from condiff.training.callbacks.lost_process import StopAtLostProcess
from condiff.training.callbacks.nan_guard import StopAtNaN
from condiff.training.callbacks.progress_lines import ProgressBars, ProgressLines, bars_or_lines
from condiff.training.callbacks.reconstruction_grid import ReconstructionGrid
from condiff.training.callbacks.sample_grid import SampleGrid
from condiff.training.callbacks.throughput import Throughput
from condiff.training.callbacks.validation_metrics import ValidationMetrics

__all__ = [
    "EMA",
    "Checkpoints",
    "Curves",
    "PostHocEMASnapshots",
    "ProgressBars",
    "ProgressLines",
    "ReconstructionGrid",
    "SampleGrid",
    "StopAtLostProcess",
    "StopAtNaN",
    "StopAtSignal",
    "Stopped",
    "Throughput",
    "ValidationMetrics",
    "bars_or_lines",
]
