"""A model as a folder to give away: weights without code, what they belong to, and a card.

==================== ===============================================================================================
`model.safetensors`  averaged weights of denoiser and codec
`config.json`        what builds them, images, conditions and sampling; statistics; hashed patients; the evaluation
`README.md`          the card, `condiff.export.card`
==================== ===============================================================================================
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from condiff.errors import InputError
from condiff.files.atomic import atomic_write
from condiff.files.foreign import small_text

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
SHIPPED = Path(__file__).parents[1] / "weights"  # models that come with condiff, by name
MAX_JSON_BYTES = 1 << 24
KEYS = {"hyper_parameters": dict, "data": dict, "step": int, "evaluation": dict}  # of config.json
GROUPS = (  # of a run's configuration that describe its model
    "data", "net", "schedule", "parameterization", "sampler", "guidance", "clamp", "codec", "model", "name", "seed",
)  # fmt: skip


def shipped() -> list[str]:
    """Returns the names of the models that come with condiff."""
    return sorted(folder.name for folder in SHIPPED.glob("*") if (folder / WEIGHTS).is_file())


def read(weights: Path) -> dict[str, Any]:
    """Returns the content of a model folder, of which ``weights`` is the file of weights, as that of a checkpoint.

    Raises:
        InputError: a file is missing, damaged or holds what `write` does not.
    """
    config = _read_config(weights.parent / CONFIG)
    try:
        tensors = load_file(weights)
    except (OSError, SafetensorError, ValueError, RuntimeError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0][:200]
        raise InputError(f"{weights}: cannot be read ({reason}); give an intact copy of the folder") from None
    state = {f"model.{name}": weight.float() if weight.is_floating_point() else weight for name, weight in tensors.items()}
    data_class = str(config["hyper_parameters"]["data"].get("_target_")).rpartition(".")[2]
    return {
        "hyper_parameters": config["hyper_parameters"] | {"overrides": []},
        "state_dict": state,
        data_class: config["data"],
        "global_step": config["step"],
        "evaluation": config.get("evaluation"),
    }


def write(
    folder: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    data: Mapping[str, Any],
    step: int,
    evaluation: Mapping[str, Any] | None,
    card: str,
) -> None:
    """Writes a model folder.

    Args:
        config: of the run, without paths.
        weights: of denoiser and codec.
        data: statistics of the training images, and the record of the patients where it is to be given away.
        step: number of training steps.
        evaluation: content of evaluation.json.
    """
    described = {"hyper_parameters": {key: config[key] for key in GROUPS if key in config}, "data": data, "step": step}
    try:
        text = json.dumps(described | ({"evaluation": evaluation} if evaluation else {}), indent=1, allow_nan=False)
    except ValueError:
        raise InputError(
            "export: the configuration has an infinite number, which JSON does not hold; null means no limit"
        ) from None
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: weight.contiguous() for name, weight in weights.items()}
    for name, content in ((CONFIG, f"{text}\n".encode()), (CARD, card.encode()), (WEIGHTS, save(tensors))):
        with atomic_write(folder / name) as file:
            file.write(content)


def half(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns weights as float16, half the bytes. Raises InputError for one beyond its range."""
    halved = {name: weight.half() if weight.dtype == torch.float32 else weight for name, weight in weights.items()}
    large = next((name for name, weight in halved.items() if weight.is_floating_point() and not weight.isfinite().all()), None)
    if large is not None:
        raise InputError(f"dtype=float16: {large} has weights above 65504; use dtype=float32")
    return halved


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(small_text(path, MAX_JSON_BYTES))
        for key, kind in KEYS.items():
            if not isinstance(config.get(key), kind) and (key != "evaluation" or key in config):
                raise ValueError(f"no {key}")
        if not isinstance(config["hyper_parameters"].get("data"), dict):
            raise ValueError("no data in hyper_parameters")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)[:200]
        raise InputError(f"{path}: does not describe a model of condiff ({reason}); give an intact copy of the folder") from None
    return config
