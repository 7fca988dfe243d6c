"""Models to give away: the same images from the folder, a card with the true numbers, and nothing of a patient or a machine."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import condiff
from condiff.checkpoint import Checkpoint, model_folder
from condiff.checkpoint.run import data_fields
from condiff.errors import InputError
from condiff.export import diffusers, folder, onnx
from condiff.export.card import card
from tests.conftest import bad


@pytest.fixture(scope="module")
def given(trained_once, tmp_path_factory):
    """A model folder of the tiny run."""
    return condiff.load(trained_once).save(tmp_path_factory.mktemp("given") / "heads")


@pytest.fixture(scope="module")
def evaluation():
    """Content of evaluation.json of two measures and two contrasts."""

    def estimate(value, half=0.25):
        return {"value": value, "low": value - half, "high": value + half}

    scores = {
        "c2st_auroc": {"samples": estimate(0.75), "floor": estimate(0.5), "ceiling": None},
        "random_frechet": {"samples": estimate(7), "floor": estimate(6), "ceiling": estimate(30)},
    }
    test = {"share": 0.0, "threshold": 0.5, "p": 1.0, "detectable": 0.25}
    return {
        "settings": {"checkpoint": "/home/x/last.ckpt", "sha256": "0", "num_samples": 64, "steps": 12},
        "held_out": {"splits": ["val", "test"], "patients": 24, "images": 192},
        "scores": {"AXT1": scores, "pooled": scores},
        "copies": {"pixels": {"AXT1": test, "pooled": test}},
        "named": [],
        "summary": "copies of training images: no sample is flagged; the count is no higher than by chance",
        "notes": ["copies: 104 patients of a model before this one were not searched", "pixels: 3 images left out"],
    }


def test_few_step_models_stay_with_their_sampler(trained_once, tmp_path):
    """ONNX, the page and diffusers come with samplers that take the network's estimate for a mean."""
    content = torch.load(trained_once / "checkpoints/last.ckpt", weights_only=True)
    content["hyper_parameters"]["sampler"]["fn"]["_target_"] = "condiff.diffusion.samplers.consistency"
    torch.save(content, tmp_path / "few.ckpt")
    checkpoint = Checkpoint.read(tmp_path / "few.ckpt")
    for name, writer in (("onnx", onnx), ("diffusers", diffusers)):
        with pytest.raises(InputError, match=f"format={name}: .*few.ckpt is a model of few steps, for sampler=consistency alone"):
            writer.save(checkpoint, tmp_path / name)
        assert not (tmp_path / name).exists()
    assert folder.save(checkpoint, tmp_path / "safetensors").is_dir()


def test_a_config_that_would_be_waited_for(given, tmp_path):
    shutil.copytree(given, tmp_path / "copy")
    (tmp_path / "copy/config.json").unlink()
    os.mkfifo(tmp_path / "copy/config.json")
    with pytest.raises(
        InputError, match="config.json: does not describe a model of condiff .is no regular file.; give an intact"
    ):
        condiff.load(tmp_path / "copy")


def test_the_same_images(trained_once, given):
    model, copy = condiff.load(trained_once), condiff.load(given)
    assert {path.name for path in given.iterdir()} == {"model.safetensors", "config.json", "README.md"}
    drawn, again = (each.sample("AXT2", n=2, steps=3) for each in (model, copy))
    assert np.array_equal(drawn.values, again.values) and repr(copy) == repr(model)
    assert copy.checkpoint.patients == model.checkpoint.patients and copy.sigma_data == model.sigma_data


def test_half_of_the_bytes(trained_once, given, tmp_path):
    """Every weight is the nearest of 16 bits; images differ as much as that rounding lets them."""
    halved = condiff.load(trained_once).save(tmp_path / "half", float16=True)
    assert (halved / "model.safetensors").stat().st_size < 0.6 * (given / "model.safetensors").stat().st_size
    weights, exact = (Checkpoint.read(path).weights for path in (halved, given))
    for name, weight in exact.items():
        torch.testing.assert_close(weights[name], weight, rtol=2**-11, atol=2**-24)
    drawn, again = (condiff.load(path).sample("AXT2", n=2, steps=3).values for path in (given, halved))
    np.testing.assert_allclose(again, drawn, atol=0.02)


def test_every_command_takes_a_folder(given, run_entry, tmp_path, capsys):
    """Pictures of it, a run that begins with it, and an export of it; results that hold real images stay out of it."""
    run_entry("sample.py", f"ckpt={given}", "num_samples=1", "steps=2", "accelerator=cpu", "out=drawn")
    assert (tmp_path / "drawn/samples.png").is_file()
    run_entry("likelihood.py", f"ckpt={given}", "num_images=2", "steps=2", "accelerator=cpu")
    [results] = (tmp_path / "runs").glob("heads-????????/likelihood")
    assert results.is_dir() and len([*given.iterdir()]) == 3
    run_entry("export.py", f"ckpt={given}", "out=again")
    assert (tmp_path / "again/model.safetensors").read_bytes() == (given / "model.safetensors").read_bytes()
    assert (tmp_path / "again/config.json").read_text() == (given / "config.json").read_text()
    assert "model       again" in capsys.readouterr().out
    line = bad(capsys, run_entry, "train.py", f"resume={given}")
    assert "cannot be resumed" in line and "init=" in line


def test_nothing_of_a_machine_or_a_patient(given, trained_once, tmp_path):
    text = "".join((given / name).read_text() for name in ("config.json", "README.md"))
    assert (
        str(trained_once.parent) not in text
        and "cache" not in json.loads((given / "config.json").read_text())["hyper_parameters"]
    )
    bare = condiff.load(trained_once).save(tmp_path / "bare", patients=False)
    assert json.loads((bare / "config.json").read_text())["data"].keys() == {"statistics"}
    model = condiff.load(bare)
    assert model.sample("AXT1", n=1, steps=2).values.shape == (1, 1, 16, 16)
    with pytest.raises(InputError, match="does not record its training patients"):
        _ = model.checkpoint.patients


def written(path, evaluation, checkpoint, **changes):
    """Writes evaluation.json of a checkpoint. Returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = evaluation["settings"] | {"sha256": checkpoint.sha256}
    path.write_text(json.dumps(evaluation | {"settings": settings} | changes))
    return path


def test_the_card(trained_once, evaluation, tmp_path):
    """Its numbers are those of the evaluation, and it says what was not searched."""
    checkpoint = Checkpoint.read(trained_once)
    file = written(tmp_path / "evaluation.json", evaluation, checkpoint)
    out = folder.save(checkpoint, tmp_path / "heads", evaluation=file)
    text = (out / "README.md").read_text()
    assert "| C2ST AUROC, samples vs held-out (as held-out) | 0.50 ± 0.25 | 0.75 ± 0.25 | – |" in text
    assert "| Fréchet distance · random features ↓ | 6.00 ± 0.25 | 7.00 ± 0.25 | 30.00 ± 0.25 |" in text
    assert "64 samples per contrast in 12 steps against 192 images of 24 held-out patients" in text
    assert "Copies of training images: no sample is flagged" in text and "Copies: 104 patients" in text and "3 images" not in text
    assert "Simulated heads, the phantom of condiff: 4 patients, 6 steps of 4 images." in text
    assert "/home/x" not in (out / "config.json").read_text() and 'condiff.load("heads")' in text
    assert folder.given_evaluation(Checkpoint.read(out))["held_out"] == evaluation["held_out"]
    assert "No patient is in its training data" in text
    assert "No evaluation is recorded" in card(checkpoint, "x", None, 1)
    alone = written(file, evaluation, checkpoint, scores={"AXT1": evaluation["scores"]["AXT1"]})  # of one contrast
    assert "0.75 ± 0.25" in (folder.save(checkpoint, tmp_path / "one", evaluation=alone) / "README.md").read_text()


def test_the_card_counts_the_patients_of_earlier_models(trained_once, tmp_path):
    content = torch.load(trained_once / "checkpoints/last.ckpt", weights_only=True)
    state = content["PhantomDataModule"]
    state["others"] = [state["patients"] | {"hashes": ["a", "b", "c"]}]
    torch.save(content, tmp_path / "x.ckpt")
    text = (folder.save(Checkpoint.read(tmp_path / "x.ckpt"), tmp_path / "heads") / "README.md").read_text()
    assert "models of other data: 3 patients or simulated heads" in text and "No patient is in" not in text


def test_the_newest_evaluation_of_the_checkpoint_is_taken(trained_once, evaluation, tmp_path):
    """Of this checkpoint, not of another one beside it; a file of another one is refused."""
    run = shutil.copytree(trained_once, tmp_path / "run")
    checkpoint = Checkpoint.read(run)
    for name in ("old", "own"):
        written(run / "evaluation" / name / "evaluation.json", evaluation, checkpoint, summary=name)
    other = run / "evaluation/other/evaluation.json"
    other.parent.mkdir()
    other.write_text(json.dumps(evaluation))
    assert "Own." in (folder.save(checkpoint, tmp_path / "heads") / "README.md").read_text()
    with pytest.raises(InputError, match="other/evaluation.json: is of another checkpoint than"):
        folder.save(checkpoint, tmp_path / "more", evaluation=other)


@pytest.mark.parametrize("found", ["named", "p", "older", "of another checkpoint", "of the folder"])
def test_copies_are_not_given_away(trained_once, evaluation, tmp_path, found, run_entry, capsys):
    """Any evaluation of the run counts; with copies=accept the card has the result, and the folder no seed of a copy."""
    run = shutil.copytree(trained_once, tmp_path / "run")
    checkpoint = Checkpoint.read(run)
    flagged = {"named": [{"sample": 3, "seed": 77}], "summary": "copies of training images: YES, 3 samples"}
    significant = {"pixels": {"AXT1": {"share": 0.5, "threshold": 0.5, "p": 0.001, "detectable": 0.2}}}
    changes = flagged | {"named": [], "copies": significant} if found == "p" else flagged
    first = written(run / "evaluation/a/evaluation.json", evaluation, checkpoint, **changes)
    if found == "of another checkpoint":
        first.write_text(json.dumps(evaluation | changes))
    if found == "older":
        written(run / "evaluation/b/evaluation.json", evaluation, checkpoint)
    words = ["export.py", f"ckpt={run}", "out=given"]
    line = bad(capsys, run_entry, *words)
    assert "reports copies of training patients" in line and "copies=accept" in line and not (tmp_path / "given").exists()
    run_entry(*words, "copies=accept")
    config, text = (tmp_path / "given" / name for name in ("config.json", "README.md"))
    assert "77" not in json.dumps(json.loads(config.read_text()).get("evaluation", {}).get("named"))
    if found in ("named", "p", "of the folder"):
        assert "YES, 3 samples" in text.read_text()
        assert "reports copies" in bad(capsys, run_entry, "export.py", "ckpt=given", "out=again")


@pytest.mark.parametrize(
    "change",
    [{"named": None}, {"copies": {"pixels": 3}}, {"scores": {"AXT1": {"cas": {"floor": {"value": "x"}}}}}, {"settings": []}],
)
def test_a_damaged_evaluation(trained_once, evaluation, tmp_path, change):
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation | change))
    with pytest.raises(InputError, match="evaluation.json: cannot be read as an evaluation"):
        folder.save(Checkpoint.read(trained_once), tmp_path / "heads", evaluation=tmp_path / "evaluation.json")


def test_what_a_folder_holds_beside_is_not_read(given, tmp_path):
    """No data root of a config.yaml in it: a folder that somebody gave chooses no path."""
    stranger = shutil.copytree(given, tmp_path / "stranger")
    (stranger / "config.yaml").write_text("data: {root: /etc}")
    assert data_fields(stranger / "model.safetensors") == {}


def test_bad_folders(given, trained_once, tmp_path, run_entry, capsys):
    """One line for each fault of a folder that somebody gave; nothing that is there is overwritten."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    assert "out=full: is not empty; give a new folder" in bad(capsys, run_entry, "export.py", f"ckpt={trained_once}", "out=full")
    for fault, name, content in (
        ("cannot be read", "model.safetensors", b"\xff" * 100),
        ("does not describe a model", "config.json", b"{}"),
        ("does not describe a model", "config.json", b"[" * 10_000),
        ("does not describe a model", "config.json", b'{"data": {}, "step": 1, "hyper_parameters": [1]}'),
        ("does not describe a model", "config.json", b'{"data": {}, "step": 1, "hyper_parameters": {"data": [1]}}'),
    ):
        broken = shutil.copytree(given, tmp_path / "broken", dirs_exist_ok=True)
        (broken / name).write_bytes(content)
        with pytest.raises(InputError, match=fault):
            condiff.load(broken)
    (broken / "config.json").unlink()
    with pytest.raises(InputError, match=r"config.json: does not describe a model of condiff \(No such file"):
        condiff.load(broken)
    weights = load_file(given / "model.safetensors")
    save_file({name: weight[:1] for name, weight in weights.items()}, broken / "model.safetensors")
    shutil.copy(given / "config.json", broken)
    with pytest.raises(InputError, match="do not fit the model it describes"):
        condiff.load(broken)


def test_a_folder_runs_no_code(given, tmp_path):
    """A name outside of the registry is refused, as in a checkpoint."""
    hostile = shutil.copytree(given, tmp_path / "hostile")
    config = json.loads((hostile / "config.json").read_text())
    config["hyper_parameters"]["net"]["_target_"] = config["hyper_parameters"]["model"]["denoiser"]["net"]["_target_"] = (
        "os.system"
    )
    (hostile / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="os.system"):
        condiff.load(hostile)


def test_weights_beyond_16_bits():
    with pytest.raises(InputError, match="dtype=float16: a has weights above 65504"):
        model_folder.half({"a": torch.tensor([1e6])})
