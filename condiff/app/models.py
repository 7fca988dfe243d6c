"""The models that the page can use: the one it is started with, shipped weights, and the runs in this folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from condiff.checkpoint import newest
from condiff.checkpoint.model_folder import WEIGHTS, shipped
from condiff.data.patients import Fingerprints
from condiff.errors import InputError
from condiff.model import Model, load

RUNS = Path("runs")
MOST = 20  # runs in the list
SCALE = 1.5  # of guidance, where a checkpoint has none


@dataclass(frozen=True)
class Loaded:
    """A model and what its checkpoint records beside it.

    Attributes:
        scale: of the guidance of its run.
        trained_on: fingerprints of its training patients; None if they are not recorded.
    """

    model: Model
    scale: float
    trained_on: Sequence[Fingerprints] | None

    def patient_note(self, patient: str) -> str:
        """Returns a sentence about a scan of a training patient, or of an unnamed one; empty for a new patient."""
        if self.trained_on is None:
            return "The model does not record its training patients, so it may have been trained on this head."
        if not patient:
            return "The file names no patient, so the model may have been trained on this head."
        if any(prints.known([patient]) for prints in self.trained_on):
            return "The model was trained on this patient, so the result is better than for a new patient."
        return ""


class Models:
    """The models by name, each read when it is first used.

    Args:
        ckpt: as of `condiff.load`; None: the newest run, or phantom where there is none.

    Raises:
        InputError: no such model.
    """

    def __init__(self, ckpt: str | None, device: torch.device, trust: Sequence[str] = ()):
        self.device, self.trust = device, tuple(trust)
        self._load = lru_cache(maxsize=4)(self._read)
        self.default = ckpt or ("phantom" if (file := newest(RUNS, "phantom")).name == WEIGHTS else str(file))
        self[self.default]  # an error before the page opens

    def __getitem__(self, name: str) -> Loaded:
        return self._load(name)

    def available(self) -> list[str]:
        """Returns the names of all models: the default, those that come with condiff, then runs, the newest first."""
        runs = sorted(RUNS.glob("**/checkpoints/last.ckpt"), key=lambda path: -path.stat().st_mtime)[:MOST]
        return list(dict.fromkeys([self.default, *shipped(), *map(str, runs)]))

    def prior(self) -> str:
        """Returns the name of the model to reconstruct with: the default if it is of complex images, else phantom_prior."""
        is_complex = self[self.default].model.spec.shape[0] == 2
        return self.default if is_complex or "phantom_prior" not in shipped() else "phantom_prior"

    def _read(self, name: str) -> Loaded:
        model = load(name, self.device, self.trust)
        guidance = model.checkpoint.config.get("guidance") or {}
        try:
            trained_on = model.checkpoint.training_patients
        except InputError:
            trained_on = None
        return Loaded(model, float(guidance.get("scale", SCALE)), trained_on)
