"""What an attack is: a function that turns the content of a good checkpoint into that of a hostile one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

Content = dict[str, Any]
Attack = Callable[[Content, "Aim"], "Content | bytes"]  # bytes: a whole file


class Aim(NamedTuple):
    """Two folders: nothing may appear in ``pwn``, nothing may change in ``victim``. Tables name them PWN and VICTIM."""

    pwn: Path
    victim: Path


class Reduced:
    """Is pickled as a call of a function, as `object.__reduce__` describes it."""

    def __init__(self, *call: Any):
        self.call = call

    def __reduce__(self) -> tuple:
        return self.call


def config(content: Content) -> dict[str, Any]:
    return content["hyper_parameters"]


def put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set a nested entry; makes the dictionaries on the way that are not there."""
    *parents, last = path.split(".")
    for key in parents:
        if not isinstance(tree.get(key), dict):
            tree[key] = {}
        tree = tree[key]
    tree[last] = value


def filled(value: Any, aim: Aim) -> Any:
    """A plain value with the folders in the place of PWN and VICTIM."""
    if isinstance(value, str):
        return value.replace("PWN", str(aim.pwn)).replace("VICTIM", str(aim.victim))
    if type(value) is dict:
        return {filled(key, aim): filled(item, aim) for key, item in value.items()}
    return [filled(item, aim) for item in value] if type(value) is list else value


def placing(path: str, value: Any) -> Attack:
    """The attack that sets one entry of the configuration to any object."""

    def attack(content: Content, aim: Aim) -> Content:
        put(config(content), path, value)
        return content

    return attack


def setting(path: str, value: Any) -> Attack:
    """The attack that sets one entry of the configuration to a plain value of a table."""

    def attack(content: Content, aim: Aim) -> Content:
        put(config(content), path, filled(value, aim))
        if path == "model.denoiser.net":
            config(content)["net"] = config(content)["model"]["denoiser"]["net"]
        return content

    return attack


def adding(path: str, more: dict[str, Any]) -> Attack:
    """The attack that adds to an object of the configuration."""

    def attack(content: Content, aim: Aim) -> Content:
        tree = config(content)
        for key in path.split("."):
            tree = tree[key]
        tree.update(filled(more, aim))
        return content

    return attack
