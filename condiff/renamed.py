"""Names of earlier versions: checkpoints, command lines and prepared images that hold them keep working.

Of every function or class that has moved, `RENAMED` has the name it had in version 0.1 and the one it has now. `upgraded` gives a
configuration its present names; `first_name` gives a name of now the spelling of 0.1, by which prepared images are kept, so that
no move makes them again.
"""

from typing import Any

RENAMED: dict[str, str] = {}


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
