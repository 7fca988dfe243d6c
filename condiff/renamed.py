"""Names of earlier versions: checkpoints, command lines and prepared images that hold them keep working.

Of every function or class that has moved, `RENAMED` has the name it had in version 0.1 and the one it has now. `upgraded` gives a
configuration its present names; `first_name` gives a name of now the spelling of 0.1, by which prepared images are kept, so that
no move makes them again.
"""

from typing import Any

RENAMED = {
    "condiff.averaging.constant": "condiff.training.ema.constant",
    "condiff.averaging.power": "condiff.training.ema.power",
    "condiff.callbacks.Checkpoints": "condiff.training.callbacks.Checkpoints",
    "condiff.callbacks.EMA": "condiff.training.callbacks.EMA",
    "condiff.callbacks.Quality": "condiff.training.callbacks.Quality",
    "condiff.callbacks.ReconstructionGrid": "condiff.training.callbacks.ReconstructionGrid",
    "condiff.callbacks.SampleGrid": "condiff.training.callbacks.SampleGrid",
    "condiff.callbacks.StopAtLostProcess": "condiff.training.callbacks.StopAtLostProcess",
    "condiff.callbacks.StopAtNaN": "condiff.training.callbacks.StopAtNaN",
    "condiff.callbacks.StopAtSignal": "condiff.training.callbacks.StopAtSignal",
    "condiff.callbacks.StoredAverages": "condiff.training.callbacks.StoredAverages",
    "condiff.data.fastmri.read_kspace": "condiff.data.fastmri.reader.read_kspace",
    "condiff.data.fastmri.read_magnitude": "condiff.data.fastmri.reader.read_magnitude",
    "condiff.data.order.balanced": "condiff.data.index_sampler.balanced",
    "condiff.data.order.shuffled": "condiff.data.index_sampler.shuffled",
    "condiff.data.phantom.Phantom": "condiff.data.phantom.volumes.Phantom",
    "condiff.folders.NewFolder": "condiff.commands.run_folder.NewFolder",
    "condiff.posthoc.earlier": "condiff.training.posthoc_ema.earlier",
    "condiff.precision.fastest": "condiff.training.precision.fastest",
    "condiff.reconstruction.problems.coilwise": "condiff.reconstruction.formulations.coilwise",
    "condiff.reconstruction.problems.coilwise_components": "condiff.reconstruction.formulations.coilwise_components",
    "condiff.reconstruction.problems.combined": "condiff.reconstruction.formulations.combined",
    "condiff.reconstruction.problems.componentwise": "condiff.reconstruction.formulations.componentwise",
    "condiff.reconstruction.problems.decoded": "condiff.reconstruction.formulations.decoded",
    "condiff.reconstruction.problems.phased": "condiff.reconstruction.formulations.phased",
    "condiff.systems.AutoencoderSystem": "condiff.training.AutoencoderSystem",
    "condiff.systems.DiffusionSystem": "condiff.training.DiffusionSystem",
    "condiff.systems.learning_rate.constant": "condiff.training.lr_schedules.constant",
    "condiff.systems.learning_rate.cosine": "condiff.training.lr_schedules.cosine",
    "condiff.tracking.Wandb": "condiff.training.wandb_logger.Wandb",
}


def first_name(name: str) -> str:
    """The name that a function or class had in version 0.1."""
    return next((old for old, new in RENAMED.items() if new == name), name)


def upgraded(config: Any) -> Any:
    """A configuration, nested containers of plain values, with every ``_target_`` under its present name."""
    if isinstance(config, list):
        return [upgraded(item) for item in config]
    if not isinstance(config, dict):
        return config
    config = {key: upgraded(value) for key, value in config.items()}
    target = config.get("_target_")
    return config | {"_target_": RENAMED.get(target, target)} if isinstance(target, str) else config


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
