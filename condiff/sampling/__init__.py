"""Sampling of a trained model: requests, batches, several devices, and contrast translation."""

from condiff.sampling.batch import MAX_FRAMES, Sampling, check_clamp, decode, frame_indices, sample, sample_batch
from condiff.sampling.requests import ANIMATED, ANY, SampleRequest, make_requests, resolve_contrasts

__all__ = [
    "ANIMATED",
    "ANY",
    "MAX_FRAMES",
    "SampleRequest",
    "Sampling",
    "check_clamp",
    "decode",
    "frame_indices",
    "make_requests",
    "resolve_contrasts",
    "sample",
    "sample_batch",
]
