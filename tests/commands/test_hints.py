"""A misspelt option or choice: the message has the one that is meant."""

import pytest

from condiff.commands.hints import missing_choice, misspelt_option, similar_options
from tests.conftest import bad


@pytest.mark.parametrize(
    ("script", "key", "hint"),
    [
        ("train", "epochs", "did you mean trainer.max_epochs or "),
        ("train", "trainer.max_epoch", "did you mean trainer.max_epochs?"),
        ("train", "max_epoch", "did you mean trainer.max_epochs?"),
        ("train", "trainer.epochs", "did you mean trainer.max_epochs?"),
        ("train", "lr", "did you mean model.optimizer.lr?"),
        ("train", "model.lr", "did you mean model.optimizer.lr?"),
        ("train", "learning_rate", "did you mean model.optimizer.lr?"),
        ("train", "batch", "did you mean data.batch_size or "),
        ("train", "data.batchsize", "did you mean data.batch_size?"),
        ("train", "gpus", "did you mean trainer.devices?"),
        ("train", "contrasts", "did you mean data.contrasts?"),
        ("train", "root", "data.root belongs to data=bids or dicom or fastmri or nifti; write data=... data.root=..."),
        ("sample", "n", "did you mean num_samples?"),
        ("sample", "batch", "did you mean batch_size?"),
        ("sample", "contrasts", "did you mean contrast?"),
        ("sample", "scale", "did you mean guidance.scale?"),
        ("reconstruct", "root", "did you mean data.root?"),
        ("reconstruct", "R", "did you mean acceleration?"),
        ("ema", "xyz", "there are ckpt, std, step, out, and the fields of groups, see python ema.py --help"),
    ],
)
def test_misspelt_options(script, key, hint, monkeypatch):
    monkeypatch.setattr("sys.argv", [f"{script}.py", f"{key}=1"])
    assert misspelt_option(key, script).startswith(f"{key}: no such option; {hint}")


def test_similar_options():
    options = ["a.rate", "b.c.rate", "a.rates", "b.depth"]
    assert similar_options("rate", options) == ["a.rate", "b.c.rate"]
    assert similar_options("b.rate", options) == ["b.c.rate"] and similar_options("b.dpeth", options) == ["b.depth"]
    assert similar_options("width", options) == []


def test_missing_choices():
    assert missing_choice("a", "smok", ["big", "smoke"]) == "a=smok: no such choice; did you mean smoke? There are big, smoke"
    assert missing_choice("a", "zzz", ["big", "smoke"]) == "a=zzz: no such choice; there are big, smoke"


@pytest.mark.parametrize(
    ("script", "word", "hint"),
    [
        ("train", "epochs=5", "epochs: no such option; did you mean trainer.max_epochs"),
        ("train", "experiment=smok", "experiment=smok: no such choice; did you mean smoke? There are complex_brain_320"),
        ("reconstruct", "method=dsd", "method=dsd: no such choice; did you mean dps or dds? There are csgm"),
    ],
)
def test_one_line_on_the_command_line(run_entry, capsys, script, word, hint):
    assert bad(capsys, run_entry, f"{script}.py", word).startswith(f"error: {hint}")
