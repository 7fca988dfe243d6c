"""Files and pictures of samples: grid, denoising, mean and variance."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condiff.data.conditioning import NOTHING
from condiff.data.image_spec import ImageSpec
from condiff.diffusion.generate import to_vp
from condiff.diffusion.model import DiffusionModel
from condiff.files import dicom, nifti, pictures
from condiff.images import Images
from condiff.sampling.batch import frame_indices
from condiff.sampling.requests import SampleRequest
from condiff.seeds import derive_seed

Rows = dict[str, dict[str, Tensor]]


def save(out: Path, images: Images, frames: Sequence[Any]) -> None:
    """Writes samples as HDF5 and as a picture, their mean and variance, and an animation of their denoising."""
    images.save(out / "samples.h5")
    images.save(out / "samples.png")
    if len(images) > len({*images.contrasts}):
        pictures.grid(statistics(images)).save(out / "statistics.png")
    pictures.save_gif(out / "denoising.gif", frames)


def save_nifti(folder: Path, images: Images) -> None:
    """Writes one NIfTI file per sample; complex images as magnitude and phase."""
    complex_or_magnitude = images.spec.transform.image(images.values)
    nifti.save_nifti(folder, complex_or_magnitude, images.contrasts, images.seeds, images.spec.place(1))


def save_dicom(folder: Path, images: Images) -> None:
    """Writes one DICOM series per sample, of one magnitude, in ``<contrast>_<seed>.dcm/``, in place of those of a former run."""
    for image in images:
        series = folder / f"{nifti.file_stem(image.contrasts[0])}_{image.seeds[0]:06d}.dcm"
        dicom.remove_series(series)
        image.save(series)


def images_of(
    spec: ImageSpec, requests: Sequence[SampleRequest], states: Sequence[Tensor], parameters: Mapping[str, Any] = NOTHING
) -> Images:
    """Returns the samples, the last of their states, as `Images`."""
    labels, seeds = (tuple(getattr(request, name) for request in requests) for name in ("label", "seed"))
    return Images(torch.stack([trajectory[-1] for trajectory in states]), spec, labels, seeds, parameters)


def animation(spec: ImageSpec, requests: Sequence[SampleRequest], states: Sequence[Tensor]) -> list[Any]:
    """Returns one picture per state of the recorded requests."""
    recorded = [(request, trajectory) for request, trajectory in zip(requests, states, strict=True) if request.record]
    shown_requests = [request for request, _ in recorded]
    frames = torch.stack([trajectory for _, trajectory in recorded], dim=1)
    return [images_of(spec, shown_requests, list(frame[:, None])).picture() for frame in frames]


def statistics(images: Images) -> Rows:
    """Returns mean and pixel-wise variance of the samples of each contrast; the variance is divided by its maximum."""
    magnitudes = torch.from_numpy(images.magnitude)
    names = dict.fromkeys(images.contrasts)
    groups = {name: magnitudes[torch.tensor([contrast == name for contrast in images.contrasts])] for name in names}
    variance = {label: group.var(dim=0, correction=0)[None] for label, group in groups.items()}
    maximum = max(float(image.max()) for image in variance.values()) or 1.0
    return {
        "mean": {label: group.mean(dim=0)[None] for label, group in groups.items()},
        f"variance (white {maximum:.2g})": {label: image / maximum for label, image in variance.items()},
    }


@torch.no_grad()
def process(
    model: DiffusionModel, spec: ImageSpec, reverse: Tensor, real: Tensor | None, seed: int, steps: int, kind: str = "real"
) -> Rows:
    """Returns rows of a picture: a real image [1, C, H, W] with noise added, above the states of a sample at the same levels.

    Args:
        reverse: states [F, C, H, W] of the sample.
        kind: name of the real image in the picture.
    """
    frames = frame_indices(steps)
    chosen = torch.linspace(len(frames) - 1, 0, min(9, len(frames))).round().long()
    rows = {"sampling <-": spec.transform.magnitude(reverse)[chosen]}
    if real is None:
        return {"noise level, low to high": rows}
    sigmas = model.schedule.steps(steps)[torch.tensor(frames)[chosen]].view(-1, 1, 1, 1)
    generator = torch.Generator().manual_seed(derive_seed("process", seed))
    code = model.codec.encode(real)
    noised = to_vp(code + sigmas * torch.randn(code.shape, generator=generator), sigmas)
    forward = spec.transform.magnitude(model.codec.decode(noised, (real.shape[-2], real.shape[-1])))
    return {"noise level, low to high": {f"{kind} ->": forward} | rows}
