"""A folder of results and the settings that they follow from, so that those of two commands are never mixed."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from condiff.errors import InputError

SETTINGS = "settings.json"


def digest(path: str | Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_folder(folder: Path, settings: Mapping[str, Any] | None = None, results: Sequence[str] = ()) -> None:
    """Raise InputError where results cannot be written to ``folder``, or where it has those of other settings.

    Args:
        settings: of the results to come; None: those there may be of any.
        results: names of the files that results are known by.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"out={folder}: {'' if there == folder.absolute() else f'{there} '}is a file; give a folder")
    if not os.access(there, os.W_OK):
        raise InputError(f"out={folder}: {there} cannot be written to; give another folder")
    if settings is None:
        return
    text = folder / SETTINGS
    others = (
        text.read_text(errors="replace") != _text(settings)
        if text.is_file()
        else any((folder / name).exists() for name in results)
    )
    if others:
        raise InputError(f"out={folder}: holds results of other settings ({SETTINGS}); give another folder, or delete it")


def keep(folder: Path, settings: Mapping[str, Any]) -> None:
    """Make the folder, and write the settings into it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS).write_text(_text(settings))


def _text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, indent=1, sort_keys=True)
