"""Samples of a trained model: what is asked for, a batch of it, many on all devices, and translation."""

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
