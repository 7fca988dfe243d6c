"""likelihood.py as its user meets it."""

import json

import pytest

from tests.conftest import TINY_RUN, bad


def test_likelihood(run_entry, tmp_path, capsys):
    run_entry("train.py", *TINY_RUN, "trainer.max_epochs=1")
    few = ["num_images=2", "steps=6", "accelerator=cpu"]
    capsys.readouterr()
    run_entry("likelihood.py", *few)
    printed = capsys.readouterr().out
    assert "held out, AXT2" in printed and "trained on, AXFLAIR" in printed
    folder = tmp_path / "runs/now/likelihood/last"
    found = json.loads((folder / "likelihood.json").read_text())["bits"]
    assert (folder / "likelihood.png").stat().st_size > 5000 and len(found) == 8
    for columns in found.values():
        parts = sum(columns[name][0] for name in ("prior", "terms", "reconstruction"))
        assert abs(columns["bound"][0] - parts) < 1e-3
        assert 0 < columns["flow"][0] and 0 <= columns["prior"][0] < 0.01
    run_entry("likelihood.py", *few, "batch_size=1", "out=again")
    again = json.loads((tmp_path / "again/likelihood.json").read_text())["bits"]
    assert all(abs(again[title][name][0] - value) < 1e-3 for title, row in found.items() for name, (value, _) in row.items())
    assert "steps=1" in bad(capsys, run_entry, "likelihood.py", "steps=1")
    assert "num_images=1" in bad(capsys, run_entry, "likelihood.py", "num_images=1")
    one_slice = "data.select.slices=[0,0.5]"
    with pytest.raises(SystemExit):
        run_entry("likelihood.py", *few, one_slice, "out=none")
    printed = capsys.readouterr()
    assert "skipped     held out, AXT2: a mean with its error needs at least 2 images, there are 1" in printed.out
    assert "data: no contrast has 2 images" in printed.err and not (tmp_path / "none").exists()
