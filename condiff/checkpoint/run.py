"""The folder of a run that a checkpoint lies in: where its data are, and where results go."""

from pathlib import Path

import yaml

from condiff.errors import InputError, command
from condiff.files.atomic import check_links_stay_inside

MAX_YAML_BYTES = 1 << 16  # bytes


def run_folder(path: str | Path) -> Path:
    """The folder of the run that a checkpoint lies in, or the folder it lies in where that is no run's."""
    folder = Path(path).resolve().parent
    return folder.parent if folder.name == "checkpoints" else folder


def results_folder(path: str | Path, kind: str, name: str) -> Path:
    """The folder in a checkpoint's run for results of a kind. Raises InputError as `demand_no_way_out` does."""
    run = run_folder(path)
    for folder in (run / kind, run / kind / name):
        check_links_stay_inside(folder, run)
    return run / kind / name


def data_root(path: str | Path) -> str:
    """``data.root`` as config.yaml in the folder of a checkpoint's run has it; empty where it has none."""
    file = run_folder(path) / "config.yaml"
    try:
        if not file.is_file() or file.stat().st_size > MAX_YAML_BYTES:
            return ""
        root = yaml.safe_load(file.read_text())["data"]["root"]
        return root if type(root) is str and root.isprintable() and "${" not in root else ""  # nothing to resolve
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError, yaml.YAMLError):
        return ""


def newest(root: str | Path) -> Path:
    """The newest ``last.ckpt`` under a folder of runs. Raises InputError where there is none."""
    checkpoints = sorted(Path(root).glob("**/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    if not checkpoints:
        raise InputError(f"ckpt: no checkpoint under {root}; train one first ({command('train')}) or give ckpt=PATH")
    return checkpoints[-1]
