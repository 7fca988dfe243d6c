"""The models that the page can use: the one it is started with, shipped weights, and the runs in this folder."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from condiff.checkpoint import Checkpoint, newest, run_folder
from condiff.checkpoint.run import checkpoint_file
from condiff.data.patients import Fingerprints
from condiff.errors import InputError
from condiff.model import Model, load

SHIPPED = ("phantom", "phantom_prior")  # names of weights that `condiff.load` may know
RUNS = Path("runs")
MOST = 20  # runs in the list
SCALE = 1.5  # of guidance, where a checkpoint has none


@dataclass(frozen=True)
class Loaded:
    """A model and what its checkpoint records beside it.

    Attributes:
        run: folder of its run; None for shipped weights.
        scale: of the guidance of its run.
        trained_on: fingerprints of its training patients.
    """

    model: Model
    run: Path | None
    scale: float
    trained_on: Sequence[Fingerprints]

    def patient_note(self, patient: str) -> str:
        """Returns a sentence about a scan of a training patient, or of an unnamed one; empty for a new patient."""
        if not patient:
            return "The file names no patient, so the model may have been trained on this head."
        if any(prints.known([patient]) for prints in self.trained_on):
            return "The model was trained on this patient, so the result is better than for a new patient."
        return ""


class Models:
    """The models by name, each read when it is first used.

    Args:
        ckpt: checkpoint, folder of a run, or name of shipped weights; None: the newest run, else the first shipped weights.

    Raises:
        InputError: no such model.
    """

    def __init__(self, ckpt: str | None, device: torch.device, trust: Sequence[str] = ()):
        self.device, self.trust = device, tuple(trust)
        self._load = lru_cache(maxsize=4)(self._read)
        self.default = ckpt or self._newest()
        self[self.default]  # an error before the page opens

    def __getitem__(self, name: str) -> Loaded:
        return self._load(name)

    def available(self) -> list[str]:
        """Returns the names of all models: the default, shipped weights, then runs, the newest first."""
        runs = sorted(RUNS.glob("**/checkpoints/last.ckpt"), key=lambda path: -path.stat().st_mtime)[:MOST]
        return list(dict.fromkeys([self.default, *self._shipped(), *map(str, runs)]))

    def _shipped(self) -> Iterable[str]:
        for name in SHIPPED:
            with suppress(InputError):
                self[name]
                yield name

    def _newest(self) -> str:
        try:
            return str(newest(RUNS))
        except InputError:
            shipped = next(iter(self._shipped()), None)
            if shipped is None:
                raise
            return shipped

    def _read(self, name: str) -> Loaded:
        model, file = load(name, self.device, self.trust), checkpoint_file(name)
        if not file.is_file():  # shipped weights
            return Loaded(model, None, SCALE, ())
        checkpoint = Checkpoint.read(file, self.trust)
        scale = (checkpoint.config.get("guidance") or {}).get("scale", SCALE)
        return Loaded(model, run_folder(file), float(scale), checkpoint.training_patients)
