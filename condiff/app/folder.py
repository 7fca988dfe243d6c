"""The temporary folder of the page: uploads, downloads and pictures. It is deleted when the program ends."""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PREFIX = "condiff-app-"
ENDINGS = (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))  # a closed SSH connection; Windows has none


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Gives a folder that only this user can read, for every temporary file of the process; deletes it at the end.

    SIGTERM and SIGHUP end the program as Ctrl-C does.
    """
    before, handlers = tempfile.tempdir, {number: signal.signal(number, _interrupt) for number in ENDINGS}
    try:
        with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
            tempfile.tempdir = os.environ["GRADIO_TEMP_DIR"] = name
            yield Path(name)
    finally:
        tempfile.tempdir = before
        os.environ.pop("GRADIO_TEMP_DIR", None)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def new_folder(parent: Path) -> Path:
    """Returns a new empty folder inside the temporary one, for the files of one download."""
    return Path(tempfile.mkdtemp(dir=parent))


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
