"""Generate: images of a contrast, and how they change with the acquisition parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor, log10
from pathlib import Path
from typing import Any

from PIL import Image

from condiff.app.models import Loaded
from condiff.app.show import enlarged
from condiff.configuration import chosen
from condiff.data.conditioning import PARAMETERS, AcquisitionCondition
from condiff.errors import InputError, check_whole
from condiff.files import nifti, pictures
from condiff.images import Images
from condiff.model import Model
from condiff.sampling import make_requests, resolve_contrasts, sample

OF_RUN = "of the training run"
PREVIEW_SAMPLER, PREVIEW_STEPS = "dpmpp", 6  # adds no noise, so the head is that of the image with all steps
KEPT = 16  # sets of images that are remembered
MOST = 8  # images at once
UNITS = {"tr": "ms", "te": "ms", "ti": "ms", "flip": "degrees", "field": "T"}
TITLES = {"tr": "TR", "te": "TE", "ti": "TI", "flip": "Flip angle", "field": "Field strength", "slice": "Slice position"}
Spans = Mapping[str, tuple[float, float]]  # parameter -> lowest, highest


@dataclass(frozen=True)
class Settings:
    """What is generated; equal settings give equal images.

    Attributes:
        parameters: pairs of name and value.
    """

    contrast: str
    parameters: tuple[tuple[str, float], ...]
    guidance: float
    sampler: str
    steps: int
    seed: int
    n: int


def spans(model: Model, contrast: str) -> Spans:
    """Returns the ranges of the acquisition parameters in the training images of a contrast; empty if the model knows none."""
    condition = model.spec.conditioning
    if not isinstance(condition, AcquisitionCondition) or condition.ranges is None or not model.network.conditional:
        return {}
    found = {name: condition.range_of(name, contrast) for name in PARAMETERS}
    return {name: (float(low), float(high)) for name, (low, high) in found.items() if low <= high}


def parameters_of(model: Model) -> list[str]:
    """Returns the acquisition parameters that vary within any contrast: those that a slider makes sense for."""
    varying = [name for contrast in model.contrasts for name, (low, high) in spans(model, contrast).items() if low < high]
    return [name for name in ("te", "tr", "ti", "flip", "field", "slice") if name in varying]


def step_of(low: float, high: float) -> float:
    """Returns the step of a slider: a power of ten, about a hundredth of the range."""
    return 10.0 ** floor(log10((high - low) / 50)) if high > low else 1.0


def middle(low: float, high: float) -> float:
    """Returns the middle of a range, on the slider's steps."""
    step = step_of(low, high)
    return min(max(round((low + high) / 2 / step) * step, low), high)


def shared(model: Model, name: str) -> bool:
    """Returns whether a parameter has the same range in all contrasts."""
    return len({spans(model, contrast).get(name) for contrast in model.contrasts}) == 1


def known(model: Model, contrast: str, given: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """Returns the parameters of a contrast: those given, and those with one value in all training images."""
    return tuple((name, low if low == high else given[name]) for name, (low, high) in spans(model, contrast).items())


class Generator:
    """Images of a model; the last ones are remembered."""

    def __init__(self, loaded: Loaded):
        self.model, self.scale = loaded.model, loaded.scale
        self._images: dict[Settings, Images] = {}

    def images(self, settings: Settings) -> Images:
        """Returns the images with all steps. Raises InputError for settings that the model does not know."""
        if settings not in self._images:
            self._images[settings] = self._sample(settings)
            if len(self._images) > KEPT:
                del self._images[next(iter(self._images))]
        return self._images[settings]

    def preview(self, settings: Settings) -> Images:
        """Returns the images with few steps, while a slider moves; with all steps if these images are known already."""
        if settings in self._images or settings.steps <= PREVIEW_STEPS:
            return self.images(settings)
        return self._sample(replace(settings, sampler=PREVIEW_SAMPLER, steps=PREVIEW_STEPS))

    def denoising(self, settings: Settings) -> list[Image.Image]:
        """Returns the first image at each noise level, from noise to image."""
        how = self.model.sampling_with(*self._how(settings), batch_size=1)
        contrasts = resolve_contrasts(self._contrast(settings), self.model.spec.contrasts, self.model.network.conditional)
        requests = make_requests(contrasts, 1, settings.seed, parameters=dict(settings.parameters), record=1)
        [states] = sample(self.model.network, self.model.spec, requests, how)
        return [enlarged(image) for image in self.model.spec.transform.magnitude(states).numpy()]

    def default_sampler(self) -> str:
        """Returns the sampler that the page begins with: one without noise, unless the run's own takes few steps."""
        return OF_RUN if self.model.sampling.steps <= PREVIEW_STEPS else PREVIEW_SAMPLER

    def default_steps(self, sampler: str) -> int:
        """Returns the number of steps that a sampler has by default."""
        return self.model.sampling.steps if sampler == OF_RUN else int(chosen("sampler", sampler, "sample").sampler.steps)

    def _sample(self, settings: Settings) -> Images:
        check(settings)
        sampler, steps, guidance = self._how(settings)
        how: Any = {"sampler": sampler, "steps": steps, "guidance": guidance, **dict(settings.parameters)}
        return self.model.sample(self._contrast(settings), settings.n, settings.seed, **how)

    def _contrast(self, settings: Settings) -> str | None:
        return settings.contrast if self.model.network.conditional else None

    def _how(self, settings: Settings) -> tuple[str | None, int, float | None]:
        """Sampler, steps and guidance as `Model.sample` takes them: None is the run's own, guidance with its clamp."""
        sampler = None if settings.sampler == OF_RUN else settings.sampler
        return sampler, settings.steps, None if settings.guidance == self.scale else settings.guidance


def check(settings: Settings) -> None:
    """Raises InputError for a field that is empty, or too many images."""
    for name, value in (*settings.parameters, ("guidance scale", settings.guidance)):
        if value is None:
            raise InputError(f"{TITLES.get(name, name)}: is empty; give a number")
    check_whole("steps", settings.steps)
    check_whole("seed", settings.seed, at_least=0)
    if not 1 <= settings.n <= MOST:
        raise InputError(f"images={settings.n}: give a number from 1 to {MOST}")


def save(images: Images, folder: Path) -> list[str]:
    """Writes images as PNG, NIfTI and HDF5. Returns the paths."""
    stem = f"{nifti.file_stem(images.contrasts[0])}_{images.seeds[0]:06d}"
    return [str(images.save(folder / f"{stem}{suffix}")) for suffix in (".png", ".nii.gz", ".h5")]


def save_animation(frames: Sequence[Image.Image], folder: Path) -> Path:
    """Writes an animation of the denoising as GIF. Returns the path."""
    pictures.save_gif(folder / "denoising.gif", frames)
    return folder / "denoising.gif"
