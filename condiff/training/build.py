"""What a run of train.py begins with: the system, its codec, weights it was given, and what the data say of both."""

import logging
from dataclasses import astuple
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from condiff.checkpoint import checkpoint, registry
from condiff.commands.cli import check_clamp
from condiff.commands.preflight import check_codec
from condiff.data.datamodule import MRIDataModule
from condiff.diffusion.schedules import Schedule
from condiff.errors import InputError
from condiff.nn import Codec, Pixels
from condiff.training import AutoencoderSystem, DiffusionSystem, first_stage

SIGNAL_LEFT = 0.05  # the linear chain of 1000 steps has 0.006, one of 200 with its betas unrescaled 0.36
SPARE = 1000  # parameters that are not stored
OTHER = (
    "resume={ckpt}: is damaged, or of another network, optimizer or data than asked for ({reason}); leave out what differs from "
    "its run, or begin a new run with its weights, init={ckpt}"
)
log = logging.getLogger(__name__)


def begin(cfg: DictConfig, data: MRIDataModule, device: torch.device) -> DiffusionSystem | AutoencoderSystem:
    """The system, what it is begun with, and the data as it wants them; what ``cfg`` leaves to those is filled in.

    Raises:
        InputError: what it shall begin with is of another kind, or of other data.
    """
    if "denoiser" not in cfg.model:
        if cfg.init:
            raise InputError(f"init={cfg.init}: begins a diffusion model; an autoencoder is gone on with by resume=")
        check_codec(cfg)
        cfg.codec.image_channels = data.transform.shape[0]
        return built(cfg)
    codec = codec_of(cfg, data, device)
    check_clamp(cfg, data.transform.shape[0], latent=not isinstance(codec, Pixels))
    fill_in(cfg, data, codec, device)
    system = with_weights(cfg)
    check_noise(system.schedule)
    system.codec.load_state_dict(codec.state_dict())
    return system


def built(cfg: DictConfig) -> Any:
    """The system. Raises InputError where that is not the one that is resumed, before it takes any memory."""
    if not cfg.resume or cfg.trust:  # your own classes need not allow to be built without
        return instantiate(cfg.model)
    state = checkpoint.read(cfg.resume)["state_dict"]
    with torch.device("meta"), checkpoint.parameters_at_most(len(state) + SPARE, cfg.resume):
        asked = instantiate(cfg.model).state_dict()
    for name in asked.keys() & state.keys():
        if asked[name].shape != state[name].shape:
            sizes = f"size mismatch: {name} {list(state[name].shape)}, asked for {list(asked[name].shape)}"
            raise InputError(OTHER.format(ckpt=cfg.resume, reason=sizes))
    return instantiate(cfg.model)


def codec_of(cfg: DictConfig, data: MRIDataModule, device: torch.device) -> Codec:
    """Where the diffusion is to happen; for codes the data module is told to make them. Raises InputError as `begin` does."""
    wanted = "autoencoder" in cfg.model
    with open_dict(cfg):  # what is not the system's own
        cfg.autoencoder, cfg.variants = cfg.model.pop("autoencoder", None), cfg.model.pop("variants", 0)
    if cfg.autoencoder and cfg.init and not cfg.resume:
        raise InputError(
            "model.autoencoder, init: a model that a run begins with has an autoencoder of its own; give one of them"
        )
    key, path = next(((key, cfg[key]) for key in ("resume", "init", "autoencoder") if cfg[key]), ("", ""))
    if not path:
        if "image_channels" in cfg.codec.keys():  # noqa: SIM118, a missing value is no member
            raise InputError(f"codec: {cfg.codec._target_} has to be trained; use it with model=latent or model=autoencoder")
        return instantiate(cfg.codec)
    content = checkpoint.read(path)
    if key != "autoencoder" and "denoiser" not in content["hyper_parameters"]["model"]:
        raise InputError(
            f"{key}={path}: is an autoencoder, the first stage; give it as model.autoencoder, or the whole command "
            "once more with hydra.run.dir, which goes on with it"
        )
    codec = first_stage.stage(content, path, data, device, cfg.trust, key == "resume")
    if wanted and isinstance(codec, Pixels):
        option = "model.autoencoder" if key == "autoencoder" else key
        raise InputError(f"{option}={path}: is a model of pixels, and has no autoencoder; give one of model=autoencoder")
    cfg.codec = content["hyper_parameters"]["model"]["codec"]
    if wanted:
        sizes = (" x ".join(map(str, size)) for size in (codec.shape(data.transform.shape), data.transform.shape))
        log.info("the codec is that of %s: codes of %s for images of %s", path, *sizes)
    if cfg.variants and not isinstance(codec, Pixels):
        first_stage.cache(codec, data, cfg.variants, device)
    return codec


def with_weights(cfg: DictConfig) -> DiffusionSystem:
    """The system, with the weights of ``init`` where there is one. Raises InputError where that is of other data."""
    if not cfg.init:
        return built(cfg)
    path = cfg.resume or cfg.init  # a run that is resumed no longer needs what it began with
    content = checkpoint.read(path)
    checkpoint.part("denoiser", content, path, cfg.trust)  # complains before it replaces anything
    wanted = {key: cfg.net[key] for key in ("image_channels", "cond_dim")}
    for name in ("net", "parameterization"):
        cfg[name] = content["hyper_parameters"]["model"]["denoiser"].get(name, cfg[name])
    for key, value in wanted.items():
        if value != cfg.net[key]:
            raise InputError(f"init={cfg.init}: its network has {key} {cfg.net[key]}, the data {value}; give data like its own")
    system = instantiate(cfg.model)
    checkpoint.fill(system, content["state_dict"], path)
    return system


def fill_in(cfg: DictConfig, data: MRIDataModule, codec: Codec, device: torch.device) -> None:
    """What the configuration leaves to the data; said, with what they suggest for the rest."""
    found = first_stage.statistics(codec, data, device)
    cfg.net.image_channels, cfg.net.cond_dim = codec.shape(data.transform.shape)[0], data.conditioning.dim
    if OmegaConf.is_missing(cfg.net, "fields"):
        cfg.net.fields = list(data.conditioning.fields)
    cfg.model.fields = list(data.conditioning.fields)
    if "ranges" in cfg.data.conditioning:
        cfg.data.conditioning.ranges = data.conditioning.ranges
    if cfg.parameterization.get("sigma_data", found.sigma_data) is None:
        cfg.parameterization.sigma_data = found.sigma_data
    log.info(
        "measured on the training %s: sigma_data %.3g; noise levels worth learning at, log sigma %.2f ± %.2f; sigma_max %.3g",
        "images" if isinstance(codec, Pixels) else "codes",
        *astuple(found),
    )


def adopt(cfg: DictConfig) -> None:
    """The conditioning that the network of ``resume`` or ``init`` was trained with: its ranges and features."""
    path = cfg.resume or cfg.init
    if path:
        own = checkpoint.read(path)["hyper_parameters"]["data"].get("conditioning")
        registry.check("conditioning", own, path, cfg.trust)
        if isinstance(own, dict) and own.get("_target_") == cfg.data.conditioning._target_:
            cfg.data.conditioning = own


def check_noise(schedule: Schedule) -> None:
    """Say what is left of an image at the last noise level; warn where samples would start without something they need."""
    log.info("schedule: up to sigma %.4g, terminal SNR %.2g", schedule.terminal_snr**-0.5, schedule.terminal_snr)
    if schedule.terminal_signal > SIGNAL_LEFT:
        log.warning(
            "schedule: sqrt(alpha_bar_T) = %.2f of the image is left at the last noise level, and sampling starts without it; "
            "rescale the betas (schedule.reference_steps=1000) or raise schedule.beta_max or sigma_max",
            schedule.terminal_signal,
        )
