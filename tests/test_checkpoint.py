"""Checkpoints: load what is ours, refuse the rest in one line, run nothing that a file names."""

import re

import pytest
import torch

from condiff import checkpoint
from condiff.errors import InputError


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The content of a checkpoint, without training one."""
    model = {
        "_target_": "condiff.systems.DiffusionSystem",
        "denoiser": {
            "_target_": "condiff.diffusion.Denoiser",
            "net": {
                "_target_": "condiff.nn.UNet", "image_channels": 1, "cond_dim": 4,
                "channels": [8], "blocks": [1], "attention": [False],
            },
            "parameterization": {"_target_": "condiff.diffusion.denoiser.epsilon", "_partial_": True},
        },
        "schedule": {"_target_": "condiff.diffusion.schedules.Karras"},
        "optimizer": {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 0.1},
        "lr_factor": {"_target_": "condiff.systems.learning_rate.constant", "_partial_": True},
        "codec": {"_target_": "condiff.nn.Pixels"},
    }  # fmt: skip
    state = checkpoint.build(model, "x").state_dict()
    return {"state_dict": state, "hyper_parameters": {"model": model, "data": {}, "overrides": []}}


def saved(tmp_path, content, **model):
    parameters = content["hyper_parameters"]
    content = content | {"hyper_parameters": parameters | {"model": parameters["model"] | model}}
    torch.save(content, tmp_path / "x.ckpt")
    return tmp_path / "x.ckpt"


def test_loads_weights_and_configuration(tmp_path, content):
    content["state_dict"]["denoiser.net.stem.bias"].fill_(0.25)
    system = checkpoint.load(saved(tmp_path, content))
    assert (system.denoiser.net.stem.bias == 0.25).all() and not system.training
    assert system.hparams["model"]["_target_"] == "condiff.systems.DiffusionSystem"


@pytest.mark.parametrize(
    "target",
    ["os.system", "builtins.eval", "torch.hub.load", "condiff.data.phantom.os.remove", "condiff.data.phantom.shutil.rmtree"],
)
def test_foreign_code_is_refused_by_name(tmp_path, content, target):
    path = saved(tmp_path, content, codec={"_target_": target, "path": "x"})
    with pytest.raises(InputError, match=f"x.ckpt: names {target}"):
        checkpoint.load(path)


def test_interpolation_that_builds_a_target_is_refused(tmp_path, content):
    path = saved(tmp_path, content, p_uncond="${oc.create:{_target_:os.getcwd}}")
    with pytest.raises(InputError, match=r"unresolved.*refused"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "override",
    [
        "data._target_=os.system",
        "+hydra.job_logging.handlers.x.class=subprocess.Popen",
        "hydra/job_logging=evil",
        "hydra.searchpath=[file:///evil]",
        "--config-dir=/evil",
        "-cn",
        "name=${oc.env:SECRET}",
    ],
)
def test_overrides_that_may_name_code_are_refused(tmp_path, content, override):
    parameters = content["hyper_parameters"] | {"overrides": [override]}
    torch.save(content | {"hyper_parameters": parameters}, tmp_path / "x.ckpt")
    with pytest.raises(InputError, match=rf"x.ckpt: was made with {re.escape(override)}, which may name code"):
        checkpoint.read(tmp_path / "x.ckpt")


def test_overrides_that_people_use_are_read(tmp_path, content):
    used = ["data=fastmri", "data.root=/a b/c", "+callbacks.checkpoint.save_top_k=-1", "~logger", "model.optimizer.lr=1e-3"]
    used += ["net.channels=[8,8]", "callbacks.checkpoint.filename='at-{step}'", "++name=x", "guidance.interval=[0.1,2]"]
    torch.save(content | {"hyper_parameters": content["hyper_parameters"] | {"overrides": used}}, tmp_path / "x.ckpt")
    assert checkpoint.read(tmp_path / "x.ckpt")["hyper_parameters"]["overrides"] == used


@pytest.mark.parametrize("key", ["sampler", "guidance", "clamp"])
def test_way_of_sampling_that_names_code_is_refused(tmp_path, content, key):
    """Entry points sample as the run did: what that was is looked at before anything is built."""
    parameters = content["hyper_parameters"] | {key: {"walk": {"_target_": "os.system", "command": "x"}}}
    torch.save(content | {"hyper_parameters": parameters}, tmp_path / "x.ckpt")
    with pytest.raises(InputError, match=r"x.ckpt: names os.system"):
        checkpoint.load(tmp_path / "x.ckpt")


def test_unknown_name_of_ours(tmp_path, content):
    with pytest.raises(InputError, match=r"names condiff.nn.Gone, unknown to this version"):
        checkpoint.load(saved(tmp_path, content, codec={"_target_": "condiff.nn.Gone"}))


def test_absent_truncated_not_ours_and_edited(tmp_path, content):
    with pytest.raises(InputError, match=r"nowhere.ckpt: no such checkpoint"):
        checkpoint.load(tmp_path / "nowhere.ckpt")
    path = saved(tmp_path, content)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"x.ckpt: not a readable checkpoint; truncated"):
        checkpoint.load(path)
    path.write_text("hello")
    with pytest.raises(InputError, match=r"x.ckpt: not a readable checkpoint"):
        checkpoint.load(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(InputError, match=r"x.ckpt: not a checkpoint of condiff"):
        checkpoint.load(path)
    torch.save(torch.zeros(3), path)
    with pytest.raises(InputError, match=r"x.ckpt: not a checkpoint of condiff"):
        checkpoint.load(path)
    with pytest.raises(InputError, match=r"weights do not fit"):
        checkpoint.load(saved(tmp_path, content | {"state_dict": {}}))


def test_newest(tmp_path):
    with pytest.raises(InputError, match=r"no checkpoint under"):
        checkpoint.newest(tmp_path)
    for age, name in enumerate(("new", "old")):
        folder = tmp_path / name / "checkpoints"
        folder.mkdir(parents=True)
        (folder / "last.ckpt").touch()
        __import__("os").utime(folder / "last.ckpt", (1e9 - age, 1e9 - age))
    assert checkpoint.newest(tmp_path).parts[-3] == "new"
