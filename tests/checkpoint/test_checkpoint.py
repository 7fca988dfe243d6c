"""Checkpoints: load what is ours, refuse the rest in one line, run nothing that a file names."""

import copy
import functools
import re
from collections import OrderedDict, defaultdict

import pytest
import torch

from condiff.checkpoint import Checkpoint, newest, registry, results_folder
from condiff.checkpoint.run import data_root
from condiff.commands import resume
from condiff.configuration import without_paths
from condiff.data.patients import Fingerprints
from condiff.errors import InputError
from condiff.files import torch_archive
from condiff.files.atomic import check_links_stay_inside
from condiff.training.resumed_state import read_state

NET = {
    "_target_": "condiff.nn.UNet", "image_channels": 1, "cond_dim": 4, "channels": [8], "blocks": [1], "attention": [False],
}  # fmt: skip
MODEL = {
    "_target_": "condiff.training.DiffusionSystem",
    "denoiser": {
        "_target_": "condiff.diffusion.Denoiser",
        "net": NET,
        "parameterization": {"_target_": "condiff.diffusion.denoiser.eps", "_partial_": True},
    },
    "schedule": {"_target_": "condiff.diffusion.schedules.Karras"},
    "optimizer": {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 0.1},
    "lr_factor": {"_target_": "condiff.training.lr_schedules.constant", "_partial_": True},
    "codec": {"_target_": "condiff.nn.Pixels"},
}
CONFIG = {
    "model": MODEL,
    "net": NET,
    "data": {"_target_": "condiff.data.datamodule.MRIDataModule", "contrasts": ["AXT1"]},
    "sampler": {"fn": {"_target_": "condiff.diffusion.samplers.heun", "_partial_": True}, "steps": 20},
    "guidance": {"_target_": "condiff.diffusion.guidance.identity", "_partial_": True},
    "clamp": {"_target_": "condiff.diffusion.guidance.identity", "_partial_": True},
    "overrides": [],
}


@pytest.fixture(scope="module")
def made():
    denoiser = registry.build("denoiser", MODEL["denoiser"], "x").state_dict()
    return {"state_dict": {f"model.denoiser.{name}": weight for name, weight in denoiser.items()}, "hyper_parameters": CONFIG}


@pytest.fixture
def content(made):
    """The content of a checkpoint, without training one."""
    return copy.deepcopy(made)


@pytest.fixture
def saved(tmp_path, content):
    """Write the content, with other settings of the model; the path."""

    def save(**model):
        content["hyper_parameters"]["model"] |= model
        torch.save(content, tmp_path / "x.ckpt")
        return tmp_path / "x.ckpt"

    return save


def test_loads_weights_and_configuration(saved, content):
    content["state_dict"]["model.denoiser.net.stem.bias"].fill_(0.25)
    checkpoint = Checkpoint.read(saved())
    model = checkpoint.model()
    assert (model.denoiser.net.stem.bias == 0.25).all() and not model.training
    assert not any(weight.requires_grad for weight in model.parameters())
    assert checkpoint.config["model"]["_target_"] == "condiff.training.DiffusionSystem"


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "torch.hub.load",
        "torch.utils.collect_env.run",
        "condiff.data.phantom.volumes.os.remove",
        "condiff.files.samples_h5.save_h5",
        "condiff.data.index._write_table",
        "condiff.data.phantom.volumes.Phantom",  # ours, of another slot
        "condiff.nn.UNet",
    ],
)
@pytest.mark.parametrize("place", ["codec", "nested", "list"])
def test_what_a_slot_does_not_admit_is_refused_by_name(saved, target, place):
    part = {"_target_": target, "path": "x"}
    path = saved(**{"codec": {"codec": part}, "nested": {"fields": {"a": [{"b": part}]}}, "list": {"fields": [part]}}[place])
    with pytest.raises(InputError, match=f"x.ckpt: names {target} for .*refused"):
        Checkpoint.read(path).model()


@pytest.mark.parametrize("key", ["_args_", "_recursive_", "_convert_"])
def test_other_settings_of_hydra_are_refused(saved, key):
    with pytest.raises(InputError, match=f"codec has '{key}' as"):
        Checkpoint.read(saved(codec={"_target_": "condiff.nn.Pixels", key: []})).model()


class Doubling(torch.nn.Module):
    def __init__(self, factor=2.0):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor))


def test_own_class_is_admitted_by_the_user_alone(saved, content):
    name = f"{__name__}.Doubling"
    content["hyper_parameters"]["model"]["denoiser"]["net"] = {"_target_": name, "factor": 3.0}
    content["state_dict"] = {"model.denoiser.net.factor": torch.tensor(5.0)}
    path = saved()
    with pytest.raises(InputError, match=rf"names {name} for net, .*add trust=\[{name}\]"):
        Checkpoint.read(path).model()
    assert Checkpoint.read(path, [name]).model().denoiser.net.factor == 5
    with pytest.raises(InputError, match=r"trust=nowhere.Net: cannot be imported"):
        registry.build("net", {"_target_": "nowhere.Net"}, path, ["nowhere.Net"])


@pytest.mark.parametrize("text", ["${oc.create:{_target_:os.getcwd}}", "/etc/passwd", "../../x", "a\nb"])
def test_text_that_is_no_word_is_refused(saved, text):
    with pytest.raises(InputError, match="text there is a plain word"):
        Checkpoint.read(saved(fields=text)).model()


@pytest.mark.parametrize("p_uncond", ["x", None, True, -0.1, 2])
def test_a_share_that_is_none_is_refused(saved, p_uncond):
    with pytest.raises(InputError, match=r"its model has p_uncond=.*; expected a share"):
        Checkpoint.read(saved(p_uncond=p_uncond)).model()


def test_arguments_of_the_kinds_that_conf_gives_are_built():
    """Lists of numbers, unions and numbers that happen to be whole."""
    registry.check("select", {"_target_": "condiff.data.selection.Selection", "coils": [1, 1000], "merge": {"a": "b"}}, "x")
    registry.check("phantom", {"_target_": "condiff.data.phantom.volumes.Phantom", "tr_factors": [0.8, 1.25]}, "x")
    registry.check("guidance", {"_target_": "condiff.diffusion.guidance.classifier_free", "_partial_": True, "scale": 2}, "x")


def test_arguments_are_checked_where_an_object_gets_its_last_ones_later():
    """It would complain in the midst of sampling."""
    with pytest.raises(InputError, match=r"its fn has eta='0.5', which does not fit condiff.diffusion.samplers.heun"):
        registry.check("fn", {"_target_": "condiff.diffusion.samplers.heun", "_partial_": True, "eta": 0.5}, "x")


@pytest.mark.parametrize(
    ("value", "problem"),
    [(10**7, "at most 1000000"), (float("nan"), "not a number"), (list(range(300)), "at most 256 entries")],
)
def test_absurd_numbers_are_refused(saved, value, problem):
    with pytest.raises(InputError, match=problem):
        Checkpoint.read(saved(fields=value)).model()


@pytest.mark.parametrize("net", [{"blocks": [1_000_000]}, {"channels": [1_000_000]}, {"channels": [8] * 200}, {"attention": 3}])
def test_network_larger_than_its_weights_is_not_built(saved, content, net):
    content["hyper_parameters"]["model"]["denoiser"]["net"] |= net
    with pytest.raises(
        InputError, match=r"x.ckpt: .*(a model of more|weights do not fit|cannot be built|net: channels=|does not fit)"
    ):
        Checkpoint.read(saved()).model()


def shadowed(mapping):
    """A dictionary that seems to be empty."""
    hidden = OrderedDict(mapping)
    hidden.keys = hidden.values = OrderedDict
    return hidden


def test_a_dictionary_cannot_hide_what_it_holds(saved):
    with pytest.raises(InputError, match=r"names os.system for fields"):
        Checkpoint.read(saved(fields=shadowed({"_target_": "os.system"}))).model()


def ring():
    one = []
    one.append(one)
    return one


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        bytearray(3),
        torch.Size([3]),
        defaultdict(list),
        1 + 2j,
        torch.float32,
        10**40,
        {(1, 2): 3},
        ring(),
        functools.reduce(lambda inner, _: [inner], range(50), 1),
        functools.reduce(lambda inner, _: [inner, inner], range(30), "x"),
        torch.zeros(1).expand(10**6, 10**6),
        torch.zeros(3).to_sparse(),
        torch.zeros(3, dtype=torch.complex64),
        torch.empty(3, device="meta"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, torch.Tensor) else f"tensor {value.device} {value.dtype}",
)
def test_other_than_plain_values_are_refused(tmp_path, value):
    torch.save({"x": value}, tmp_path / "x.ckpt")
    with pytest.raises(InputError, match=r"x.ckpt: (holds|not a readable)"):
        torch_archive.read(tmp_path / "x.ckpt")


def test_plain_values_come_back(tmp_path):
    value = {"a": [1, 2.5, None, True, "ü"], "b": (torch.arange(3), {"c": -(2**62)}), 7: torch.ones(2, 2).half()}
    torch.save(OrderedDict(value), tmp_path / "x.ckpt")
    read = torch_archive.read(tmp_path / "x.ckpt")
    assert type(read) is dict and read["a"] == value["a"] and read["b"][1] == value["b"][1] and type(read["b"]) is tuple
    assert torch.equal(read["b"][0], value["b"][0]) and torch.equal(read[7], value[7]) and read[7].dtype == torch.float16


def test_no_flipped_bit_changes_a_weight(saved):
    """Some lie in the padding between the weights, and do nothing."""
    path = saved()
    whole, right = path.read_bytes(), Checkpoint.read(path).model().state_dict()
    refused = 0
    for place in range(50, len(whole), len(whole) // 60):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        try:
            found = Checkpoint.read(path).model().state_dict()
        except InputError:
            refused += 1
        else:
            assert all(torch.equal(found[name], right[name]) for name in right)
    assert refused > 40


def test_compressed_and_foreign_archives_are_refused(tmp_path, saved):
    import zipfile

    path = saved()
    with zipfile.ZipFile(path) as good:
        entries = {name: good.read(name) for name in good.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in entries.items():
            packed.writestr(name, content)
    with pytest.raises(InputError, match="compressed"):
        Checkpoint.read(path).model()
    with zipfile.ZipFile(path, "w") as script:
        for name, content in (entries | {"x/code/__torch__.py": b"x"}).items():
            script.writestr(name, content)
    with pytest.raises(InputError, match="not a checkpoint"):
        Checkpoint.read(path).model()
    torch.save({"a": 1}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match="not a readable checkpoint"):
        Checkpoint.read(path).model()


@pytest.mark.parametrize("key", ["sampler", "guidance", "clamp"])
def test_way_of_sampling_that_names_code_is_refused(saved, content, key):
    """Entry points sample as the run did: what that was is looked at before anything is built."""
    content["hyper_parameters"][key] = {"fn": {"_target_": "os.system", "command": "x"}}
    with pytest.raises(InputError, match=r"x.ckpt: names os.system"):
        Checkpoint.read(saved()).model()


def test_absent_truncated_not_ours_and_edited(tmp_path, saved, content):
    with pytest.raises(InputError, match=r"nowhere.ckpt: no such checkpoint"):
        Checkpoint.read(tmp_path / "nowhere.ckpt").model()
    path = saved()
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"x.ckpt: not a readable checkpoint; truncated"):
        Checkpoint.read(path).model()
    path.write_text("hello")
    with pytest.raises(InputError, match=r"x.ckpt: not a readable checkpoint"):
        Checkpoint.read(path).model()
    torch.save({"state_dict": {}}, path)
    with pytest.raises(InputError, match=r"x.ckpt: not a checkpoint of condiff"):
        Checkpoint.read(path).model()
    torch.save(torch.zeros(3), path)
    with pytest.raises(InputError, match=r"x.ckpt: not a checkpoint of condiff"):
        Checkpoint.read(path).model()
    content["state_dict"] = {}
    with pytest.raises(InputError, match=r"describes a model of more"):
        Checkpoint.read(saved()).model()


def test_newest(tmp_path):
    with pytest.raises(InputError, match=r"no run in this folder has a checkpoint"):
        newest(tmp_path)
    for age, name in enumerate(("new", "old")):
        folder = tmp_path / name / "checkpoints"
        folder.mkdir(parents=True)
        (folder / "last.ckpt").touch()
        __import__("os").utime(folder / "last.ckpt", (1e9 - age, 1e9 - age))
    assert newest(tmp_path).parts[-3] == "new"


def test_what_is_stored_has_no_path():
    config = {
        "data": {"root": "/home/x", "matrix": 3, "shard": "1/1"},
        "run": "runs/x",
        "init": "/a.ckpt",
        "words": ["a", "b/c", "+data.site=B"],
    }
    assert without_paths(config) == {"data": {"matrix": 3}, "init": True, "words": ["a"]}
    assert without_paths({"init": None})["init"] is False


def test_root_is_read_from_the_folder_of_the_run(tmp_path):
    file, ckpt = tmp_path / "config.yaml", tmp_path / "checkpoints/last.ckpt"
    ckpt.parent.mkdir()
    assert data_root(ckpt) == ""
    file.write_text("data: {root: /a b, cache: /c, other: 3}\nrun: /x\n")
    assert data_root(ckpt) == "/a b"
    for hostile in (
        "data: !!python/object/apply:os.system [x]", "data: [", "data: {root: [1]}", "data: {root: '${oc.env:HOME}'}",
        "[" * 60_000, "data: 3", "\0", "data: {root: /a}" + " " * 70_000,
    ):  # fmt: skip
        file.write_text(hostile)
        assert data_root(ckpt) == ""


def test_results_stay_in_the_run(tmp_path):
    ckpt, out = tmp_path / "run/checkpoints/last.ckpt", tmp_path / "run/evaluation/last"
    for folder in (ckpt.parent, out):
        folder.mkdir(parents=True)
    (out / "inside").symlink_to(ckpt.parent)
    assert results_folder(ckpt, "evaluation", "last") == out.resolve()
    (out / "evaluation.json").symlink_to(tmp_path / "thesis.txt")
    with pytest.raises(InputError, match="evaluation.json: is a link out of the run"):
        results_folder(ckpt, "evaluation", "last")
    __import__("os").mkfifo(tmp_path / "run/likelihood")
    with pytest.raises(InputError, match="likelihood: is no file"):
        results_folder(ckpt, "likelihood", "last")
    with pytest.raises(InputError, match=r"is a link out of the run|is no file"):
        check_links_stay_inside(tmp_path / "run", tmp_path / "run")


# ---- patients


def test_fingerprints_know_their_patients_and_no_others():
    own, same = Fingerprints.of(["p1", "p2", "ü\udcff"]), Fingerprints.of(["p1", "p2", "ü\udcff"])
    assert own.known(["p1", "p3", "", "ü\udcff"]) == {"p1", "ü\udcff"}
    assert not own.hashes & same.hashes  # another salt, other hashes: two checkpoints cannot be compared
    assert own.within(["p1", "p2", "ü\udcff", "p9"]) and not own.within(["p1", "p2"])
    assert Fingerprints.of_state(own.state()) == own


def test_fingerprints_of_versions_without_a_salt():
    import hashlib

    old = Fingerprints.unsalted([hashlib.sha256(b"p1").hexdigest()[:16]])
    assert old.known(["p1", "p2"]) == {"p1"}
    stored = Fingerprints.of_state(old.state())  # with a salt from now on
    assert stored.salt and stored.known(["p1", "p2"]) == {"p1"} and not stored.hashes & old.hashes


@pytest.mark.parametrize(
    "state", [5, None, {"salt": "zz", "cost": 2, "hashes": []}, {"salt": "", "cost": 2**40, "hashes": []}, {}]
)
def test_damaged_record_of_patients(content, state):
    content["MRIDataModule"] = {"patients": state}
    with pytest.raises(InputError, match="record of patients is damaged"):
        _ = Checkpoint("x.ckpt", content).training_patients


def test_record_of_another_data_module_is_not_believed(content):
    content["EvilDataModule"] = {"patients": Fingerprints.of([]).state()}
    with pytest.raises(InputError, match="does not record its training patients"):
        _ = Checkpoint("x.ckpt", content).training_patients


# ---- what a resumed run takes


TAKEN = [
    "experiment=smoke", "data=fastmri", "data/transform=complex", "net.channels=[8,8]", "model.optimizer.lr=1e-3", "seed=3",
    "trainer.max_epochs=4", "+trainer.val_check_interval=0.5", "guidance.interval=[0.1,2]", "data.contrasts=[AXT1,AXT2]",
    "data.select.merge={AXT1PRE: AXT1}", "name=study_1", "++averaging.std=0.05", "data.volumes_per_contrast=null",
    "callbacks.grid.steps=3", "callbacks.checkpoint.save_top_k=-1", "trainer.log_every_n_steps=1",
]  # fmt: skip
LEFT = [
    "data.root='/a b/c'", "data.cache=c", "~logger", "callbacks.checkpoint.filename='at-{step}'", "trainer.devices=2",
    "callbacks.averages.folder=/x", "logger=wandb", "run=x", "trainer.default_root_dir=x", "name=../x", "data.num_workers=4000",
    "model.autoencoder=x.ckpt", "init=x.ckpt", "teacher=x.ckpt", "data.contrasts=[../../x]", "trust=[os.system]",
    "guidance.weaker.ckpt=x", "trainer.strategy=ddp_spawn", "compile=true", "+trainer.profiler=simple",
    "first.trainer.max_epochs=3", "+callbacks.x.y=3", "trainer.max_epochs=1000000000",
    "data.batch_size=10000000", "callbacks.grid.num_samples=10000000",
]  # fmt: skip
HOSTILE = [
    "data._target_=os.system", "+hydra.job_logging.handlers.x.class=subprocess.Popen", "hydra/job_logging=evil",
    "hydra.searchpath=[file:///evil]", "--config-dir=/evil", "-cn", "-m", "name=${oc.env:SECRET}", "experiment=../../x/config",
    "experiment=/x", "+callbacks@hydra.callbacks=bare", "+sampler@_global_.hydra=ddim", "+model.fields={_target_: os.system}",
    "+model.x={_targ\\et_:1}", "++hydra.run.dir=x", " hydra.run.dir=x", "seed=1,2", "name=x\nhydra.run.dir=x", "", 5, None,
    ["seed=1"], "model={a: {_target_: x}}", "data.phantom={patients: '${oc.env:X}'}", "x" * 5000,
]  # fmt: skip


def test_resume_takes_the_mathematics_and_leaves_the_rest(caplog):
    assert resume.overrides([*TAKEN, *LEFT], "x.ckpt") == TAKEN
    assert all(word in caplog.text for word in ("trainer.devices=2", "logger=wandb"))


@pytest.mark.parametrize("word", HOSTILE, ids=repr)
def test_resume_refuses_words_that_may_name_code(word):
    with pytest.raises(InputError, match=r"x.ckpt: was made with .*, which may name code"):
        resume.overrides(["seed=1", word], "x.ckpt")


def test_overrides_are_a_list(saved, content):
    for overrides in ({"seed=1"}, {"seed=1": 2}, "seed=1", None):
        content["hyper_parameters"]["overrides"] = overrides
        with pytest.raises(InputError, match=re.escape("x.ckpt")):
            Checkpoint.read(saved())


def test_resumed_command_line_names_the_data_of_the_run(saved, content, tmp_path):
    content["hyper_parameters"] |= {"overrides": ["seed=3", "net=unet_small"], "init": True}
    path = saved()
    (tmp_path / "config.yaml").write_text("data: {root: /a'b}\n")
    words = resume.command_line(["trainer.max_epochs=9", f"resume={path}", "seed=4"])
    assert words == ["seed=4", "net=unet_small", "data.root='/a\\'b'", f"init={path}", "trainer.max_epochs=9", f"resume={path}"]
    assert "data.root=/x" in resume.command_line([f"resume={path}", "data.root=/x"])
    assert resume.command_line(["a=1"]) == ["a=1"]


def state_of(path):
    return read_state(Checkpoint.read(path))


def test_state_for_lightning(saved, content):
    progress = {"current": dict.fromkeys(("ready", "started", "processed", "completed"), 1), "is_last_batch": True}
    loops = {"fit_loop": {"epoch_progress": progress, "epoch_loop.batch_progress": progress}}
    content |= {
        "epoch": 1, "global_step": 2, "pytorch-lightning_version": "2.6.0", "loops": loops,
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}]}],
        "lr_schedulers": [{"last_epoch": 2, "base_lrs": [0.1], "get_lr": 3, "lr_lambdas": [None]}],
        "callbacks": {
            "EMA": {"latest_update_step": 2},
            "ModelCheckpoint{}": {"dirpath": "/victim", "best_model_path": "/victim/x"},
        },
        "MRIDataModule": {"patients": []}, "evil": {"x": 1},
    }  # fmt: skip
    state = state_of(saved())
    assert state["callbacks"] == {"EMA": {"latest_update_step": 2}} and "evil" not in state
    assert state["lr_schedulers"] == [{"last_epoch": 2, "base_lrs": [0.1], "lr_lambdas": [None]}]
    assert state["loops"] == loops and state["MRIDataModule"] == {"patients": []}
    good = copy.deepcopy(content)
    nested = copy.deepcopy(loops)
    nested["fit_loop"]["epoch_progress"]["current"]["processed"] = {}
    content |= good | {"loops": nested}
    with pytest.raises(InputError, match=r"x.ckpt: its loops are not the counts"):
        state_of(saved())
    for key, wrong in {
        "epoch": "x",
        "loops": {"a": "/x"},
        "callbacks": [],
        "optimizer_states": [{"a": "x"}],
        "lr_schedulers": [3],
    }.items():
        content |= good | {key: wrong}
        with pytest.raises(InputError, match=f"x.ckpt: its {key}"):
            state_of(saved())
    for key in ("epoch", "loops"):
        content |= good
        del content[key]
        with pytest.raises(InputError, match=f"x.ckpt: has no {key}, so it cannot be resumed"):
            state_of(saved())
