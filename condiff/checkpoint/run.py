"""The folder of the run of a checkpoint: its results and data root."""

import hashlib
import logging
import os
import re
from pathlib import Path
from typing import Any

import yaml

from condiff.checkpoint.model_folder import SHIPPED, WEIGHTS
from condiff.checkpoint.model_folder import shipped as shipped_models
from condiff.errors import InputError, command
from condiff.files.atomic import check_links_stay_inside

NAME = re.compile(r"\w[\w+-]*")  # of a contrast
MAX_YAML_BYTES = 1 << 16  # bytes
log = logging.getLogger(__name__)


def run_folder(path: str | Path) -> Path:
    """Returns the folder of the run of a checkpoint; outside of a run the folder of the file."""
    folder = Path(path).resolve().parent
    return folder.parent if folder.name == "checkpoints" else folder


def results_folder(path: str | Path, kind: str, name: str) -> Path:
    """Returns the folder for results of a kind in the run of a checkpoint. Raises InputError as `check_links_stay_inside`.

    Those of a model folder are in runs/NAME-DIGEST, because they may hold images of patients and the folder is given away.
    """
    run = _results_of_folder(run_folder(path)) if Path(path).name == WEIGHTS else run_folder(path)
    for folder in (run / kind, run / kind / name):
        check_links_stay_inside(folder, run)
    return run / kind / name


def _results_of_folder(folder: Path) -> Path:
    """Returns the folder in runs/ for a model folder, by its name and, unless it comes with condiff, its place."""
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]
    return Path("runs", folder.name if folder.parent == SHIPPED.resolve() else f"{folder.name}-{digest}")


def data_root(path: str | Path) -> str:
    """Returns ``data.root`` of config.yaml in the run of a checkpoint; empty without one."""
    return str(data_fields(path).get("root", ""))


def data_fields(path: str | Path) -> dict[str, Any]:
    """Returns those of root, patterns, patient and site that config.yaml in the run of a checkpoint gives for the data."""
    if Path(path).name == WEIGHTS:  # a model folder is of no machine
        return {}
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


def newest(root: str | Path, shipped: str = "") -> Path:
    """Returns the newest ``last.ckpt`` under a folder of runs; without one the model ``shipped`` that comes with condiff.

    Raises:
        InputError: no checkpoint, and no such model is given.
    """
    checkpoints = sorted(Path(root).glob("**/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    if not checkpoints and shipped:
        log.info("no run in %s: %s, which comes with condiff; for another give ckpt=RUN", root, shipped)
        return SHIPPED / shipped / WEIGHTS
    if not checkpoints:
        names = " or ".join(shipped_models())
        raise InputError(
            f"{root}: no run in this folder has a checkpoint; train one ({command('train')}), give a path to one, or a model "
            f"that comes with condiff, {names}"
        )
    return checkpoints[-1]


def checkpoint_file(path: str | Path) -> Path:
    """Returns the checkpoint of a path: a file itself; of a folder a run's ``last.ckpt``, the weights of a model folder, or the
    newest of several runs; of a name the weights that come with condiff, unless there is a file or folder of that name.

    Raises:
        InputError: a folder without a checkpoint.
    """
    folder = Path(path)
    if not folder.exists() and str(path) in shipped_models():
        folder = SHIPPED / str(path)
    for file in (folder / "checkpoints/last.ckpt", folder / WEIGHTS, folder / "denoiser" / WEIGHTS):  # the last of diffusers
        if file.is_file():
            return file
    return newest(folder) if folder.is_dir() else folder
