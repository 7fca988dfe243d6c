"""The folder of the run of a checkpoint: its results and data root."""

import re
from pathlib import Path
from typing import Any

import yaml

from condiff.errors import InputError, command
from condiff.files.atomic import check_links_stay_inside

NAME = re.compile(r"\w[\w+-]*")  # of a contrast
MAX_YAML_BYTES = 1 << 16  # bytes


def run_folder(path: str | Path) -> Path:
    """Returns the folder of the run of a checkpoint; outside of a run the folder of the file."""
    folder = Path(path).resolve().parent
    return folder.parent if folder.name == "checkpoints" else folder


def results_folder(path: str | Path, kind: str, name: str) -> Path:
    """Returns the folder for results of a kind in the run of a checkpoint. Raises InputError as `check_links_stay_inside`."""
    run = run_folder(path)
    for folder in (run / kind, run / kind / name):
        check_links_stay_inside(folder, run)
    return run / kind / name


def data_root(path: str | Path) -> str:
    """Returns ``data.root`` of config.yaml in the run of a checkpoint; empty without one."""
    return str(data_fields(path).get("root", ""))


def data_fields(path: str | Path) -> dict[str, Any]:
    """Returns those of root, patterns, patient and site that config.yaml in the run of a checkpoint gives for the data."""
    file = run_folder(path) / "config.yaml"
    try:
        if not file.is_file() or file.stat().st_size > MAX_YAML_BYTES:
            return {}
        data = yaml.safe_load(file.read_text())["data"]
        found = {name: data[name] for name in ("root", "patient", "site") if _is_text(data.get(name))}
        patterns = data.get("patterns")
        if (
            isinstance(patterns, dict)
            and all(map(_is_text, patterns.values()))
            and all(NAME.fullmatch(str(name)) for name in patterns)
        ):
            found["patterns"] = patterns
        return found
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError, yaml.YAMLError):
        return {}


def _is_text(value: Any) -> bool:
    """Whether a value is text without an interpolation."""
    return type(value) is str and value.isprintable() and "${" not in value


def newest(root: str | Path) -> Path:
    """Returns the newest ``last.ckpt`` under a folder of runs. Raises InputError if there is none."""
    checkpoints = sorted(Path(root).glob("**/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    if not checkpoints:
        raise InputError(f"{root}: no run in this folder has a checkpoint; train one ({command('train')}), or give a path to one")
    return checkpoints[-1]


def checkpoint_file(path: str | Path) -> Path:
    """Returns the checkpoint of a path: a file itself, a run's ``last.ckpt``, or the newest under a folder of runs.

    Raises:
        InputError: a folder without a checkpoint.
    """
    last = Path(path) / "checkpoints/last.ckpt"
    if last.is_file() or not Path(path).is_dir():
        return last if last.is_file() else Path(path)
    return newest(path)
