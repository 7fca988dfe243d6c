"""Samples of a trained model: what is asked for, a batch of it, many on all devices, and translation."""

from condiff.sampling.batch import FRAMES, Sampling, check_clamp, decoded, frame_indices, sample, sample_batch
from condiff.sampling.requests import ANIMATED, ANY, SampleRequest, make_requests, resolve_contrasts

__all__ = [
    "ANIMATED",
    "ANY",
    "FRAMES",
    "SampleRequest",
    "Sampling",
    "check_clamp",
    "decoded",
    "frame_indices",
    "make_requests",
    "resolve_contrasts",
    "sample",
    "sample_batch",
]
