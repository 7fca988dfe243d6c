"""The registry of what a checkpoint may construct: a table of names for each slot of its configuration.

A name is looked up in the table of its slot and never imported, so a file can call nothing else. A network or a transform of
the user is admitted on the command line alone, ``trust=[mypackage.MyNet]``.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any

import torch

from condiff import diffusion, nn
from condiff.checkpoint.signatures import misfit
from condiff.data import augment, conditioning, datamodule, index_sampler, scans, selection, transforms
from condiff.data.dicom import reader as dicom
from condiff.data.fastmri import reader
from condiff.data.nifti import reader as nifti
from condiff.data.phantom import datamodule as phantom_datamodule
from condiff.data.phantom import volumes
from condiff.diffusion import denoiser, guidance, losses, samplers, schedules
from condiff.errors import InputError
from condiff.mri import maps

MAX_INTEGER = 1_000_000  # in a configuration; a seed may be larger
MAX_ENTRIES = 256  # of a list or a dictionary
WORD = re.compile(r"\w[\w .+-]{0,99}")  # text in a configuration: names of contrasts, no paths
Table = Mapping[str, Callable]


def _of(module: ModuleType, names: str) -> Table:
    return {f"{module.__name__}.{name}": getattr(module, name) for name in names.split()}


PARTIAL = {  # slots whose objects get their last arguments later
    "parameterization", "optimizer", "lr_factor", "loss", "fn", "guidance", "clamp", "read", "transform", "maps",
    "conditioning", "features", "sampling_order", "augment", "steps",
}  # fmt: skip
AUGMENT = _of(augment, "compose random_flip random_global_phase")
SLOTS: Mapping[str, Table] = {
    "denoiser": _of(diffusion, "Denoiser"),
    "net": _of(nn, "UNet ContextUNet"),
    "codec": _of(nn, "Pixels KLAutoencoder"),
    "perceptual": _of(nn, "PerceptualDistance"),
    "discriminator": _of(nn, "PatchDiscriminator"),
    "parameterization": _of(denoiser, "eps x0 v edm flow"),
    "schedule": _of(
        schedules,
        "LogNormal Karras Geometric LinearBeta ScaledLinearBeta CosineBeta SigmoidBeta Flow ConsistencyLevels",
    ),
    "loss": _of(losses, "denoising consistency"),
    "optimizer": _of(torch.optim, "Adadelta Adagrad Adam AdamW Adamax NAdam RAdam RMSprop Rprop SGD"),
    "fn": _of(
        samplers,
        "dpmpp_2m dpmpp_2m_sde unipc heun ancestral ancestral_beta predictor_corrector annealed_langevin consistency",
    ),
    "guidance": _of(guidance, "identity classifier_free"),
    "clamp": _of(guidance, "identity static_clamp dynamic_clamp magnitude_clamp"),
    "data": {
        **_of(datamodule, "MRIDataModule"),
        **_of(phantom_datamodule, "PhantomDataModule"),
        **_of(scans, "BidsDataModule NiftiDataModule DicomDataModule"),
    },
    "phantom": _of(volumes, "Phantom"),
    "read": {**_of(reader, "read_magnitude read_kspace"), **_of(nifti, "read_slices"), **_of(dicom, "read_slices")},
    "transform": _of(transforms, "Magnitude Complex"),
    "maps": _of(maps, "espirit walsh low_resolution"),
    "conditioning": _of(conditioning, "ContrastCondition AcquisitionCondition"),
    "features": _of(conditioning, "piecewise_linear periodic"),
    "select": _of(selection, "Selection"),
    "sampling_order": _of(index_sampler, "shuffled balanced"),
    "augment": AUGMENT,
    "steps": AUGMENT,  # of augment.compose
}

DESCRIBED = {  # slots of objects of the training, which are checked but never built from a checkpoint
    "model": ("condiff.training.DiffusionSystem", "condiff.training.AutoencoderSystem"),
    "lr_factor": ("condiff.training.lr_schedules.constant", "condiff.training.lr_schedules.cosine"),
    "optimizer": ("condiff.training.optimizers.MuonAdamW",),
}


def build(slot: str, config: Any, path: str | Path, trust: Sequence[str] = (), **arguments: Any) -> Any:
    """Returns the object that a configuration describes, for a slot of `SLOTS`.

    Args:
        arguments: further arguments, which are not in the checkpoint.

    Raises:
        InputError: as `check` does, or the object refuses its arguments.
    """
    if not isinstance(config, dict) or "_target_" not in config:
        raise InputError(f"{path}: describes no {slot}; made by another version, or edited")
    check(slot, config, path, trust)
    return _build(slot, config, path, trust, **arguments)


def complete(slot: str, config: Any, path: str | Path, trust: Sequence[str] = (), **arguments: Any) -> Any:
    """Returns the object of a slot in `PARTIAL`, called with its last arguments."""
    return _call(build(slot, config, path, trust), slot, path, **arguments)


def check(slot: str, config: Any, path: str | Path, trust: Sequence[str] = ()) -> None:
    """Raises InputError if a configuration names an object that its slot does not admit, or holds an implausible value."""
    nodes = list(_nodes(slot, config))
    for place, key, value in nodes:
        if isinstance(value, dict) and "_target_" in value:
            if not _is_described(place, value["_target_"]):
                _lookup(place, value["_target_"], path, trust)
            odd = next((name for name in value if name.startswith("_") and name not in ("_target_", "_partial_")), None)
            if odd or value.get("_partial_", False) is not (place in PARTIAL):
                raise InputError(f"{path}: {place} has {odd or '_partial_'!r} as train.py does not write it; refused")
        problem = _find_fault(key, value)
        if problem:
            raise InputError(f"{path}: its configuration has {key}={str(value)[:60]!r}, {problem}; refused")
    for place, _, value in nodes:
        if isinstance(value, dict) and "_target_" in value and not _is_described(place, value["_target_"]):
            wrong = misfit(_lookup(place, value["_target_"], path, trust), value)
            if wrong:
                raise InputError(
                    f"{path}: its {place} has {wrong}={str(value[wrong])[:60]!r}, which does not fit {value['_target_']}"
                )


def trusted(config: Any, trust: Sequence[str]) -> bool:
    """Whether a configuration names an object of ``trust``."""
    return any(isinstance(value, dict) and value.get("_target_") in trust for _, _, value in _nodes("", config))


def _build(slot: str, config: Any, path: str | Path, trust: Sequence[str], **extra_arguments: Any) -> Any:
    if isinstance(config, list):
        return [_build(slot, value, path, trust) for value in config]
    if not isinstance(config, dict):
        return config
    arguments = {
        key: _build(_slot(slot, config, key), item, path, trust) for key, item in config.items() if not key.startswith("_")
    } | extra_arguments
    if "_target_" not in config:
        return arguments
    target = _lookup(slot, config["_target_"], path, trust)
    built = partial(target, **arguments)
    return built if config.get("_partial_", False) else _call(built, slot, path)


def _call(function: Callable, slot: str, path: str | Path, **arguments: Any) -> Any:
    try:
        return function(**arguments)
    except InputError as error:
        raise InputError(f"{path}: {slot}: {str(error)[:300]}") from None
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, AssertionError, RuntimeError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path}: its {slot} cannot be built ({first[:200]}); made by another version, or edited") from None


def _lookup(slot: str, name: Any, path: str | Path, trust: Iterable[str]) -> Callable:
    """Returns the object of a name. Raises InputError if the slot does not admit it."""
    if isinstance(name, str) and name in trust:
        try:
            return resolve_name(name)
        except Exception as error:  # the user's own module may fail in any way
            raise InputError(f"trust={name}: cannot be imported ({error})") from None
    table = SLOTS.get(slot, {})
    if not isinstance(name, str) or name not in table:
        names = [*table, *DESCRIBED.get(slot, ())]
        admitted = f"there are {', '.join(names)}" if names else "nothing is built there"
        raise InputError(
            f"{path}: names {str(name)[:100]} for {str(slot)[:40]}, where {admitted}; refused. "
            f"If it is your own, add trust=[{str(name)[:100]}]"
        )
    return table[name]


def _slot(slot: str, config: Mapping[str, Any], key: str) -> str:
    """Returns the slot of an argument, its name. Nothing is built in plain dictionaries, except the ``fn`` of a sampler."""
    return key if "_target_" in config or slot in ("", "sampler") else "a dictionary"


def _nodes(slot: str, value: Any, key: Any = "configuration") -> Iterator[tuple[str, Any, Any]]:
    """Yields (slot, key, value) of a configuration and everything in it; entries of a list have the slot of the list."""
    yield slot, key, value
    if isinstance(value, dict):
        for name, item in value.items():
            if name not in ("_target_", "_partial_"):
                yield from _nodes(_slot(slot, value, str(name)), item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _nodes(slot, item, key)


def _find_fault(key: Any, value: Any) -> str:
    """Returns what is wrong with a value; empty if it is valid."""
    if not isinstance(key, str) or not WORD.fullmatch(key):
        return "and that is no name of a setting"
    if isinstance(value, str) and value and not WORD.fullmatch(value):
        return "and text there is a plain word"
    if isinstance(value, int) and key != "seed" and abs(value) > MAX_INTEGER:
        return f"and whole numbers there are at most {MAX_INTEGER}"
    if isinstance(value, float) and math.isnan(value):
        return "which is not a number"
    if isinstance(value, list | tuple | dict) and len(value) > MAX_ENTRIES:
        return f"and lists there have at most {MAX_ENTRIES} entries"
    return "" if isinstance(value, str | int | float | list | dict | None) else f"and a {type(value).__name__} has no place there"


def _is_described(slot: str, name: Any) -> bool:
    return isinstance(name, str) and name in DESCRIBED.get(slot, ())
