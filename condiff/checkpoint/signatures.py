"""Checks whether arguments fit a signature, without a call."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Any, get_args, get_origin

SIMPLE = (int, float, bool, str, type(None))  # annotations that values are compared with


def misfit(target: Callable, config: Mapping[str, Any]) -> str:
    """Returns the first argument that a target does not take, gets later, or whose value has another type; else empty."""
    parameters = _parameters(target)
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values()):
        return ""
    later = {next(iter(parameters), "")} if config.get("_partial_") and not inspect.isclass(target) else set()
    settings = {name: value for name, value in config.items() if not name.startswith("_")}
    unfit = (n for n, v in settings.items() if n not in parameters or n in later or not _fits(v, parameters[n].annotation))
    return next(unfit, "")


def _parameters(target: Callable) -> dict[str, inspect.Parameter]:
    """Returns the parameters of a function or class; of a class with ``**settings`` also those of its base."""
    parameters = dict(inspect.signature(target).parameters)
    passed_on = next((name for name, parameter in parameters.items() if parameter.kind == parameter.VAR_KEYWORD), None)
    if passed_on and inspect.isclass(target) and target.__base__ not in (None, object):
        del parameters[passed_on]
        return _parameters(target.__base__) | parameters
    return parameters


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a plain value, or the description of an object, fits an annotation."""
    kinds, described = get_args(annotation), isinstance(value, dict) and "_target_" in value
    if isinstance(annotation, UnionType):
        return any(_fits(value, kind) for kind in kinds)
    if annotation in (Any, inspect.Parameter.empty):
        return True
    if annotation in SIMPLE:
        return type(value) is annotation or (annotation is float and type(value) is int)
    origin = get_origin(annotation)
    if origin in (Sequence, list, tuple):
        items = kinds[:1] * len(value) if isinstance(value, list) and (origin is not tuple or Ellipsis in kinds) else kinds
        return isinstance(value, list) and len(items) == len(value) and all(map(_fits, value, items))
    if origin in (Mapping, dict):
        return isinstance(value, dict) and not described and all(_fits(item, kinds[1]) for item in value.values())
    return described  # a function or an object
