"""Samples of a trained model: what is asked for, a batch of it, many on all devices, and translation."""

from condiff.sampling.batch import FRAMES, decoded, draw, frame_indices
from condiff.sampling.requests import ANY, MOVING, Draw, plan, requested

__all__ = ["ANY", "FRAMES", "MOVING", "Draw", "decoded", "draw", "frame_indices", "plan", "requested"]
