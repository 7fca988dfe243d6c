"""Many volumes: what the first process learns of the others."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from condiff.reconstruction import run


def test_reasons_of_all_processes_reach_the_first(tmp_path, monkeypatch):
    """By files, whoever ends first; none is left over."""
    monkeypatch.setattr(run, "POLL_SECONDS", 0.01)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(run.gather, tmp_path, 0, 2, {Path("a"): "bad"})
        assert run.gather(tmp_path, 1, 2, {Path("b"): "worse"}) == {Path("b"): "worse"}
        assert first.result(timeout=30) == {Path("a"): "bad", Path("b"): "worse"}
    assert not [*tmp_path.iterdir()]
