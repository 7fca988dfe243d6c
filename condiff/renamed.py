"""Names of earlier versions: checkpoints, command lines and prepared images that hold them keep working.

`RENAMED` maps the name that a function or class had in version 0.1 to its present one, `KEYS` and `CHOICES` do the same for the
configuration. `upgraded` applies them to a checkpoint's configuration and `upgraded_word` to a command line. `first_name` maps a
present name back: the cache of prepared images is keyed by the names of 0.1, so a rename does not invalidate it.
"""

from collections.abc import Sequence
from typing import Any

RENAMED = {
    "condiff.averaging.constant": "condiff.training.ema.constant",
    "condiff.averaging.power": "condiff.training.ema.power",
    "condiff.callbacks.Checkpoints": "condiff.training.callbacks.Checkpoints",
    "condiff.callbacks.EMA": "condiff.training.callbacks.EMA",
    "condiff.callbacks.Quality": "condiff.training.callbacks.ValidationMetrics",
    "condiff.callbacks.ReconstructionGrid": "condiff.training.callbacks.ReconstructionGrid",
    "condiff.callbacks.SampleGrid": "condiff.training.callbacks.SampleGrid",
    "condiff.callbacks.StopAtLostProcess": "condiff.training.callbacks.StopAtLostProcess",
    "condiff.callbacks.StopAtNaN": "condiff.training.callbacks.StopAtNaN",
    "condiff.callbacks.StopAtSignal": "condiff.training.callbacks.StopAtSignal",
    "condiff.callbacks.StoredAverages": "condiff.training.callbacks.PostHocEMASnapshots",
    "condiff.data.augment.chain": "condiff.data.augment.compose",
    "condiff.data.augment.mirror": "condiff.data.augment.random_flip",
    "condiff.data.augment.turn_phase": "condiff.data.augment.random_global_phase",
    "condiff.data.datamodule.PhantomDataModule": "condiff.data.phantom.datamodule.PhantomDataModule",
    "condiff.data.fastmri.read_kspace": "condiff.data.fastmri.reader.read_kspace",
    "condiff.data.fastmri.read_magnitude": "condiff.data.fastmri.reader.read_magnitude",
    "condiff.data.order.balanced": "condiff.data.index_sampler.balanced",
    "condiff.data.order.shuffled": "condiff.data.index_sampler.shuffled",
    "condiff.data.phantom.Phantom": "condiff.data.phantom.volumes.Phantom",
    "condiff.diffusion.denoiser.epsilon": "condiff.diffusion.denoiser.eps",
    "condiff.diffusion.denoiser.karras": "condiff.diffusion.denoiser.edm",
    "condiff.diffusion.denoiser.sample": "condiff.diffusion.denoiser.x0",
    "condiff.diffusion.denoiser.velocity": "condiff.diffusion.denoiser.v",
    "condiff.diffusion.guidance.chain": "condiff.diffusion.guidance.compose",
    "condiff.diffusion.guidance.unguided": "condiff.diffusion.guidance.identity",
    "condiff.diffusion.inverse.csgm_normalised": "condiff.diffusion.inverse.csgm_normalized",
    "condiff.diffusion.inverse.sense": "condiff.mri.sense.sense",
    "condiff.diffusion.inverse.zero_filled": "condiff.mri.sense.zero_filled",
    "condiff.diffusion.schedules.Consistency": "condiff.diffusion.schedules.ConsistencyLevels",
    "condiff.folders.NewFolder": "condiff.commands.run_folder.NewFolder",
    "condiff.posthoc.earlier": "condiff.training.posthoc_ema.earlier_snapshot",
    "condiff.precision.fastest": "condiff.training.precision.fastest",
    "condiff.reconstruction.problems.coilwise": "condiff.reconstruction.formulations.per_coil",
    "condiff.reconstruction.problems.coilwise_components": "condiff.reconstruction.formulations.per_coil_real_and_imaginary",
    "condiff.reconstruction.problems.combined": "condiff.reconstruction.formulations.sense_problem",
    "condiff.reconstruction.problems.componentwise": "condiff.reconstruction.formulations.real_and_imaginary",
    "condiff.reconstruction.problems.decoded": "condiff.reconstruction.formulations.in_latent_space",
    "condiff.reconstruction.problems.phased": "condiff.reconstruction.formulations.phase_constrained",
    "condiff.reconstruction.wavelet.l1_wavelet": "condiff.mri.wavelet.l1_wavelet",
    "condiff.systems.AutoencoderSystem": "condiff.training.AutoencoderSystem",
    "condiff.systems.DiffusionSystem": "condiff.training.DiffusionSystem",
    "condiff.systems.learning_rate.constant": "condiff.training.lr_schedules.constant",
    "condiff.systems.learning_rate.cosine": "condiff.training.lr_schedules.cosine",
    "condiff.tracking.Wandb": "condiff.training.wandb_logger.Wandb",
}


KEYS = {  # of the configuration: the key of version 0.1 and the present one; applied from the first to the last
    "sampler.walk": "sampler.fn",
    "method.walk": "method.fn",
    "method.fn.trust": "method.fn.prior_weight",
    "mask.centre": "mask.center_fraction",
    "maps._target_": "estimate_maps._target_",
    "clamp.centre": "clamp.center",
    "data.order": "data.sampling_order",
    "data.loaders": "data.num_workers",
    "model.variants": "model.augmented_copies",
    "model.p_unknown": "model.p_drop_fields",
}
CALLBACKS = {"StoredAverages": "PostHocEMASnapshots"}  # under which a checkpoint stores their state
CHOICES = {"method=csgm_normalised": "method=csgm_normalized", "experiment=muon": "model/optimizer=muon"}  # of a group of conf/


def first_name(name: str) -> str:
    """The name that a function or class had in version 0.1."""
    return next((old for old, new in RENAMED.items() if new == name), name)


def upgraded(config: Any) -> Any:
    """A checkpoint's configuration, nested containers of plain values, under the present names.

    These are its keys, the ``_target_``s at any depth, and the words in ``overrides``, the command line that it was trained by.
    """
    config = _upgraded_targets(config)
    if not isinstance(config, dict):
        return config
    for old, new in KEYS.items():
        config = _with_key(config, old.split("."), new.rpartition(".")[2])
    words = config.get("overrides")
    return config | {"overrides": [*map(upgraded_word, words)]} if isinstance(words, list) else config


def upgraded_word(word: Any) -> Any:
    """A word of a command line, ``mask.centre=0.1``, under the present name; what is not text stays as it is."""
    if not isinstance(word, str) or "=" not in word:
        return word
    key, _, value = CHOICES.get(word, word).partition("=")
    name = key.lstrip("+~").removeprefix("first.")  # of the first stage, whose keys are the same
    prefix = key.removesuffix(name)
    for old, new in KEYS.items():
        if name == old or name.startswith(f"{old}."):
            name = new + name[len(old) :]
    return f"{prefix}{name}={RENAMED.get(value, value) if name.endswith('_target_') else value}"


def _upgraded_targets(config: Any) -> Any:
    if isinstance(config, list):
        return [*map(_upgraded_targets, config)]
    if not isinstance(config, dict):
        return config
    config = {key: _upgraded_targets(value) for key, value in config.items()}
    target = config.get("_target_")
    return config | {"_target_": RENAMED.get(target, target)} if isinstance(target, str) else config


def _with_key(config: Any, path: Sequence[str], new: str) -> Any:
    """The configuration with the last name of a key's path changed, in its place."""
    if not isinstance(config, dict) or path[0] not in config:
        return config
    if len(path) > 1:
        return config | {path[0]: _with_key(config[path[0]], path[1:], new)}
    return {new if key == path[0] else key: value for key, value in config.items()}


def upgraded_checkpoint(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a checkpoint, its configuration and the names of its weights as they are now.

    Up to version 0.1 the weights of a diffusion model were called ``denoiser.…`` and ``codec.…``, now ``model.denoiser.…``.
    """
    content = content | {"hyper_parameters": upgraded(content["hyper_parameters"])}
    if "denoiser" not in content["hyper_parameters"]["model"]:
        return content
    states = {key: content[key] for key in ("state_dict", "current_model_state") if isinstance(content.get(key), dict)}
    return content | {key: upgraded_weights(state) for key, state in states.items()}


def upgraded_weights(state: dict[str, Any]) -> dict[str, Any]:
    """The weights of a diffusion model under their present names."""
    return {f"model.{key}" if str(key).startswith(("denoiser.", "codec.")) else key: weight for key, weight in state.items()}
