"""What the tabs share: models, the temporary folder, errors, the evaluation's files, and the command."""

import json
import os
import re
import shutil
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

gr = pytest.importorskip("gradio")
from condiff.app import evaluate, show  # noqa: E402
from condiff.app.folder import new_folder, temporary_folder  # noqa: E402
from condiff.app.generate import parameters_of  # noqa: E402
from condiff.app.models import Models  # noqa: E402
from condiff.app.page import POLICY, build  # noqa: E402
from condiff.checkpoint import results_folder, run_folder  # noqa: E402
from condiff.errors import InputError  # noqa: E402
from condiff.evaluation.table import score_rows  # noqa: E402
from condiff.export.folder import given_evaluation  # noqa: E402
from condiff.model import load  # noqa: E402
from tests.conftest import bad  # noqa: E402

CPU = torch.device("cpu")


def test_models_of_this_folder(acquisition_run, monkeypatch):
    monkeypatch.chdir(acquisition_run.parent.parent.parent)
    models = Models(None, CPU)
    assert models.default.endswith("run/checkpoints/last.ckpt") and models.default in models.available()
    assert models[models.default] is models[models.default]
    assert run_folder(models[models.default].model.checkpoint.path) == acquisition_run.resolve()
    assert models[models.default].scale == 1.5
    with pytest.raises(InputError, match="no such checkpoint"):
        Models("nowhere.ckpt", CPU)


def test_models_that_come_with_condiff(tmp_path, monkeypatch):
    """Without a run: phantom to generate, phantom_prior to reconstruct, the card instead of an evaluation."""
    monkeypatch.chdir(tmp_path)
    models = Models(None, CPU)
    assert (
        models.default == "phantom" and models.prior() == "phantom_prior" and models.available() == ["phantom", "phantom_prior"]
    )
    assert parameters_of(models["phantom"].model) == ["te", "tr", "ti", "field", "slice"]
    assert (
        models["phantom"].patient_note("another") == ""
        and given_evaluation(models["phantom"].model.checkpoint)["held_out"]["patients"] > 10
    )


def test_a_model_without_a_record_of_patients(acquisition_run, tmp_path):
    bare = load(acquisition_run).save(tmp_path / "bare", patients=False)
    assert "does not record its training patients" in Models(str(bare), CPU)[str(bare)].patient_note("someone")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_temporary_folder_goes_with_the_program(number, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt), temporary_folder() as folder:
        assert folder.stat().st_mode & 0o077 == 0 and os.environ["GRADIO_TEMP_DIR"] == str(folder)
        assert new_folder(folder).parent == folder
        with tempfile.NamedTemporaryFile() as file:
            assert Path(file.name).parent == folder
        os.kill(os.getpid(), number)
    assert not folder.exists() and tempfile.tempdir == str(tmp_path) and "GRADIO_TEMP_DIR" not in os.environ


def test_errors_are_one_line_with_the_name_of_the_upload():
    @show.one_line_errors
    def handle(path):
        raise InputError(f"{path}: is <b>no</b> scan; give another")

    with pytest.raises(gr.Error) as raised:
        handle("/uploads/abc/scan.h5")
    assert raised.value.message == "scan.h5: is &lt;b&gt;no&lt;/b&gt; scan; give another" and not raised.value.print_exception


def test_other_errors_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        show.one_line_errors(lambda: 1 / 0)()
    with pytest.raises(RuntimeError, match="bug"):
        show.one_line_errors(_raise)(RuntimeError("bug"))
    with pytest.raises(gr.Error, match="memory"):
        show.one_line_errors(_raise)(MemoryError())


def _raise(error):
    raise error


def test_pictures_are_inside_the_page_with_the_front_up():
    image = np.zeros((8, 8), dtype=np.float32)
    image[-1] = 1  # the front
    assert np.asarray(show.enlarged(image))[:30].mean() > 200 > 50 > np.asarray(show.enlarged(image))[-30:].mean()
    text = show.pictures([("a < b", image)])
    assert text.count("data:image/png;base64,") == 1 and "a &lt; b" in text and "http" not in text
    assert show.table(["x"], [["<i>"]]).count("&lt;i&gt;") == 1


def test_nothing_from_another_machine_is_allowed():
    assert "default-src 'self'" in POLICY and "http" not in POLICY and "*" not in POLICY


def test_the_page_is_built_for_every_kind_of_model(acquisition_run, trained_once, tmp_path):
    for run in (acquisition_run, trained_once):
        page = build(Models(str(run), CPU), tmp_path, size_limit_mb=1)
        labels = {block.label for block in page.blocks.values() if isinstance(block, gr.Slider)}
        assert ("TE (ms)" in labels) == (run == acquisition_run)
        assert all(function.api_visibility == "private" for function in page.fns.values())


def test_evaluations_outside_of_the_run_leave_the_other_tabs(trained_once, tmp_path):
    run = shutil.copytree(trained_once, tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (run / "evaluation").symlink_to(tmp_path / "elsewhere")
    page = build(Models(str(run), CPU), tmp_path, size_limit_mb=1)
    said = [str(block.value) for block in page.blocks.values() if isinstance(block, gr.HTML)]
    assert any("a link out of the run" in text for text in said)


EVALUATION = {
    "settings": {"steps": 2},
    "summary": "copies of training images: YES",
    "notes": ["a note"],
    "held_out": {"patients": 2, "images": 8},
    "copies": {},
    "named": [{"sample": 1, "contrast": "AXT1", "seed": 1, "distance_over_limit": {"pixels": 0.5, "anatomy": 0.8}}],
    "scores": {"pooled": {"cas": {name: {"value": 0.5, "low": 0.4, "high": 0.6} for name in ("floor", "samples", "ceiling")}}},
}


@pytest.fixture
def evaluated(tmp_path, acquisition_run):
    """A run's checkpoint, its folder of an evaluation with two samples, and the spec of its images."""
    loaded = Models(str(acquisition_run), CPU)[str(acquisition_run)]
    folder = tmp_path / "run/evaluation/last"
    folder.mkdir(parents=True)
    (folder / "evaluation.json").write_text(json.dumps(EVALUATION))
    loaded.model.sample("AXT1", n=2, steps=2).save(folder / "samples-29cf9ff5.h5")
    return tmp_path / "run/checkpoints/last.ckpt", folder, loaded.model.spec


def test_an_evaluation_is_shown_without_training_images(evaluated):
    checkpoint, folder, spec = evaluated
    assert evaluate.evaluations(checkpoint) == ["last"] and evaluate.folder_of(checkpoint, "last") == folder
    numbers = evaluate.numbers_of(folder)
    assert evaluate.remarks(numbers) == ["copies of training images: YES", "a note"]
    [row] = score_rows(numbers, "pooled")
    assert row[0].startswith("CAS") and row[1:] == ["0.50 ± 0.10"] * 3
    [sample] = folder.glob("samples-*.h5")
    sample.rename(folder / f"samples-{evaluate_digest()}.h5")
    [(title, image)] = evaluate.flagged(folder, numbers, spec)
    assert title == "AXT1, seed 1: 50% of the limit" and image.shape == (16, 16)
    assert evaluate.flagged(folder, {**numbers, "named": []}, spec) == []


def evaluate_digest():
    """The name that evaluate.py gives to the samples of `EVALUATION`."""
    import hashlib

    return hashlib.sha256(json.dumps(EVALUATION["settings"]).encode()).hexdigest()[:8]


def test_an_evaluation_that_is_missing_damaged_or_elsewhere(evaluated, tmp_path):
    checkpoint, folder, _ = evaluated
    assert re.search(rf"evaluate(.py)? ckpt={tmp_path}/run, then", evaluate.missing(checkpoint))
    with pytest.raises(InputError, match="no such evaluation"):
        evaluate.folder_of(checkpoint, "../elsewhere")
    with pytest.raises(InputError, match="evaluation.png: cannot be read"):
        evaluate.page_of(folder)
    (folder / "evaluation.json").write_text("[]")
    with pytest.raises(InputError, match="cannot be read as an evaluation"):
        evaluate.numbers_of(folder)
    (folder / "evaluation.png").symlink_to("/etc/hostname")
    with pytest.raises(InputError, match="a link out of the run"):
        evaluate.folder_of(checkpoint, "last")


def test_evaluations_of_a_model_folder_are_found(tmp_path, monkeypatch):
    """evaluate.py keeps them in runs/, because the folder is given away."""
    monkeypatch.chdir(tmp_path)
    path = load("phantom").checkpoint.path
    assert evaluate.evaluations(path) == []
    made = results_folder(path, "evaluation", "quick")
    made.mkdir(parents=True)
    (made / "evaluation.json").write_text(json.dumps(EVALUATION))
    assert evaluate.evaluations(path) == ["quick"] and evaluate.folder_of(path, "quick").parent == Path("runs/phantom/evaluation")


@pytest.mark.parametrize(("word", "message"), [("port=0", "port=0: give"), ("size_limit_mb=-1", "size_limit_mb=-1: give")])
def test_bad_options(run_entry, capsys, word, message):
    assert message in bad(capsys, run_entry, "app.py", word)


def test_a_page_without_gradio(run_entry, capsys, monkeypatch):
    monkeypatch.setattr("condiff.commands.app.find_spec", lambda name: None)
    assert 'pip install -e ".[app]"' in bad(capsys, run_entry, "app.py")
