"""Every yaml composes, and what it describes can be built."""

from types import SimpleNamespace

import hydra
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf, open_dict

from condiff.commands.options import check_arguments
from condiff.configuration import CONF, folder_name
from condiff.training import DiffusionSystem, posthoc_ema
from condiff.training.stage import decide

GROUPS = {
    path.relative_to(CONF): str(path.relative_to(CONF).parent) for path in sorted(CONF.rglob("*.yaml")) if path.parent != CONF
}
RECONSTRUCT = ("method", "mask")  # groups of reconstruct.py alone
EVALUATE = ("metrics",)  # of evaluate.py alone
EXTRA = {
    "data=fastmri": ["data.root=anywhere"],
    "data=bids": ["data.root=anywhere"],
    "data=dicom": ["data.root=anywhere"],
    "data=nifti": ["data.root=anywhere", "data.patterns={T1: '*'}", "data.patient=p"],
    "guidance=autoguidance": ["+ckpt=anywhere"],
    "experiment=complex_brain_320": ["data.root=anywhere"],
    "experiment=latent_brain": ["data.root=anywhere"],
    "data/maps": ["data/transform=complex"],
    "experiment=consistency": ["teacher=x"],
    "experiment=real_brain": ["data.root=anywhere"],
}


def compose(config_name, *overrides):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(config_name, ["run=somewhere", *overrides] if config_name == "train" else list(overrides))


@pytest.mark.parametrize("path", [path for path, group in GROUPS.items() if group not in (*RECONSTRUCT, *EVALUATE)], ids=str)
def test_every_choice_is_built(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    if path.stem == "tensorboard":
        pytest.importorskip("tensorboard")
    monkeypatch.setattr(posthoc_ema, "earlier_snapshot", lambda **where: None)
    choice = f"{GROUPS[path]}={path.stem}"
    cfg = compose("train", choice, *EXTRA.get(choice, EXTRA.get(GROUPS[path], [])))
    check_arguments(cfg)
    data = instantiate(cfg.data)
    cfg.net.image_channels, cfg.net.cond_dim = data.spec.shape[0], data.spec.conditioning.dim
    if OmegaConf.is_missing(cfg.net, "fields"):
        cfg.net.fields = data.spec.conditioning.fields
    if OmegaConf.is_missing(cfg.codec, "image_channels"):
        cfg.codec.image_channels = data.spec.shape[0]
        assert instantiate(cfg.codec).size_multiple in (4, 8)
    with open_dict(cfg.model):  # train.py's own
        assert cfg.model.pop("autoencoder", None) is None and cfg.model.pop("augmented_copies", 0) >= 0
    system = instantiate(cfg.model)
    assert system.optimizer(p for network in system.networks for p in network.parameters()).param_groups
    assert 0 <= system.lr_factor(5, 10) <= 1
    callbacks = [instantiate(part) for part in cfg.callbacks.values()]
    bare = {"autoencoder.yaml": 10, "autoencoder_gan.yaml": 10, "bare.yaml": 9}
    assert len(callbacks) == (11 if GROUPS[path] == "build" else bare.get(path.name, 11))
    if isinstance(system, DiffusionSystem):
        assert callable(instantiate(cfg.sampler.fn)) and callable(instantiate(cfg.guided)(system.model))
        assert all(size % system.model.denoiser.net.size_multiple == 0 for size in system.model.codec.shape(data.spec.shape)[1:])
    timer = SimpleNamespace(device=torch.device("cpu"), processes=2)  # whose run is not shortened
    monkeypatch.setattr("condiff.training.precision.candidates", lambda device: ("32-true",))
    decided = decide(cfg, None, timer).trainer
    trainer = instantiate(decided, logger=[instantiate(part) for part in cfg.logger.values()], accelerator="cpu")
    assert trainer.max_epochs == decided.max_epochs >= 1


@pytest.mark.parametrize("path", [path for path, group in GROUPS.items() if group in RECONSTRUCT], ids=str)
def test_every_reconstruction_is_built(path):
    cfg = compose("reconstruct", f"{GROUPS[path]}={path.stem}", "sigma_data=0.5")
    for part in (cfg.method.fn, cfg.method.complex, cfg.method.magnitude, cfg.mask, cfg.estimate_maps):
        assert callable(instantiate(part))
    sigmas = instantiate(cfg.method.levels).steps(cfg.steps)
    assert cfg.steps == cfg.method.steps and len(sigmas) == cfg.steps + 1 and sigmas[-1] == 0
    check_arguments(cfg)


@pytest.mark.parametrize(("plane", "share"), [("axial", 0.5), ("coronal", 0.5), ("sagittal", 0.0)])
def test_faces_are_not_mirrored(plane, share):
    cfg = compose("train", "data=bids", "data.root=anywhere", f"data.plane={plane}")
    flipped = instantiate(cfg.data.augment)(torch.arange(2.0).expand(1000, 1, 1, 2), torch.Generator().manual_seed(0))[..., 0]
    assert flipped.mean().item() == pytest.approx(share, abs=0.05)


def test_sample_config():
    cfg = compose("sample", "sampler=ddim", "out=x")
    assert cfg.steps == cfg.sampler.steps == 50
    assert compose("sample", "sampler=ddim", "steps=7", "out=x").steps == 7


def test_names_of_folders():
    """No slash in them, words as they were, none longer than a file system takes, and no two the same."""
    assert folder_name("schedule-linear_model.optimizer.lr-0.001") == "schedule-linear_model.optimizer.lr-0.001"
    assert folder_name("data.root-/a/b_net.channels-[8,8]") == "data.root--a-b_net.channels-[8,8]"
    one, other = (folder_name("x" * 300 + end) for end in "ab")
    assert len(one) == len(other) <= 150 and one != other
