"""The GPU benchmark, at toy size on a CPU: every section gives finite figures or says that it needs a GPU."""

import json
import math

from benchmarks.gpu import __main__ as benchmark


def test_every_section_has_figures(tmp_path):
    benchmark.main([str(tmp_path), "--toy", "--no-tests"])
    sections = json.loads((tmp_path / "gpu.json").read_text())["sections"]
    assert list(sections) == [name for name in benchmark.SECTIONS if name != "tests"]
    for name, section in sections.items():
        assert "error" not in section, section["error"]
        figures = [value for row in section["rows"] for value in row.values() if isinstance(value, int | float)]
        assert all(math.isfinite(value) and value >= 0 for value in figures)
        assert any(figures) or (name == "memory" and section["rows"][0]["note"] == "needs a GPU")
    text = (tmp_path / "gpu.md").read_text()
    assert all(f"## {title}" in text for name, (title, _) in benchmark.SECTIONS.items() if name != "tests")


def test_an_error_is_one_line_and_the_next_section_runs(tmp_path, monkeypatch):
    def broken(bench, add):
        add(figure=1.0)
        raise RuntimeError("first line\nsecond line")

    sections = {"one": ("One", broken), "two": ("Two", lambda bench, add: add(figure=2.0))}
    monkeypatch.setattr(benchmark, "SECTIONS", sections)
    benchmark.main([str(tmp_path), "--toy", "--only", "one", "two"])
    found = json.loads((tmp_path / "gpu.json").read_text())["sections"]
    assert found["one"]["error"] == "RuntimeError: first line"
    assert [section["rows"] for section in found.values()] == [[{"figure": 1.0}], [{"figure": 2.0}]]
    assert "second line" in (tmp_path / "gpu.log").read_text()
    assert "Error: RuntimeError: first line" in (tmp_path / "gpu.md").read_text()
