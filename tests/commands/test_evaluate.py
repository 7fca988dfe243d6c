"""The command evaluate.py."""

import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from condiff.evaluation import figure, report
from condiff.files import samples_h5
from tests.conftest import ROOT, TINY_RUN, bad, write_volume

FAST = ["num_samples=3", "steps=2", "accelerator=cpu"]


@pytest.fixture
def trained(trained_once, tmp_path, monkeypatch):
    shutil.copytree(trained_once, tmp_path / "runs/now")
    monkeypatch.chdir(tmp_path)
    return Path("runs/now")


def test_evaluation(trained, run_entry, capsys, monkeypatch):
    monkeypatch.setattr(report, "full_page", figure.full_page)
    run_entry("evaluate.py", *FAST)
    (folder,) = (trained / "evaluation").iterdir()
    assert folder.name == "last_num_samples-3_steps-2"
    result = json.loads((folder / "evaluation.json").read_text())
    assert set(result["scores"]) == {"AXT1", "AXT1POST", "AXT2", "AXFLAIR", "pooled"}
    assert result["settings"]["steps"] == 2 and result["compared"]["AXT1"] == 2
    assert result["cost"]["evaluations_per_image"] == 2  # two steps; neither level of so short a grid is guided
    assert set(result["copies"]) == {"pixels", "random", "anatomy"} and result["copies"]["pixels"]["AXT1"]["p"] <= 1
    assert (folder / "evaluation.png").stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert (
        "Fréchet distance · learned features" in printed
        and "with so few held-out patients and samples no count is significant" in printed
    )
    assert not list(Path().glob("*.log")) and not Path(".hydra").exists() and not Path("outputs").exists()


def test_flagged_samples_are_listed_and_nothing_is_uploaded(trained, run_entry, capsys, monkeypatch, tmp_path):
    """With a limit above every distance all samples are flagged, copies.csv gives file and slice, and no logger starts."""
    monkeypatch.setattr("condiff.evaluation.memorization.flag_limit", lambda held_out: 2.0)
    run_entry("evaluate.py", *FAST, "logger=wandb", "out=judged")
    printed = capsys.readouterr().out
    assert "YES, 12 of 12 samples" in printed and "nothing of this evaluation is sent" in printed
    assert not list(tmp_path.glob("**/wandb"))
    named = json.loads(Path("judged/evaluation.json").read_text())["named"]
    assert {(row["contrast"], row["seed"]) for row in named} >= {("AXT1", 0), ("AXT1POST", 3), ("AXFLAIR", 11)}
    with open("judged/copies.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 36 and all(Path(row["file"]).is_file() and row["slice"] in "01" for row in rows)
    assert "file" not in json.dumps(named)
    monkeypatch.undo()


def test_validation_patients_that_chose_the_checkpoint_are_reported(trained, run_entry):
    """One test patient per contrast is too few, so the validation patients are used too, with a note."""
    run_entry("evaluate.py", *FAST, "ckpt=runs/now/checkpoints/best.ckpt", "out=best")
    result = json.loads(Path("best/evaluation.json").read_text())
    assert result["held_out"] == {"splits": ["val", "test"], "patients": 8, "images": 16}
    assert any("chosen by its loss on 4 validation patients" in note and "not independent" in note for note in result["notes"])
    run_entry("evaluate.py", *FAST, "out=last")
    assert not any("chosen" in note for note in json.loads(Path("last/evaluation.json").read_text())["notes"])


def test_held_out_images_that_are_left_out_are_reported(trained, run_entry, capsys):
    run_entry("evaluate.py", *FAST, "real_images=6", "out=judged")
    printed = capsys.readouterr().out
    assert "real_images=6: held-out images: compared with 12 of 16" in printed
    assert "real_images=6: training images: searched 6 of 8 for copies" in printed


@pytest.mark.parametrize(
    ("guidance", "count"), [("guidance=none", 2), ("guidance.interval=[0,100]", 4), ("guidance.interval=[20,100]", 3)]
)
def test_evaluations_are_counted_with_guidance(trained, run_entry, guidance, count):
    """The grid of two steps has the levels 40 and 0.01."""
    run_entry("evaluate.py", *FAST, guidance, "out=judged")
    assert json.loads(Path("judged/evaluation.json").read_text())["cost"]["evaluations_per_image"] == count


def test_training_patients_of_the_guide_are_not_held_out(trained, run_entry, capsys):
    """A guiding model trained on held-out patients is refused."""
    run_entry("train.py", *TINY_RUN[:-1], "trainer.max_epochs=1", "data.seed=1", "hydra.run.dir=runs/other")
    guide = ["guidance=autoguidance", "guidance.weaker.ckpt=runs/other/checkpoints/last.ckpt", "guidance.weaker.share=1"]
    line = bad(capsys, run_entry, "evaluate.py", "ckpt=runs/now/checkpoints/last.ckpt", *FAST, *guide, "out=judged")
    assert re.search("error: guidance.weaker.ckpt=runs/other/.*: was trained on [1-9] held-out patients", line)


def test_an_interrupted_evaluation_goes_on(trained, run_entry, monkeypatch):
    """Stopped after the second of three rounds; the rest is drawn, and the results equal an uninterrupted run."""
    run_entry("evaluate.py", *FAST, "batch_size=4", "out=whole")
    (whole,) = Path("whole").glob("samples-*.h5")
    save, saved = samples_h5.save_h5, []

    def save_twice(*arguments, **settings):
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(1)
        save(*arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(samples_h5, "save_h5", save_twice)
        with pytest.raises(SystemExit) as exit_:
            run_entry("evaluate.py", *FAST, "batch_size=4", "out=cut")
        assert exit_.value.code == 130
    assert [path.name for path in sorted(Path("cut", whole.stem + ".parts").iterdir())] == ["00000000.h5", "00000004.h5"]
    run_entry("evaluate.py", *FAST, "batch_size=4", "out=cut")
    with h5py.File(whole) as expected, h5py.File(Path("cut") / whole.name) as resumed:
        assert np.array_equal(expected["images"], resumed["images"]) and len(expected["images"]) == 12
        assert resumed.attrs["drawn"] == 12 and resumed.attrs["evaluations"] == expected.attrs["evaluations"]
    expected, resumed = (json.loads(Path(name, "evaluation.json").read_text())["scores"] for name in ("whole", "cut"))
    assert expected == resumed  # deterministic from end to end


def test_quick_metrics_train_nothing(trained, run_entry, monkeypatch):
    """The same scores, without those of trained classifiers; copies are searched all the same."""
    run_entry("evaluate.py", *FAST, "out=whole")
    monkeypatch.setattr("condiff.evaluation.features.train_classifier", None)
    run_entry("evaluate.py", *FAST, "metrics=quick", "out=quick")
    whole, quick = (json.loads(Path(name, "evaluation.json").read_text()) for name in ("whole", "quick"))
    trained_ones = {"c2st_auroc", "accuracy", "cas", *(name for name in whole["scores"]["AXT1"] if name.startswith("learned"))}
    assert quick["scores"]["AXT1"] == {name: score for name, score in whole["scores"]["AXT1"].items() if name not in trained_ones}
    assert quick["copies"] == whole["copies"] and trained_ones < whole["scores"]["AXT1"].keys()


def test_a_model_that_began_as_another_is_searched(trained, run_entry):
    """With init= the run's own training images are searched, and a note counts the patients of the first model."""
    init = ["init=runs/now", "data.phantom.seed=1", "trainer.max_epochs=1", "hydra.run.dir=runs/second"]
    run_entry(
        "train.py", *[word for word in TINY_RUN if word.split("=")[0] not in ("trainer.max_epochs", "hydra.run.dir")], *init
    )
    run_entry("evaluate.py", *FAST, "ckpt=runs/second/checkpoints/last.ckpt", "out=judged")
    result = json.loads(Path("judged/evaluation.json").read_text())
    assert result["copies"] and any("patients that a model before this one was trained on" in note for note in result["notes"])


@pytest.mark.slow
def test_another_setting_draws_other_samples(trained, run_entry):
    run_entry("evaluate.py", *FAST, "out=judged")
    run_entry("evaluate.py", *FAST, "out=judged", "seed=7")
    assert len(list(Path("judged").glob("samples-*.h5"))) == 2


def test_data_that_moved(trained, run_entry, cache, tmp_path):
    """The same volumes in another folder are the checkpoint's own data."""
    shutil.copytree(cache, tmp_path / "moved")
    run_entry("evaluate.py", *FAST, "data.cache=moved", "out=judged")
    assert not json.loads(Path("judged/evaluation.json").read_text())["notes"][-1].startswith("copies")


def test_other_transforms_end_the_search_for_copies(trained, run_entry, cache):
    """Nested fields can be overridden; if this changes the training images there is no search for copies, with a note."""
    run_entry("evaluate.py", *FAST, "data.transform.quantile=0.9", "out=judged")
    result = json.loads(Path("judged/evaluation.json").read_text())
    assert result["copies"] == {} and result["notes"][-1].startswith("copies: no search")


def test_seed_of_samples_is_not_that_of_the_split(trained, run_entry):
    run_entry(
        "evaluate.py", *FAST, "seed=5", "data=phantom", *[word for word in TINY_RUN if word.startswith("data.")], "out=judged"
    )
    assert json.loads(Path("judged/evaluation.json").read_text())["copies"]


@pytest.mark.slow
def test_two_processes_give_the_results_of_one(trained, run_entry, cache, tmp_path):
    environment = os.environ | {"CONDIFF_CACHE": str(cache), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "evaluate.py"), *FAST, "devices=2", "out=two"]
    subprocess.run(command, cwd=tmp_path, env=environment, timeout=240, check=True)
    run_entry("evaluate.py", *FAST, "out=one")
    with h5py.File(next(Path("one").glob("*.h5"))) as one, h5py.File(next(Path("two").glob("*.h5"))) as two:
        assert one["images"][()] == pytest.approx(two["images"][()], abs=1e-5)
    assert json.loads(Path("two/evaluation.json").read_text())["cost"]["evaluations_per_image"] == 2


def test_unconditional(run_entry):
    run_entry("train.py", *TINY_RUN, "model=unconditional", "trainer.max_epochs=1")
    run_entry("evaluate.py", "num_samples=8", "steps=2", "accelerator=cpu", "out=judged")
    assert list(json.loads(Path("judged/evaluation.json").read_text())["scores"]) == ["pooled"]


def volumes(folder, patients, contrasts=("AXT1", "AXT2")):
    for patient in patients:
        for contrast in contrasts:
            write_volume(folder / f"{patient}{contrast}.h5", contrast=contrast, patient=patient)


def test_bad_input(trained, run_entry, capsys, tmp_path):
    (tmp_path / "heads").mkdir()
    volumes(tmp_path / "heads", "abcd")
    own = ["data=fastmri", "data.root=heads", "data.workers=0", "data.matrix=32", "data.volumes_per_contrast=1"]
    for arguments, expected in [
        (["ckpt=nowhere.ckpt"], "nowhere.ckpt: no such checkpoint"),
        (["num_samples=1"], "num_samples=1: give a whole number, at least 2"),
        (["num_samples=0"], "num_samples=0: give a whole number"),
        (["data.downsample=1"], r"data: its images [C, H, W] are (1, 32, 32), those of"),
        ([*own, "data.contrasts=[AXT1,AXT2]"], "data: its contrasts are ('AXT1', 'AXT2')"),
        (["data.seed=1"], "held-out patients of"),
        (["data.matrix=64"], r"data: its images [C, H, W] are (1, 32, 32), those of"),
        (["data.sead=1"], "sead"),
        (["sampler=euler"], "there are annealed_langevin"),
        (["out=runs/now/config.yaml"], "out=runs/now/config.yaml: is a file; give a folder"),
    ]:
        assert expected in bad(capsys, run_entry, "evaluate.py", *FAST, *arguments), arguments


def test_samples_that_are_not_numbers(trained, run_entry, capsys):
    path = "runs/now/checkpoints/last.ckpt"
    content = torch.load(path, weights_only=True)
    for weight, line in ((1e30, "the network's output is not a number at evaluation 1, sigma 40"), (math.nan, "are not finite")):
        for value in content["state_dict"].values():
            value.fill_(weight)
        torch.save(content, path)
        assert line in bad(capsys, run_entry, "evaluate.py", *FAST)


@pytest.mark.slow
def test_a_folder_that_changed(run_entry, capsys, tmp_path):
    """Another patient in the folder changes the split; a held-out patient that was trained on is an error."""
    (tmp_path / "heads").mkdir()
    volumes(tmp_path / "heads", "xpqas")  # drawn in this order: x and p to train on
    settings = [word for word in TINY_RUN if "phantom" not in word]
    source = ["data=fastmri", "data.root=heads", "data.matrix=32", "data.contrasts=[AXT1,AXT2]"]
    run_entry("train.py", *settings, *source, "data.volumes_per_contrast=2", "trainer.max_epochs=1")
    run_entry("evaluate.py", *FAST, "out=judged")
    volumes(tmp_path / "heads", "k")  # drawn first: p is held out now
    assert "are training patients of" in bad(capsys, run_entry, "evaluate.py", *FAST, "out=judged")
    again = ["resume=runs/now/checkpoints/last.ckpt", "trainer.max_epochs=2", "hydra.run.dir=runs/again"]
    assert "no longer splits as it did" in bad(capsys, run_entry, "train.py", *again)
