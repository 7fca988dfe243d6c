"""Command lines: what is read, what is refused, and in which words."""

import copy
import errno
import functools
import logging
import re
import sys
from pathlib import Path

import hydra
import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import OmegaConf

from condiff.checkpoint import Checkpoint
from condiff.commands.cli import job_folder, one_line_errors
from condiff.commands.command_line import CONF, allow_checkpoint_fields, check_choices, flags_first, quote_for_hydra
from condiff.commands.explain import explain, with_option
from condiff.commands.from_checkpoint import open_checkpoint
from condiff.commands.options import OPTIONS, check, check_arguments, check_kind
from condiff.configuration import cache_folder, choices_with, plain
from condiff.errors import InputError
from tests.conftest import bad

AWKWARD = [
    "runs/a/last.ckpt", "eq/epoch=1-step=8.ckpt", "with space/last.ckpt", "two  spaces (1)/a,b.ckpt", "Köpfe/ü.ckpt",
    "it's/a.ckpt", 'say "x".ckpt', "[a]/b.ckpt", "{a:b}.ckpt", "a#b&c;d!e^f.ckpt", "2024", "007", "1e5", "true",
    "a\\b.ckpt", "choice(a).ckpt", "@x",
]  # fmt: skip


PARSER = OverridesParser.create()


def compose(config_name, *words):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(config_name, list(words), return_hydra_config=True)


@pytest.fixture
def command(monkeypatch):
    """Composes a command line as the entry points do, and makes it the current one."""

    def run(script, *words):
        config_name = script.removesuffix(".py")
        cfg = compose(config_name, *words)
        HydraConfig.instance().set_config(cfg)
        return cfg

    yield run
    HydraConfig.instance().cfg = None


@pytest.mark.parametrize("path", AWKWARD)
def test_paths_are_what_was_written(path):
    for word in (f"ckpt={path}", f"out={path}"):
        (read,) = quote_for_hydra([word])
        key = word.partition("=")[0]
        assert compose("sample", read)[key] == ("a\\b.ckpt" if "\\" in path else path)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("ckpt='a=b (1).ckpt'", "a=b (1).ckpt"),
        ('ckpt="a=b.ckpt"', "a=b.ckpt"),
        ("ckpt=a\\=b.ckpt", "a=b.ckpt"),
        ("ckpt=null", None),
        ("ckpt=${out}", "x"),
    ],
)
def test_quotes_and_escapes_of_the_user_stay(word, value):
    (read,) = quote_for_hydra([word])
    assert compose("sample", "out=x", read).ckpt == value
    assert quote_for_hydra([read]) == [read]  # the processes that Lightning starts read it again


def test_lists():
    assert quote_for_hydra(["contrast=AXT1,AXT2", "slices=3", "init_slices=3, 4", "data.contrasts=AXT2", "contrast=AXT1"]) == [
        "contrast=[AXT1,AXT2]", "slices=[3]", "init_slices=[3, 4]", "data.contrasts=[AXT2]", "contrast=AXT1",
    ]  # fmt: skip
    assert quote_for_hydra(["trust=package.Net"]) == ["trust=[package.Net]"]
    assert quote_for_hydra(["data.contrasts=[AXT1,AXT2]", "slices=null"]) == ["data.contrasts=[AXT1,AXT2]", "slices=null"]


def test_sweeps_stay_sweeps():
    words = ["-m", "contrast=AXT1,AXT2", "slices=3,4", "ckpt=a,b", "ckpt=choice(a,b)", "seed=1,2"]
    assert quote_for_hydra(words) == ["-m", "contrast=AXT1,AXT2", "slices=[3],[4]", "ckpt=a,b", "ckpt=choice(a,b)", "seed=1,2"]
    assert quote_for_hydra(["-m", "ckpt=e=1.ckpt,e=2.ckpt"]) == ["-m", "ckpt='e=1.ckpt','e=2.ckpt'"]


def test_groups_and_flags():
    assert quote_for_hydra(["data.transform=complex", "data.root=a"]) == ["data/transform=complex", "data.root=a"]
    assert flags_first(["a=1", "-m", "b=2", "--cfg", "job"]) == ["-m", "--cfg", "job", "a=1", "b=2"]
    assert allow_checkpoint_fields("guidance", "clamp")(["guidance.scale=2", "clamp=none", "clamp.high=1", "seed=1"]) == [
        "++guidance.scale=2", "clamp=none", "clamp.high=1", "seed=1",
    ]  # fmt: skip


@pytest.mark.parametrize("words", [["--seed=1"], ["--seed", "1"], ["-seed=1"]])
def test_options_have_no_dashes(words):
    with pytest.raises(InputError, match="options have no dashes; write seed="):
        quote_for_hydra(words)


@pytest.mark.parametrize("flags", [["--config-path", "RUN"], ["--config-dir=RUN", "--config-name", "config"], ["-cp", "RUN"]])
def test_a_run_is_repeated_by_its_command_line(flags, tmp_path):
    OmegaConf.save({"overrides": ["net.channels=[8,8]", "seed=1"]}, tmp_path / "config.yaml")
    with pytest.raises(InputError, match=re.escape("python train.py 'net.channels=[8,8]' seed=1")):
        quote_for_hydra([word.replace("RUN", str(tmp_path)) for word in flags])


def test_hints_name_commands_as_the_running_one_was_called(monkeypatch):
    for called, hint in (("/opt/bin/condiff-sample", "condiff-train"), ("sample.py", "python train.py"), ("", "python train.py")):
        monkeypatch.setattr(sys, "argv", [called])
        with pytest.raises(InputError, match=re.escape(f"train one ({hint}), or")):
            Checkpoint.read("nowhere.ckpt")


GUIDED = {"_target_": "condiff.diffusion.guidance.classifier_free", "_partial_": True}
RUN = {  # of a training
    "sampler": {"fn": {"_target_": "condiff.diffusion.samplers.ancestral", "_partial_": True, "eta": 0.0}, "steps": 7},
    "guidance": GUIDED | {"scale": 1.1, "interval": [0.2, 0.7]},
    "clamp": {"_target_": "condiff.diffusion.guidance.identity", "_partial_": True},
}  # fmt: skip


@pytest.fixture
def trained_so(tmp_path):
    """The word that gives a command the checkpoint of such a training."""
    path = tmp_path / "last.ckpt"
    torch.save({"hyper_parameters": RUN | {"model": {}, "data": {}, "overrides": []}, "state_dict": {}}, path)
    return f"ckpt={path}"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {"guidance.scale": 1.1, "guidance.interval": [0.2, 0.7], "steps": 7}),
        (["guidance.scale=2"], {"guidance.scale": 2, "guidance.interval": [0.2, 0.7]}),
        (["guidance.interval=null"], {"guidance.scale": 1.1, "guidance.interval": None}),
        (["sampler.fn.eta=0.5", "steps=3"], {"sampler.fn.eta": 0.5, "steps": 3, "guidance.scale": 1.1}),
        (["guidance=classifier_free", "guidance.scale=2"], {"guidance.scale": 2, "guidance.interval": [0.05, 1.5]}),
        (["guidance=none"], {"guidance._target_": "condiff.diffusion.guidance.identity", "steps": 7}),
    ],
)
@pytest.mark.parametrize("script", ["sample", "evaluate"])
def test_the_run_s_own_settings_stay(command, trained_so, script, words, expected):
    """Only a group that is chosen replaces the run's; a field is set within it."""
    cfg, _ = open_checkpoint(command(script, trained_so, *allow_checkpoint_fields(*RUN)(words)), *RUN)
    for key, value in expected.items():
        assert OmegaConf.select(cfg, key) == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["guidance.scal=2"], "guidance.scal: .* has guidance.scale, guidance.interval"),
        (["clamp.high=2"], "clamp.high: .* has no fields; clamp.high belongs to clamp=dynamic or magnitude or static"),
        (["guidance.scale=high"], "guidance.scale=high: give a number"),
        (["guidance.scale=null"], "guidance.scale=null: give a number"),
        (["guidance.scale=[1,2]"], r"guidance.scale=\[1,2\]: give a number"),
        (["guidance.scale=nan"], "guidance.scale=nan: give a number"),
        (["guidance.interval=[1]"], r"guidance.interval=\[1\]: give two sigmas"),
        (["sampler.fn.eta=true"], "sampler.fn.eta=true: give a number"),
        (["sampler.steps=10001"], "sampler.steps=10001: give a whole number, at least 1 and at most 10000"),
    ],
)
def test_fields_that_the_run_s_objects_lack(command, trained_so, words, message):
    cfg = command("sample", trained_so, *allow_checkpoint_fields(*RUN)(words))
    with pytest.raises(InputError, match=message):
        open_checkpoint(cfg, *RUN)


@functools.cache
def default(script):
    return compose(script)


def refuse(script, word):
    """Raise what the command with this option would."""
    override, cfg = PARSER.parse_override(word), copy.deepcopy(default(script))
    key, value = override.key_or_group, override.value()
    check_kind(key, plain(OmegaConf.select(cfg, key)), value)
    OmegaConf.update(cfg, key, value)
    check(cfg, OPTIONS[script])


@pytest.mark.parametrize(
    ("script", "key"),
    [
        ("train", "trainer.max_epochs"),
        ("train", "data.phantom.patients"),
        ("train", "data.batch_size"),
        ("sample", "num_samples"),
        ("sample", "steps"),
        ("evaluate", "real_images"),
        ("likelihood", "num_images"),
        ("reconstruct", "samples"),
    ],
)
def test_whole_numbers(script, key):
    for value in ("word", "1.5", "true", "null", "nan", "[1]", "0", "-1"):
        with pytest.raises(InputError, match=f"^{re.escape(f'{key}={value}')}: give a whole number"):
            refuse(script, f"{key}={value}")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("sample", "strength=much strength=1.5 contrast=[] contrast=[AXT1,AXT1] init_slices=[-1] init_slices=[] te=long te=inf"),
        ("sample", "format=dcm devices=two accelerator=abacus shared_noise=1 num_samples=1000000000 steps=1000000 source=[a]"),
        ("evaluate", "num_samples=1 guidance.interval=[1,2,3] guidance.scale=high"),
        ("likelihood", "steps=1 width=0 width=-inf"),
        ("ema", "std=nan std=wide std=-1 step=2.5"),
        ("prepare", "verify=often data.workers=-1 data.shard=3 data.sampling_order=shuffled"),
        (
            "reconstruct",
            "slices=[] slices=[1.5] acceleration=four acceleration=[4,8] acceleration=null seen=2 maps=[a] estimate_maps=walsh "
            "mask.center_fraction=wide",
        ),
        ("train", "data.contrasts=[] data.contrasts=[AXT1,AXT1] net.channels=[a,b] net.channels=8 net.channels=[] compile=maybe"),
        ("train", "schedule.sigma_max=inf seed=1.5 model.optimizer.lr=fast model.optimizer.lr=-1 model.p_uncond=2"),
        ("train", "callbacks.grid.steps=x data.phantom={patients:many} guidance.interval=[2,1]"),
    ],
)
def test_values_of_another_kind_or_out_of_range(script, words):
    """One line that begins with the option, before a checkpoint or a file is read."""
    for word in words.split():
        with pytest.raises(InputError, match=rf"^{re.escape(word.partition('=')[0])}[.\w]*=.*: give "):
            refuse(script, word)


@pytest.mark.parametrize(
    ("key", "default", "value"),
    [
        ("a", 1.5, 2), ("a", 2, 3), ("a", None, "x"), ("a", "x", 2024), ("a", {"b": 1}, "word"), ("a", [0, 1000], [0.05, 1.5]),
        ("a", [0.0, 1.0], [0.0, float("inf")]), ("data.volumes_per_contrast", 10, None), ("acceleration", 4, 2.5),
    ],
)  # fmt: skip
def test_values_that_may_replace_a_default(key, default, value):
    check_kind(key, default, value)


@pytest.mark.parametrize("config_name", [*OPTIONS])
def test_defaults_keep_the_rules(config_name):
    check(default(config_name), OPTIONS[config_name])
    check_arguments(default(config_name))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+guidance.scal=2"], r"^guidance.scal=2: does not fit .*classifier_free; there are guidance.scale, guidance.interval$"),
        (["+sampler.fn.denoise=2"], "^sampler.fn.denoise=2: does not fit .*; leave it out$"),  # is the program's to give
        (["sampler=heun", "+sampler.fn.x=2"], "^sampler.fn.x=2: does not fit .*heun; there are sampler.fn.churn, "),
        (["+model.loss.cut=2"], "^model.loss.cut=2: does not fit .*losses.denoising"),
        (["data.sampling_order._target_=no.such"], r"^data.sampling_order._target_=no.such: cannot be imported \("),
    ],
)
def test_functions_are_given_arguments_that_they_take(words, message):
    with pytest.raises(InputError, match=message):
        check_arguments(compose("train", *words))


def test_a_run_s_folder_with_links_out_of_it_is_refused(run_entry, capsys, tmp_path):
    """What a run writes, Hydra's log too, would be written where they lead."""
    victim = tmp_path / "victim.txt"
    victim.write_text("thesis")
    for name in ("train.log", "config.yaml", ".lock", "averages"):
        folder = tmp_path / f"run of {name}"
        folder.mkdir()
        (folder / name).symlink_to(victim)
        for key in ("hydra.run.dir", "run"):
            with pytest.raises(SystemExit):
                run_entry("train.py", "experiment=smoke", f"{key}='{folder}'")
            assert f"{name}: is a link out of the run; delete it" in capsys.readouterr().err.replace("\n", "")
            assert victim.read_text() == "thesis" and len([*folder.iterdir()]) == 1


def test_too_little_memory_is_one_line(capsys):
    for error in (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), torch.OutOfMemoryError("CUDA")):
        with pytest.raises(SystemExit), one_line_errors("train"):
            raise error
        assert "error: memory is too small for this (" in capsys.readouterr().err
    with pytest.raises(RuntimeError), one_line_errors("train"):
        raise RuntimeError("a fault of the program")


@pytest.mark.parametrize(
    "word", ["model=null", "sampler=2", "+experiment=null", "data/transform={a: 1}", "~net=true", "model=ddpm,null"]
)
def test_a_choice_is_a_name(word):
    hint = "; a number is for sampler.steps" if word == "sampler=2" else ""
    with pytest.raises(InputError, match=rf"^{re.escape(word)}: no such choice; there are \w+, .*, or leave it out{hint}$"):
        check_choices(["trainer.max_epochs=2", word])


def test_every_rule_is_of_an_option():
    """Of the default choices, or of another of the group's."""
    latent = compose("train", "model=latent")
    for script, rules in OPTIONS.items():
        for key in rules:
            known = any(OmegaConf.select(cfg, key, default="none") != "none" for cfg in (default(script), latent))
            assert known or choices_with(*key.split(".", 1)) or key == "model.crop", f"{script}: {key}"


@pytest.mark.parametrize(
    ("script", "words", "message"),
    [
        ("train", ["data.root=x"], "data.root belongs to data=bids or dicom or fastmri or nifti; write data=... data.root=..."),
        ("train", ["data=nowhere"], "data=nowhere: no such choice; there are bids, dicom, fastmri, nifti, phantom, "),
        ("train", ["data.transform=nifti"], "data.transform=nifti: no such choice; there are complex, magnitude"),
        ("train", ["runs/b/last.ckpt"], "cannot read 'runs/b/last.ckpt' on the command line; options look like key=value"),
        ("train", ["net.channels=[8,8"], "cannot read 'net.channels=[8,8' on the command line"),
        ("train", ["net.channels=8,8"], "net.channels=8,8: a sweep needs -m, a list brackets, net.channels=[8,8]"),
        ("train", ["trainer.devces=2"], "trainer.devces: no such option; did you mean trainer.devices"),
        ("reconstruct", ["guidance.scale=2"], "guidance.scale belongs to guidance=autoguidance or classifier_free"),
        ("likelihood", ["guidance.scale=2"], "guidance.scale: no such option"),
        ("sample", ["stepz=3"], "stepz: no such option; did you mean steps"),
    ],
)  # fmt: skip
def test_errors_of_hydra_in_one_line(run_entry, capsys, script, words, message):
    assert bad(capsys, run_entry, f"{script}.py", *words).startswith(f"error: {message}")


def test_one_process_reports(run_entry, capsys, monkeypatch):
    """Of those that srun started the first prints the error; all of them fail."""
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    with pytest.raises(SystemExit) as exit_:
        run_entry("sample.py", "steps=0")
    logging.disable(logging.NOTSET)
    assert exit_.value.code == 1 and "".join(capsys.readouterr()) == ""


@pytest.mark.parametrize(
    ("script", "words", "message", "named"),
    [
        ("sample", [], "scale=-1: give 0", "guidance.scale=-1: give 0"),
        ("sample", ["clamp=static"], "low=5.0, high=3.0: nothing", "clamp.low=5.0, high=3.0: nothing"),
        ("sample", [], "steps=0: at least one", "steps=0: at least one"),  # the command's own
        ("sample", [], "a/b=c: no such file", "a/b=c: no such file"),
        ("sample", [], "low=5.0: nothing", "low=5.0: nothing"),  # of no function here
        (
            "train",
            ["codec=kl_f4"],
            "channels=[32, 64]: too many",
            "codec.channels=[32, 64]: too many",
        ),  # and of the network, others
        ("reconstruct", [], "center_fraction=0.5: 32 of 64 lines", "mask.center_fraction=0.5: 32 of 64 lines"),
    ],
)
def test_an_argument_is_named_as_its_option(script, words, message, named):
    assert with_option(message, compose(script, *words)) == named


def test_every_job_of_a_sweep_has_a_folder(command):
    """Named by its number too: what its name leaves out, ckpt=a,b, may be what the jobs differ in."""
    command("sample", "++guidance.scale=2")
    assert job_folder("out") == Path("out")
    current = HydraConfig.instance().cfg.hydra
    OmegaConf.set_readonly(current, False)
    current.mode, current.job.num, current.job.override_dirname = RunMode.MULTIRUN, 1, "++guidance.scale-2"
    assert job_folder("out") == Path("out/1_guidance.scale-2")
    current.job.override_dirname = ""
    assert job_folder("out") == Path("out/1")


def test_cache_folder(monkeypatch):
    for name in ("CONDIFF_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder() == Path.home() / ".cache/condiff"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert str(cache_folder()) == compose("train").data.cache == compose("evaluate").cache == "/x/condiff"
    monkeypatch.setenv("CONDIFF_CACHE", "/c")
    assert cache_folder() == Path("/c")


def test_a_full_disk_is_one_line():
    line = explain(OSError(errno.ENOSPC, "No space left on device", "/x/y"), "train")
    assert line.startswith("/x/y: No space left on device; free some space")
