"""The notebook of the docs, executed with a tiny model."""

import os
import re
import stat
import subprocess
import sys

import pytest

from tests.conftest import ROOT, TINY_RUN

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
TOUR = ROOT / "docs/tour.ipynb"


def test_outputs_are_committed_and_hold_no_path():
    notebook = nbformat.read(TOUR, 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code) and any("image/png" in str(cell.outputs)[: 10**6] for cell in code)
    assert not re.search(r"/(home|tmp|root)/|Traceback", TOUR.read_text())
    assert not any("\r" in output.get("text", "") for cell in code for output in cell.outputs), "a progress bar"
    assert TOUR.stat().st_size < 1_000_000


@pytest.mark.slow
def test_the_tour_runs(cache, tmp_path, monkeypatch):
    """Every cell, in the order of the page."""
    monkeypatch.setenv("CONDIFF_CACHE", str(cache))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    command = tmp_path / "condiff-evaluate"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/evaluate.py "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    # 64 x 64: the centre of the tour's mask is too few lines of a smaller image for the coils' noise
    words = [word for word in TINY_RUN if not word.startswith(("hydra", "data.phantom.matrix"))] + ["data.phantom.matrix=128"]
    train = [sys.executable, str(ROOT / "train.py"), *words, "model=acquisition", "hydra.run.dir=runs/tour"]
    subprocess.run(train, check=True, capture_output=True, cwd=tmp_path)
    notebook = nbformat.read(TOUR, 4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = str([cell.get("outputs") for cell in notebook.cells])
    assert "acceleration 2." in printed or "acceleration 1." in printed
    assert (tmp_path / "tour_evaluation/evaluation.json").is_file() and "CAS" in printed
