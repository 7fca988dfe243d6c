"""A checkpoint from anywhere, read as plain values, and what it may construct."""

from condiff.checkpoint.checkpoint import Checkpoint
from condiff.checkpoint.run import newest, results_folder, run_folder

__all__ = ["Checkpoint", "newest", "results_folder", "run_folder"]
