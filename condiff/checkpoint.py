"""Checkpoints that describe themselves: the resolved configuration lies inside, as plain containers.

Loading runs no code of the file: tensors and containers only (``weights_only``), and of the targets its
configuration names, only what is defined in condiff or in torch's optimizers and layers is called. What it
holds is resolved, so an interpolation in it, which could build a target, is refused as well.
"""

import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object, instantiate
from torch import nn

from condiff.errors import InputError
from condiff.nn import Codec
from condiff.systems import DiffusionSystem

SAMPLING = ("sampler", "guidance", "clamp")  # how the run sampled
ALLOWED = ("condiff.", "torch.optim.", "torch.nn.")
OVERRIDE = re.compile(r"(\+\+?|~)?(?!hydra\b)[a-z_][\w./@:]*(=.*)?", re.DOTALL)  # of ours, not Hydra's own nor an option of it


def load(path: str | Path) -> DiffusionSystem:
    """The system with its averaged weights, on the CPU, in evaluation mode; its configuration is ``hparams``.

    Raises:
        InputError: no such file, truncated, not a checkpoint of condiff, or one that names foreign code.
    """
    return assemble(read(path), path)


def assemble(content: dict[str, Any], path: str | Path) -> DiffusionSystem:
    """The system that a checkpoint's content describes. Raises InputError as `load` does."""
    config = content["hyper_parameters"]
    vet([config.get(key) for key in SAMPLING], path)  # entry points go by them
    system = build(config["model"], path)
    if not isinstance(system, DiffusionSystem):
        raise InputError(
            f"{path}: is an autoencoder; first train a model of its codes, python train.py model=latent model.autoencoder={path}"
        )
    fill(system, content, path)
    system._set_hparams(config)
    return system.eval()


def data(system: DiffusionSystem, path: str | Path) -> Any:
    """The data module that a system was trained with, as its configuration has it; nothing is read yet.

    Raises:
        InputError: a target as in `build`, or conditions of another length than the network takes.
    """
    found = build(system.hparams["data"], path)
    says, takes = found.conditioning.dim, system.hparams["net"]["cond_dim"]
    if says != takes:
        raise InputError(
            f"{path}: its network takes conditions of {takes} numbers, this version of condiff makes them of {says}; "
            "train it again, or use the version that made it"
        )
    return found


def codec(content: dict[str, Any], path: str | Path) -> Codec:
    """Where the diffusion of a checkpoint happens: its autoencoder, of either stage, or pixels. Raises as `load` does."""
    found = build(content["hyper_parameters"]["model"]["codec"], path)
    state = {name.removeprefix("codec."): w for name, w in content["state_dict"].items() if name.startswith("codec.")}
    fill(found, {"state_dict": state}, path)
    return found.eval()


def fill(system: nn.Module, content: dict[str, Any], path: str | Path) -> None:
    """Load the content's averaged weights. Raises InputError where they are of another model."""
    try:
        system.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise InputError(f"{path}: its weights do not fit the model it describes ({first}); was it edited?") from None


def read(path: str | Path) -> dict[str, Any]:
    """The checkpoint's content, checked to be ours. Raises InputError as `load` does."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: a folder; give the checkpoint in it, RUN/checkpoints/last.ckpt")
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; train one (python train.py) or give another path")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, pickle.UnpicklingError):
        raise InputError(
            f"{path}: not a readable checkpoint; truncated (copy it again) or another kind of file (give one made by train.py)"
        ) from None
    config = content.get("hyper_parameters") if isinstance(content, dict) else None
    if not isinstance(config, dict) or not {"model", "data", "overrides"} <= config.keys() or "state_dict" not in content:
        raise InputError(f"{path}: not a checkpoint of condiff (no configuration inside); give one made by train.py")
    for text in _texts(config["overrides"]):
        if "_target_" in text or "${" in text or not OVERRIDE.fullmatch(text):
            raise InputError(f"{path}: was made with {text}, which may name code; refused, give it on the command line instead")
    return content


def patients(path: str | Path) -> set[str]:
    """Fingerprints of the patients it was trained on, as its data module told them. Raises InputError where it did not."""
    return patients_in(read(path), path)


def patients_in(content: dict[str, Any], path: str | Path) -> set[str]:
    """`patients` of a content that was read."""
    told = _of_data(content, path)
    return {*told["patients"], *told.get("others", ())}


def statistics(path: str | Path) -> dict[str, float]:
    """Of the images it was trained on, `condiff.data.statistics`. Raises InputError where its data module did not tell."""
    return _of_data(read(path), path)["statistics"]


def _of_data(content: dict[str, Any], path: str | Path) -> dict[str, Any]:
    states = [state for key, state in content.items() if key.endswith("DataModule")]
    if not states:
        raise InputError(f"{path}: does not say whom it was trained on, so nobody is known to be held out; train it again")
    return states[0]


def build(config: Any, path: str | Path) -> Any:
    """Instantiate a part of a checkpoint's configuration. Raises InputError for a target outside `ALLOWED`."""
    vet(config, path)
    return instantiate(config)


def vet(config: Any, path: str | Path) -> None:
    """Raise InputError where a part of a checkpoint's configuration names a target outside `ALLOWED`."""
    for text in _texts(config):
        if "${" in text:
            raise InputError(f"{path}: its configuration holds {text}, unresolved; not made by train.py, refused")
    for target in _targets(config):
        if not (target.startswith(ALLOWED) and _origin(target, path).startswith(ALLOWED)):
            raise InputError(f"{path}: names {target}, which is not of condiff or torch; refused to call it")


def run_of(path: str | Path) -> Path:
    """The folder of the run that a checkpoint lies in, or the folder it lies in where that is none."""
    here = Path(path).resolve().parent
    return here.parent if here.name == "checkpoints" else here


def newest(root: str | Path) -> Path:
    """The newest ``last.ckpt`` under a folder of runs. Raises InputError where there is none."""
    found = sorted(Path(root).glob("**/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise InputError(f"ckpt: no checkpoint under {root}; train one first (python train.py) or give ckpt=PATH")
    return found[-1]


def _origin(target: str, path: str | Path) -> str:
    """Where the target is defined: condiff.data.phantom.os.system is not condiff's."""
    try:
        return f"{get_object(target).__module__}."
    except Exception:
        raise InputError(f"{path}: names {target}, unknown to this version of condiff; use the one that made it") from None


def _texts(config: Any) -> Iterator[str]:
    """Every string in nested containers, keys too."""
    if isinstance(config, dict):
        yield from _texts([*config.keys(), *config.values()])
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _texts(value)
    elif isinstance(config, str):
        yield config


def _targets(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        if "_target_" in config:
            yield str(config["_target_"])
        for value in config.values():
            yield from _targets(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _targets(value)
