"""The stream of slices."""

from collections import Counter

from condiff.data.index_sampler import StreamSampler, balanced, shuffled


def stream(order=None, length=15, epochs=4, **share):
    sampler = StreamSampler(order or shuffled(["AXT2"] * 10, seed=0), length, **share)
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        yield from sampler


def test_stream_visits_all_equally_often():
    assert set(Counter(stream()).values()) == {6}


def test_stream_is_shuffled_anew_each_pass():
    indices = list(stream())
    assert sorted(indices[:10]) == sorted(indices[10:20]) == list(range(10))
    assert indices[:10] != indices[10:20]


def test_processes_share_one_stream():
    whole = list(stream(length=30, epochs=2))
    halves = [list(stream(epochs=2, rank=rank, world_size=2)) for rank in (0, 1)]
    assert [index for pair in zip(*halves, strict=True) for index in pair] == whole[:60]


def test_balanced_order():
    """Ten T2 to a T1, and yet as many of the one as of the other; within a contrast all equally often."""
    contrasts = ["AXT2"] * 20 + ["AXT1"] * 2
    indices = list(stream(balanced(contrasts, seed=0), length=20, epochs=4))
    assert Counter(contrasts[i] for i in indices) == {"AXT2": 40, "AXT1": 40}
    counts = Counter(indices)
    assert all(counts[i] == 2 for i in range(20)) and counts[20] == counts[21] == 20
    assert [contrasts[i] for i in indices] != ["AXT1", "AXT2"] * 40
    assert indices == list(stream(balanced(contrasts, seed=0), length=80, epochs=1))
