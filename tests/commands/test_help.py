"""--help: all that a command line can name is in it, in a page, and torch is not loaded for it."""

import re
import subprocess
import sys

import hydra
import pytest
from omegaconf import OmegaConf

from condiff.commands.help import help_text
from condiff.configuration import CONF
from tests.conftest import ROOT

COMMANDS = sorted(path.stem for path in CONF.glob("*.yaml"))


def groups(command):
    """Group -> its choice by default, as Hydra finds it; None where only another choice has the group."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        choices = hydra.compose(command, return_hydra_config=True).hydra.runtime.choices
    own = {group: choice for group, choice in choices.items() if not group.startswith("hydra/")}
    inside = {f"{group}/{folder.name}": None for group in own if own[group] for folder in (CONF / group).glob("*/")}
    return inside | own


@pytest.mark.parametrize("command", COMMANDS)
def test_every_choice_of_every_group(command):
    text = help_text(command)
    for group, default in groups(command).items():
        name = re.escape(group.replace("/", "."))
        words = re.search(rf"^  {name}  .*(?:\n    .*)*", text, re.MULTILINE)[0].split()
        for choice in (path.stem for path in (CONF / group).glob("*.yaml")):
            assert f"[{choice}]" in words if choice == default else {choice, f"[{choice}]"} & set(words)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_with_its_comment(command):
    text, source = help_text(command), (CONF / f"{command}.yaml").read_text()
    keys = set(OmegaConf.load(CONF / f"{command}.yaml"))
    for key in keys - {"defaults", "hydra"} - groups(command).keys():
        line = next(line for line in source.splitlines() if line.startswith(f"{key}:"))
        comment = line.partition(" # ")[2]
        if comment.startswith("internal"):
            assert not re.search(rf"^  {key}[=.]", text, re.MULTILINE)
        else:
            assert re.search(rf"^  {key}[=.]", text, re.MULTILINE) and comment in " ".join(text.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_no_raw_values(command):
    text = help_text(command)
    assert "${" not in text and "{_target_" not in text and "???" not in text


def test_the_fields_that_a_beginner_needs_come_first(monkeypatch):
    """With the values that Hydra composes, and before the groups."""
    monkeypatch.setenv("COLUMNS", "130")
    options = help_text("train").partition("Groups,")[0]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("train")
    for key in ("data.batch_size", "data.volumes_per_contrast", "trainer.devices", "model.optimizer.lr"):
        value = re.search(rf"^  {key}=(\S+)", options, re.MULTILINE)[1]
        assert float(value) == OmegaConf.select(cfg, key)
    assert re.search("^  data.root=DIR +with data=bids.dicom.fastmri.nifti: folder with the scans", options, re.MULTILINE)
    assert re.search("^  trainer.max_epochs= +a number; here 4, of", options, re.MULTILINE)
    assert re.search("^  model.optimizer.lr=.* learning rate$", options, re.MULTILINE)
    assert "data.root=DIR           folder with" in help_text("prepare")  # its own choice of data is fastmri


def test_defaults_that_are_other_options(monkeypatch):
    monkeypatch.setenv("CONDIFF_CACHE", "/c")
    assert "\n  cache=/c  " in help_text("evaluate") and "\n  steps=sampler.steps  " in help_text("evaluate")
    assert "\n  out=samples/TIME  " in help_text("sample") and "\n  data.root=null  " in help_text("reconstruct")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_page_that_fits_the_terminal(command, monkeypatch):
    for columns in (130, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = help_text(command).splitlines()
        assert len(lines) <= 75 and max(map(len, lines)) <= 130
    monkeypatch.setenv("COLUMNS", "80")
    groups_and_options = help_text(command).split("\n\n", 1)[1].rsplit("\n\n", 1)[0]
    assert max(map(len, groups_and_options.splitlines())) <= 80


def test_comments_of_choices():
    text = help_text("train")
    assert re.search(r"^    smoke +End-to-end smoke test in under a minute on two cores", text, re.MULTILINE)
    assert "@package" not in text


@pytest.mark.parametrize(("script", "called"), [("/usr/bin/condiff-ema", "condiff-ema"), ("ema.py", "python ema.py")])
def test_examples_name_the_command_as_it_was_called(script, called, monkeypatch):
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    assert f"\n  {called} std=0.05" in help_text("ema")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_torch_is_not_loaded(flag):
    code = f"import sys, train; sys.argv = ['train.py', 'seed=1', '{flag}']; train.main(); print('torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert printed.startswith("Trains a diffusion model") and printed.endswith("\nFalse\n")
