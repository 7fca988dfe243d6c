"""Checkpoints that describe themselves: the resolved configuration lies inside, as plain containers.

A checkpoint may come from a stranger. `read` gives plain values (`condiff.files.torch_archive`), and what they describe is built
from the names in `condiff.checkpoint.registry` alone. No path is stored in a checkpoint, and none in it is followed: where the
data lie is known to the run's folder and to the command line.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import yaml
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from condiff.checkpoint import registry
from condiff.data.identity import Fingerprints
from condiff.errors import InputError
from condiff.files import torch_archive
from condiff.files.atomic import cache_folder, demand_no_way_out
from condiff.renamed import upgraded
from condiff.training import DiffusionSystem

SAMPLING = ("sampler", "guidance", "clamp")  # how the run sampled
LOCAL = ("root", "cache", "workers", "loaders", "shard")  # fields of the data that belong to a machine
STAGES = 8  # models that a model learned from: an autoencoder, a teacher
LONGEST_YAML = 1 << 16  # bytes
NOTHING: Mapping[str, Any] = MappingProxyType({})


def portable(config: Any) -> Any:
    """A configuration without what names a place on this machine: text with a slash, and ``init`` but for whether it is given."""
    if isinstance(config, list):
        return [portable(value) for value in config if not _is_path(value)]
    if not isinstance(config, dict):
        return config
    kept = {key: portable(value) for key, value in config.items() if not _is_path(value)}
    return kept | ({"init": bool(config["init"])} if "init" in config else {})


def load(path: str | Path, trust: Sequence[str] = ()) -> DiffusionSystem:
    """The system with its averaged weights, on the CPU, in evaluation mode, frozen; its configuration is ``hparams``.

    Args:
        trust: names of the user's own classes and functions that the checkpoint may construct.

    Raises:
        InputError: no such file, damaged, not a checkpoint of condiff, or one that asks for more than the registry admits.
    """
    return assemble(read(path), path, trust)


def assemble(content: dict[str, Any], path: str | Path, trust: Sequence[str] = ()) -> DiffusionSystem:
    """The system that a checkpoint's content describes. Raises InputError as `load` does."""
    config = content["hyper_parameters"]
    if "denoiser" not in config["model"]:
        raise InputError(
            f"{path}: is an autoencoder; first train a model of its codes, python train.py model=latent model.autoencoder={path}"
        )
    for key in (*SAMPLING, "net"):
        described = config.get(key)
        registry.check(key, described, path, trust)
        described = described.get("fn") if key == "sampler" and isinstance(described, dict) else described
        if not isinstance(described, dict) or "_target_" not in described:
            raise InputError(f"{path}: its configuration has no {key}; made by another version, or edited")
    system = _filled("model", config["model"], content["state_dict"], path, trust)
    system._set_hparams(config)
    return system.requires_grad_(False).eval()


def part(name: str, content: dict[str, Any], path: str | Path, trust: Sequence[str] = ()) -> Any:
    """A part of the model in a checkpoint's content, ``denoiser`` or ``codec``, in evaluation mode. Raises as `load` does."""
    state = {key.removeprefix(f"{name}."): w for key, w in content["state_dict"].items() if key.startswith(f"{name}.")}
    return _filled(name, content["hyper_parameters"]["model"].get(name), state, path, trust).eval()


def data(system: DiffusionSystem, path: str | Path, trust: Sequence[str] = ()) -> Any:
    """The data module that a system was trained with; nothing is read yet.

    Raises:
        InputError: as `load` does, or conditions of another length than the network takes.
    """
    module = build_data(system.hparams, path, trust)
    made, expected = module.conditioning.dim, system.hparams["net"].get("cond_dim")
    if made != expected:
        raise InputError(
            f"{path}: its network takes conditions of {expected} numbers, this version of condiff makes them of {made}; "
            "train it again, or use the version that made it"
        )
    if not registry.trusted(system.hparams["model"], trust):
        _demand_images(system.hparams["model"], module.transform.shape, made, path)
    return module


def build_data(config: Mapping[str, Any], path: str | Path, trust: Sequence[str] = (), asked: Mapping[str, Any] = NOTHING) -> Any:
    """The data module of a checkpoint's configuration, with fields of the command line in place of its own.

    The root is the one that the run's folder names; the cache, which is written to, is this machine's or the command line's.
    Raises InputError as `load` does.
    """
    own = _without(LOCAL, config["data"])
    registry.check("data", own, path, trust)
    merged = OmegaConf.to_container(OmegaConf.merge(own, _without(LOCAL, asked)))
    given = {"cache": cache_folder()} | ({} if "phantom" in config["data"] else {"root": root_of(path)})
    return registry.build("data", merged, path, trust, **given | {key: asked[key] for key in LOCAL if key in asked})


def root_of(path: str | Path) -> str:
    """``data.root`` as config.yaml in the folder of a checkpoint's run has it; empty where it has none."""
    file = run_of(path) / "config.yaml"
    try:
        if not file.is_file() or file.stat().st_size > LONGEST_YAML:
            return ""
        root = yaml.safe_load(file.read_text())["data"]["root"]
        return root if type(root) is str and root.isprintable() and "${" not in root else ""  # nothing to resolve
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError, yaml.YAMLError):
        return ""


def read(path: str | Path) -> dict[str, Any]:
    """The checkpoint's content, in plain values and checked to be ours. Raises InputError as `load` does."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: a folder; give the checkpoint in it, RUN/checkpoints/last.ckpt")
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; train one (python train.py) or give another path")
    content = torch_archive.read(path)
    config, state = (content.get(key) if isinstance(content, dict) else None for key in ("hyper_parameters", "state_dict"))
    described = isinstance(config, dict) and all(
        isinstance(config.get(key), kind) for key, kind in (("model", dict), ("data", dict), ("overrides", list))
    )
    if not described or not isinstance(state, dict):
        raise InputError(f"{path}: not a checkpoint of condiff (no configuration inside); give one made by train.py")
    if not all(isinstance(name, str) and isinstance(weight, Tensor) for name, weight in state.items()):
        raise InputError(f"{path}: its weights are not tensors; was it edited?")
    return content | {"hyper_parameters": upgraded(config)}


def patients(path: str | Path) -> list[Fingerprints]:
    """The patients it was trained on, and its autoencoder before it. Raises InputError where it does not say."""
    return patients_in(read(path), path)


def patients_in(content: dict[str, Any], path: str | Path) -> list[Fingerprints]:
    """`patients` of a content that was read."""
    state = _data_state(content, path)
    others = state.get("others") or []
    try:
        if len(others) > STAGES and not isinstance(state["patients"], list):
            raise ValueError("more stages than a model has")
        if isinstance(state["patients"], list):  # by versions that had no salt
            return [Fingerprints.unsalted([*state["patients"], *others])]
        return [Fingerprints.of_state(one) for one in (state["patients"], *others)]
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{path}: the record of its training patients is damaged; use a copy that is not, or train again"
        ) from None


def validation_patients(content: dict[str, Any], path: str | Path) -> Fingerprints | None:
    """The patients whose loss chose ``best.ckpt``; None for versions that do not record them. Raises InputError for damage."""
    state = _data_state(content, path).get("validation")
    try:
        return None if state is None else Fingerprints.of_state(state)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: the record of its validation patients is damaged; use a copy that is not") from None


def statistics(path: str | Path) -> dict[str, float]:
    """Of the images it was trained on, `condiff.data.statistics`. Raises InputError where it does not say."""
    found = _data_state(read(path), path).get("statistics")
    if not isinstance(found, dict) or not isinstance(found.get("sigma_data"), float) or not 0 < found["sigma_data"] < 1e6:
        raise InputError(f"{path}: the statistics of its training images are damaged; use a copy that is not, or train again")
    return found


def run_of(path: str | Path) -> Path:
    """The folder of the run that a checkpoint lies in, or the folder it lies in where that is none."""
    here = Path(path).resolve().parent
    return here.parent if here.name == "checkpoints" else here


def results_of(path: str | Path, kind: str, name: str) -> Path:
    """The folder in a checkpoint's run for results of a kind. Raises InputError as `demand_no_way_out` does."""
    run = run_of(path)
    for folder in (run / kind, run / kind / name):
        demand_no_way_out(folder, run)
    return run / kind / name


def newest(root: str | Path) -> Path:
    """The newest ``last.ckpt`` under a folder of runs. Raises InputError where there is none."""
    found = sorted(Path(root).glob("**/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise InputError(f"ckpt: no checkpoint under {root}; train one first (python train.py) or give ckpt=PATH")
    return found[-1]


def _filled(slot: str, config: Any, state: dict[str, Tensor], path: str | Path, trust: Sequence[str]) -> Any:
    """What a configuration describes, with its weights.

    It is first built without memory and with at most as many parameters as there are weights, so that a file cannot ask for a
    network larger than what it holds. Your own classes need not allow that, and are built at once.
    """
    registry.check(slot, config, path, trust)
    if not registry.trusted(config, trust):
        with torch.device("meta"), parameters_at_most(len(state), path):
            blank = registry.build(slot, config, path).state_dict()
        other = next((name for name in {**blank, **state} if not _same_shape(blank.get(name), state.get(name))), None)
        if other is not None:
            raise InputError(f"{path}: its weights do not fit the model it describes ({other[:100]}); was it edited?")
    module = registry.build(slot, config, path, trust)
    fill(module, state, path)
    return module


def _demand_images(model: Any, shape: tuple[int, int, int], dim: int, path: str | Path) -> None:
    """Raise InputError where the model does not make images of a shape [C, H, W] of conditions [D]; tried without memory."""
    try:
        with torch.device("meta"):
            system = registry.build("model", model, path).eval()
            code = torch.zeros(1, *system.codec.shape(shape))
            made = system.codec.decode(system(code, torch.ones(1), torch.zeros(1, dim)), shape[1:])
        reason = "" if made.shape[1:] == shape else f"it makes {list(made.shape[1:])}"
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, AssertionError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
    if reason:
        raise InputError(f"{path}: its network does not make images of {list(shape)} ({reason}); was it edited?")


def fill(module: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    """Load weights. Raises InputError where they are of another model, or not finite."""
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise InputError(f"{path}: its weights do not fit the model it describes ({first}); was it edited?") from None
    odd = next((name for name, weight in module.state_dict().items() if not weight.isfinite().all()), None)
    if odd is not None:
        raise InputError(f"{path}: its weights are not finite ({odd[:100]}): its training diverged; give an earlier checkpoint")


def _same_shape(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and one.shape == other.shape


@contextmanager
def parameters_at_most(number: int, path: str | Path) -> Iterator[None]:
    """Raises InputError where a module registers more."""
    count = 0

    def register(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal count
        count += 1
        if count > number:
            raise InputError(f"{path}: has {number} weights, and describes a model of more; was it edited?")

    hook = register_module_parameter_registration_hook(register)
    try:
        yield
    finally:
        hook.remove()


def _data_state(content: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """What the data module stored, under the name of its class."""
    state = content.get(str(content["hyper_parameters"]["data"].get("_target_")).rpartition(".")[2])
    if not isinstance(state, dict) or "patients" not in state:
        raise InputError(f"{path}: does not record its training patients, so none is known to be held out; train it again")
    return state


def _without(keys: Sequence[str], config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and ("/" in value or "\\" in value)
