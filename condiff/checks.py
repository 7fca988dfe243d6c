"""What train.py finds out before anything is spent: each raises InputError where the command cannot come to a good end."""

import os
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from condiff import checkpoint
from condiff.entry import check_clamp, require_positive
from condiff.errors import InputError


def check_folder(cfg: DictConfig) -> None:
    """Where the run's folder has another's checkpoint. A sweep may be made anew; a job that was requeued goes on by itself."""
    there = Path(cfg.run) / "checkpoints/last.ckpt"
    anew = not cfg.resume and HydraConfig.get().mode != RunMode.MULTIRUN and not [*Path(cfg.run).glob("hpc_ckpt*")]
    if anew and there.is_file() and "LOCAL_RANK" not in os.environ:  # processes that this one starts come later
        raise InputError(f"hydra.run.dir: {cfg.run} holds a run; go on with it, resume='{there}', or choose another folder")


def check_unfinished(cfg: DictConfig) -> None:
    """Where the run to resume has nothing left to do."""
    if cfg.resume:
        done = checkpoint.read(cfg.resume)["epoch"] + 1  # written at the end of an epoch, before it is counted
        if done >= cfg.trainer.max_epochs:
            raise InputError(f"resume={cfg.resume}: has had its {done} epochs; ask for more, trainer.max_epochs={2 * done}")


def check_objective(cfg: DictConfig) -> None:
    """Where the objective would not be measured."""
    every = OmegaConf.select(cfg, "callbacks.evaluation.every_n_epochs", default=0)
    if cfg.objective.startswith("quality/") and every < 1:
        raise InputError(f"objective={cfg.objective}: needs callbacks.evaluation.every_n_epochs, at least 1, not {every}")


def check_guidance(cfg: DictConfig) -> None:
    """A guidance that needs what is only now to be trained."""
    if "weaker" in cfg.guidance:
        raise InputError("guidance=autoguidance: guides a trained model by an earlier one; give it to sample.py and evaluate.py")


def check_second_stage(cfg: DictConfig) -> None:
    """What would otherwise be found out when the first is spent, or all is encoded."""
    require_positive(cfg, "first.trainer.max_epochs", "first.data.batch_size")
    if not isinstance(cfg.model.variants, int) or cfg.model.variants < 0:
        raise InputError(f"model.variants={cfg.model.variants}: give a whole number, or 0 for none made beforehand")
    given = cfg.model.autoencoder
    if given and not Path(given).is_file():
        raise InputError(
            f"model.autoencoder={given}: no such checkpoint; train one, python train.py model=autoencoder, or leave this out"
        )
    check_codec(cfg)
    data = instantiate(cfg.data)
    channels, known = data.transform.shape[0], data.conditioning
    check_clamp(cfg, channels, latent=True)
    codec = (
        checkpoint.part("codec", checkpoint.read(given), given, cfg.trust)
        if given
        else instantiate(cfg.codec, image_channels=channels)
    )
    shape = codec.shape(data.transform.shape)
    fields = {"fields": list(known.fields)} if OmegaConf.is_missing(cfg.net, "fields") else {}
    net = instantiate(cfg.net, image_channels=shape[0], cond_dim=known.dim, **fields)
    try:
        with torch.no_grad():
            net(torch.zeros(1, *shape), torch.zeros(1), torch.zeros(1, known.dim))
    except InputError as reason:
        sides = " x ".join(map(str, data.transform.shape[1:]))
        raise InputError(
            f"data: images of {sides} have codes of {shape[1]} x {shape[2]}, of which the network says: {reason}; give images of "
            "other sides (data.downsample, data.matrix, data.phantom.matrix), or a network of fewer levels (net.channels)"
        ) from None
    instantiate(cfg.schedule).steps(cfg.sampler.steps)
    instantiate(cfg.guided)(net)


def check_codec(cfg: DictConfig) -> None:
    """Where the codec is none that could be trained."""
    if "image_channels" not in cfg.codec.keys():  # noqa: SIM118, a missing value is no member
        raise InputError("codec=pixels: has nothing to be trained, and no codes; with this model= use codec=kl_f4 or codec=kl_f8")
