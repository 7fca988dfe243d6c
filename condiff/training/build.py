"""Builds the system to train from a configuration, its data and the checkpoints that a run starts from.

conf/build chooses from `diffusion`, `latent_diffusion` and `autoencoder`. Each returns the resolved configuration, whose fields
no longer depend on the data, and the system that it describes. The configuration that is passed in does not change.
"""

import copy
import logging
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from condiff.checkpoint import Checkpoint, registry
from condiff.checkpoint.weights import load_weights, parameters_at_most
from condiff.data.datamodule import MRIDataModule
from condiff.data.image_spec import ImageSpec
from condiff.data.ranges import scales_of
from condiff.data.statistics import Statistics
from condiff.diffusion.schedules import Schedule
from condiff.errors import InputError
from condiff.nn import Codec
from condiff.training import first_stage
from condiff.training.autoencoder import AutoencoderSystem
from condiff.training.diffusion import DiffusionSystem
from condiff.training.init_weights import dropped, with_condition

MAX_TERMINAL_SIGNAL = 0.05  # sqrt(alpha_bar_T): 0.006 for the linear chain of 1000 steps, 0.36 for 200 steps without rescaling
MAX_UNSTORED_PARAMETERS = 1000  # not in the state dict
SECOND_STAGE_FIELDS = ("autoencoder", "augmented_copies")  # fields of model= that are no arguments of the system
MISMATCH = (
    "resume={ckpt}: is damaged, or of another network, optimizer or data than requested ({reason}); leave out what differs from "
    "its run, or start a new run with its weights, init={ckpt}"
)
log = logging.getLogger(__name__)


class Origin(NamedTuple):
    """The checkpoints that a run starts from, each read once.

    Attributes:
        resume: of the run to resume.
        init: of the model whose weights a new run starts from.
        autoencoder: of the first stage.
    """

    resume: Checkpoint | None = None
    init: Checkpoint | None = None
    autoencoder: Checkpoint | None = None

    @classmethod
    def of(cls, resume: str | None, init: str | None, autoencoder: str | None, trust: Sequence[str] = ()) -> "Origin":
        """Reads the checkpoints at these paths; with ``resume`` no other. Raises InputError as `Checkpoint.read` does."""
        paths = {"resume": resume} if resume else {"init": init, "autoencoder": autoencoder}
        if all(paths.values()) and not resume:
            raise InputError("model.autoencoder, init: the model of init= has an autoencoder of its own; give one of them")
        return cls(**{option: Checkpoint.read(path, trust) for option, path in paths.items() if path})

    @property
    def codec_source(self) -> tuple[str, Checkpoint] | tuple[None, None]:
        """Returns the option and the checkpoint that codec and patients are taken from; (None, None) without one."""
        options = {"resume": self.resume, "init": self.init, "model.autoencoder": self.autoencoder}
        return next(((option, checkpoint) for option, checkpoint in options.items() if checkpoint is not None), (None, None))


def reuse_conditioning(data: DictConfig, origin: Origin) -> DictConfig:
    """Returns the configuration of the data with the conditioning of the model to resume, or the encoding of the model to start
    from; ranges and sites are then those of the new data.
    """
    source = origin.resume or origin.init
    if source is None:
        return data
    conditioning = source.config["data"].get("conditioning")
    registry.check("conditioning", conditioning, source.path, source.trust)
    if not isinstance(conditioning, dict) or conditioning.get("_target_") != data.conditioning._target_:
        return data
    data = copy.deepcopy(data)
    sites = {"sites": data.conditioning.sites} if "sites" in conditioning else {}
    scales = {"ranges": None, "scales": scales_of(conditioning)} if "ranges" in conditioning else {}
    data.conditioning = conditioning | (sites | scales if origin.resume is None else {})
    return data


def diffusion(cfg: DictConfig, origin: Origin, data: MRIDataModule, device: torch.device) -> tuple[DictConfig, DiffusionSystem]:
    """Builds a diffusion model of images, or of codes if the model to start from is latent."""
    return _diffusion(cfg, origin, data, device, load_or_build_codec(cfg, origin, data, device))


def latent_diffusion(
    cfg: DictConfig, origin: Origin, data: MRIDataModule, device: torch.device
) -> tuple[DictConfig, DiffusionSystem]:
    """Builds a diffusion model of the codes of an autoencoder, and encodes the training set.

    Raises:
        InputError: the checkpoint has no autoencoder.
    """
    codec = load_or_build_codec(cfg, origin, data, device)
    option, source = origin.codec_source
    if source is None or not codec.is_latent:
        raise InputError(
            f"{option}={source.path if source else None}: is a model of pixels, and has no autoencoder; give one of "
            "model=autoencoder"
        )
    sizes = (" x ".join(map(str, size)) for size in (codec.shape(data.spec.shape), data.spec.shape))
    log.info("the codec is that of %s: codes of %s for images of %s", source.path, *sizes)
    if cfg.model.augmented_copies:
        first_stage.encode_training_set(codec, data, cfg.model.augmented_copies, device)
    return _diffusion(cfg, origin, data, device, codec)


def autoencoder(
    cfg: DictConfig, origin: Origin, data: MRIDataModule, device: torch.device
) -> tuple[DictConfig, AutoencoderSystem]:
    """Builds the first stage of a latent model."""
    if origin.init and not origin.resume:
        raise InputError(f"init={origin.init.path}: starts a diffusion model; resume an autoencoder with resume=")
    demand_trainable(cfg.codec)
    cfg = copy.deepcopy(cfg)
    cfg.data = reuse_conditioning(cfg.data, origin)
    cfg.codec.image_channels = data.spec.shape[0]
    return cfg, _build_system(cfg, origin)


def _diffusion(
    cfg: DictConfig, origin: Origin, data: MRIDataModule, device: torch.device, codec: Codec
) -> tuple[DictConfig, DiffusionSystem]:
    statistics = first_stage.statistics(codec, data, device)
    log.info(
        "measured on the training %s: sigma_data %.3g; noise levels worth learning at, log sigma %.2f ± %.2f; sigma_max %.3g",
        "codes" if codec.is_latent else "images",
        *astuple(statistics),
    )
    cfg = resolve_data_dependent_fields(cfg, origin, data.spec, codec, statistics)
    source = origin.resume or origin.init
    system = _build_from_init(source, cfg, data.spec) if cfg.init and source else _build_system(cfg, origin)
    warn_if_terminal_snr_is_high(system.model.schedule)
    system.model.codec.load_state_dict(codec.state_dict())
    return cfg, system


def load_or_build_codec(cfg: DictConfig, origin: Origin, data: MRIDataModule, device: torch.device) -> Codec:
    """Returns the codec of the checkpoint that a run starts from, or a new one.

    Raises:
        InputError: a codec of other images, or one that has to be trained first.
    """
    option, source = origin.codec_source
    if source is None:
        if _has_field(cfg.codec, "image_channels"):
            raise InputError(f"codec: {cfg.codec._target_} has to be trained; use it with model=latent or model=autoencoder")
        return instantiate(cfg.codec)
    if option != "model.autoencoder" and source.is_autoencoder:
        raise InputError(
            f"{option}={source.path}: is an autoencoder, the first stage; give it as model.autoencoder, or repeat the whole "
            "command with its hydra.run.dir, which continues it"
        )
    first_stage.record_patients(source, data, resumed=option == "resume")
    return first_stage.first_stage_codec(source, data, device)


def resolve_data_dependent_fields(
    cfg: DictConfig, origin: Origin, spec: ImageSpec, codec: Codec, statistics: Statistics
) -> DictConfig:
    """Returns a copy of the configuration with the fields filled in that depend on the data.

    Raises:
        InputError: the network of ``init`` is of other images or conditions.
    """
    cfg = copy.deepcopy(cfg)
    cfg.data = reuse_conditioning(cfg.data, origin)
    with open_dict(cfg):
        for name in SECOND_STAGE_FIELDS:
            cfg[name] = cfg.model.pop(name, None)
    _, source = origin.codec_source
    if source is not None:
        cfg.codec = source.config["model"]["codec"]
    initial = origin.resume or origin.init
    sizes = {"image_channels": codec.shape(spec.shape)[0], "cond_dim": spec.conditioning.dim}
    if cfg.init and initial:
        for name in ("net", "parameterization"):
            cfg[name] = initial.config["model"]["denoiser"].get(name, cfg[name])
        if sizes["image_channels"] != cfg.net.image_channels:
            raise InputError(
                f"init={cfg.init}: its network has image_channels {cfg.net.image_channels}, the data {sizes['image_channels']}; "
                "give data like its own"
            )
    cfg.net.update(sizes)
    if OmegaConf.is_missing(cfg.net, "fields") or cfg.net.get("fields"):
        cfg.net.fields = list(spec.conditioning.fields)
    cfg.model.fields = list(spec.conditioning.fields)
    for learned in ("ranges", "sites", "scales"):
        if _has_field(cfg.data.conditioning, learned):
            cfg.data.conditioning[learned] = getattr(spec.conditioning, learned)
    if cfg.parameterization.get("sigma_data", statistics.sigma_data) is None:
        cfg.parameterization.sigma_data = statistics.sigma_data
    return cfg


def _build_from_init(source: Checkpoint, cfg: DictConfig, spec: ImageSpec) -> DiffusionSystem:
    """Returns the system with the weights of a checkpoint; those of contrasts that it does not know are 0."""
    source.model()  # raises InputError for an invalid checkpoint
    system = instantiate(cfg.model)
    known, wanted = source.spec().conditioning, spec.conditioning
    if new := [contrast for contrast in wanted.contrasts if contrast not in known.contrasts]:
        known_names = ", ".join(known.contrasts)
        log.info("init: %s new to the model, which knows %s; data.select.merge renames contrasts", ", ".join(new), known_names)
    lost = ", ".join(dropped(known, wanted))
    log.info("init: begins with the weights of %s%s", source.path, f"; not used by this model: {lost}" if lost else "")
    load_weights(system, with_condition(source.content["state_dict"], known, wanted), source.path)
    return system


def _build_system(cfg: DictConfig, origin: Origin) -> Any:
    """Returns the system. Raises InputError, before it takes memory, if its shapes are not those of the run to resume."""
    if origin.resume is None or cfg.trust:  # classes of the user may not support the meta device
        return instantiate(cfg.model)
    path, state = origin.resume.path, origin.resume.content["state_dict"]
    with torch.device("meta"), parameters_at_most(len(state) + MAX_UNSTORED_PARAMETERS, path):
        expected = instantiate(cfg.model).state_dict()
    for name in expected.keys() & state.keys():
        if expected[name].shape != state[name].shape:
            sizes = f"size mismatch: {name} {list(state[name].shape)}, requested {list(expected[name].shape)}"
            raise InputError(MISMATCH.format(ckpt=path, reason=sizes))
    return instantiate(cfg.model)


def demand_trainable(codec: DictConfig) -> None:
    """Raises InputError for a codec without parameters."""
    if not _has_field(codec, "image_channels"):
        raise InputError(
            "codec=pixels: has no parameters to train, and no codes; with this model= use codec=kl_f4 or codec=kl_f8"
        )


def warn_if_terminal_snr_is_high(schedule: Schedule) -> None:
    """Logs the terminal SNR of a schedule; warns if sampling would start without a visible part of the image."""
    log.info("schedule: up to sigma %.4g, terminal SNR %.2g", schedule.terminal_snr**-0.5, schedule.terminal_snr)
    if schedule.terminal_signal > MAX_TERMINAL_SIGNAL:
        log.warning(
            "schedule: sqrt(alpha_bar_T) = %.2f of the image is left at the last noise level, and sampling starts without it; "
            "rescale the betas (schedule.reference_steps=1000) or raise schedule.beta_max or sigma_max",
            schedule.terminal_signal,
        )


def _has_field(node: DictConfig, name: str) -> bool:
    return name in list(node)  # also where its value is missing
