"""Building of the modules that a checkpoint describes, with its weights, within the size of the file."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from condiff.checkpoint import registry
from condiff.errors import InputError

BUILD_ERRORS = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, AssertionError, RuntimeError)


def build_filled(slot: str, config: Any, state: Mapping[str, Tensor], path: str | Path, trust: Sequence[str]) -> Any:
    """Returns the module that a configuration describes, with its weights.

    It is first built on the meta device, with at most as many parameters as there are weights, so that a file cannot describe
    a network larger than its weights. Classes of the user (``trust``) may not support that, and are built directly.

    Raises:
        InputError: the registry refuses the description, or the weights are of another module.
    """
    registry.check(slot, config, path, trust)
    if not registry.trusted(config, trust):
        with torch.device("meta"), parameters_at_most(len(state), path):
            blank = registry.build(slot, config, path).state_dict()
        mismatch = next((name for name in {**blank, **state} if not _same_shape(blank.get(name), state.get(name))), None)
        if mismatch is not None:
            raise InputError(f"{path}: its weights do not fit the model it describes ({mismatch[:100]}); was it edited?")
    module = registry.build(slot, config, path, trust)
    load_weights(module, state, path)
    return module


def load_weights(module: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Loads weights. Raises InputError if they are of another model, or not finite."""
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise InputError(f"{path}: its weights do not fit the model it describes ({first}); was it edited?") from None
    odd = next((name for name, weight in module.state_dict().items() if not weight.isfinite().all()), None)
    if odd is not None:
        raise InputError(f"{path}: its weights are not finite ({odd[:100]}): its training diverged; give an earlier checkpoint")


@contextmanager
def parameters_at_most(number: int, path: str | Path) -> Iterator[None]:
    """Raises InputError if modules built inside the block have more parameters."""
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


def submodule_weights(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Returns the weights of the submodule ``name``."""
    return {key.removeprefix(f"{name}."): weight for key, weight in state.items() if key.startswith(f"{name}.")}


def _same_shape(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and a.shape == b.shape
