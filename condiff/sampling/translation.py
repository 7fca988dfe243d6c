"""Contrast translation of images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from condiff.data import image_files
from condiff.data.image_spec import ImageSpec
from condiff.diffusion.editing import sdedit, translation
from condiff.diffusion.guidance import FiniteWatch
from condiff.diffusion.model import DiffusionModel
from condiff.diffusion.noise import SeededNoise
from condiff.errors import InputError, check_number
from condiff.files.place import Place
from condiff.images import Images
from condiff.sampling.batch import Sampling, decode
from condiff.sampling.requests import ANY, SampleRequest


class Source(NamedTuple):
    """Images [N, C, H, W] to translate, their contrast, None if unknown or unknown to the model, and the place of their scan."""

    images: Tensor
    contrast: str | None
    scan: Place | None = None

    @classmethod
    def of(cls, images: Images | str | Path, spec: ImageSpec) -> "Source":
        """Images, or those of a file (`image_files.read`).

        Raises:
            InputError: images of another size, a file without images, or something else.
        """
        if isinstance(images, Images):
            images.check_fit(spec)
            names = {*images.contrasts}
            return cls(images.values, names.pop() if len(names) == 1 and ANY not in names else None, images.scan)
        if not isinstance(images, str | Path):
            raise InputError(f"images: is {type(images).__name__}; give Images, as sample and translate return, or a file")
        values, contrast, scan = image_files.read(Path(images), spec)
        return cls(values, contrast if contrast in spec.contrasts else None, scan)

    def named(self, contrast: str | None) -> "Source":
        """The images with a given contrast. Raises InputError if theirs is known to be another."""
        if contrast and self.contrast and contrast != self.contrast:
            raise InputError(f"source={contrast}: the images are {self.contrast}; leave source out")
        return Source(self.images, contrast or self.contrast, self.scan)


def steps_of(sampling: Sampling, strength: float | None) -> int:
    """Returns how many times `translate` calls ``on_step`` per batch. Raises InputError for a strength that is not a number."""
    if strength is not None:
        check_number("strength", strength)
    return 2 * sampling.steps - 1 if strength is None else round(strength * sampling.steps)


@torch.no_grad()
def translate(
    model: DiffusionModel,
    spec: ImageSpec,
    source: Source,
    target: SampleRequest,
    sampling: Sampling,
    strength: float | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """Returns the images [N, C, H, W] in another contrast.

    Without ``strength`` by DDIM inversion (`condiff.diffusion.editing.translation`), which needs the contrast of the source; with
    it by SDEdit (`sdedit`).

    Args:
        target: its seed, counted up per image, is that of the noise of SDEdit.

    Raises:
        InputError: as `check_source` does.
    """
    check_source(model, spec, source, strength)
    sigmas, size = model.schedule.steps(sampling.steps), (spec.shape[1], spec.shape[2])
    encode = spec.conditioning.encode
    conds = encode(source.contrast), encode(target.contrast, target.parameters, target.extrapolate)

    def translate_batch(indices: Sequence[int]) -> Tensor:
        batch = source.images[list(indices)].to(model.device)
        before, after = (cond.expand(len(batch), -1).to(batch) for cond in conds)
        x, watch = model.codec.encode(batch), FiniteWatch(model)
        denoise = sampling.guidance(watch)
        if strength is None:
            walk = translation(denoise, x, sigmas, before, after)
        else:
            noise = SeededNoise([target.seed + index for index in indices])
            walk = sdedit(denoise, sampling.sampler, x, sigmas, strength, after, noise=noise)
        for state in walk:
            x = state
            on_step()
        watch.check()
        return decode(model, x, size)

    return torch.cat([*sampling.batches.map(translate_batch, range(len(source.images)))])


def check_source(model: DiffusionModel, spec: ImageSpec, source: Source, strength: float | None) -> None:
    """Raises InputError for an unconditional model, or a source whose contrast is missing or unknown to the model."""
    if not model.conditional:
        raise InputError("ckpt: the model is unconditional, so it cannot translate between contrasts; give another")
    if strength is None and source.contrast is None:
        names = " or ".join(spec.contrasts)
        raise InputError(f"source: the contrast of the images is unknown; give it, source={names}, or set strength")
    if source.contrast is not None and source.contrast not in spec.contrasts:
        raise InputError(f"source={source.contrast}: unknown to this model, which has {', '.join(spec.contrasts)}")
