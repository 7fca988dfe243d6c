"""Reading of checkpoints of unknown origin, and the registry of what they may construct."""

from condiff.checkpoint.checkpoint import Checkpoint
from condiff.checkpoint.run import newest, results_folder, run_folder

__all__ = ["Checkpoint", "newest", "results_folder", "run_folder"]
