"""Translation of the images of a file to other contrasts, sample.py init=FILE: translated.h5 and translated.png."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from condiff.data.image_spec import ImageSpec
from condiff.diffusion.model import DiffusionModel
from condiff.errors import InputError, counted
from condiff.files import dicom, nifti, pictures, results, samples_h5
from condiff.images import FIGURE_IMAGES_PER_CONTRAST, Images
from condiff.progress import progress_bar
from condiff.sampling import SampleRequest, Sampling
from condiff.sampling.translation import Source, check_source, steps_of, translate

MANY = 16  # images, whose translation takes a while
VOLUME_SUFFIXES = {"nifti": ".nii.gz", "dicom": ".dcm"}


def translate_file(
    cfg: DictConfig,
    model: DiffusionModel,
    spec: ImageSpec,
    requests: list[SampleRequest],
    sampling: Sampling,
    out: Path,
    settings: dict[str, Any],
) -> None:
    """Translates the images of ``init`` to the contrast of each group of requests, and writes them to ``out``."""
    source = source_of(cfg, spec)
    check_source(model, spec, source, cfg.strength)
    targets = [
        request for request in requests[:: cfg.num_samples] if cfg.contrast is not None or request.contrast != source.contrast
    ]
    few = "; init_slices=[…] takes some of them" if cfg.init_slices is None and len(source.images) > MANY else ""
    print(f"source      {counted(len(source.images), 'image')} of {cfg.init}{few}")
    batches = -(-len(source.images) // sampling.batch_size)
    with progress_bar("Translating", len(targets) * batches * steps_of(sampling, cfg.strength)) as tick:
        seeded = (SampleRequest(target.contrast, cfg.seed, target.parameters, target.extrapolate) for target in targets)
        translations = {target.label: translate(model, spec, source, target, sampling, cfg.strength, tick) for target in seeded}
    results.keep(out, settings)
    labels = [label for label, images in translations.items() for _ in images]
    seeds = [cfg.seed + index for images in translations.values() for index in range(len(images))]
    strength = {"strength": cfg.strength} if cfg.strength is not None else {}
    attributes = {"checkpoint": str(cfg.ckpt), "init": str(cfg.init), "source": source.contrast or "", "steps": cfg.steps}
    samples_h5.save_h5(out / "translated.h5", torch.cat([*translations.values()]), labels, seeds, **attributes, **strength)
    picture(spec, source, translations).save(out / "translated.png")
    if suffix := VOLUME_SUFFIXES.get(cfg.format):
        (out / cfg.format).mkdir(exist_ok=True)
        for target in targets:
            values, label = translations[target.label], target.label
            volume = Images(values, spec, (label,) * len(values), tuple(range(len(values))), target.parameters, source.scan)
            path = out / cfg.format / f"{nifti.file_stem(label)}{suffix}"
            dicom.remove_series(path)  # of a former run
            volume.save(path)
    images = counted(len(source.images), "image")
    print(f"translated  {images} to {', '.join(translations)}: {out}/translated.png, {out}/translated.h5")


def source_of(cfg: DictConfig, spec: ImageSpec) -> Source:
    """Returns the images of a file, and their contrast. Raises InputError for missing slices."""
    source = Source.of(cfg.init, spec).named(cfg.source)
    images = source.images
    chosen = list(range(len(images))) if cfg.init_slices is None else list(cfg.init_slices)
    if not all(0 <= index < len(images) for index in chosen):
        raise InputError(f"init_slices={chosen}: {cfg.init} has {len(images)}, counted from 0")
    scan = source.scan.of_slices(chosen) if source.scan and cfg.format in VOLUME_SUFFIXES else None
    return Source(images[chosen], source.contrast, scan)


def picture(spec: ImageSpec, source: Source, translations: dict[str, Tensor]) -> Any:
    """Returns a picture of some of the images, above their translations."""
    bright = spec.transform.magnitude(source.images).mean(dim=(1, 2))
    visible = (bright > bright.max() / 4).nonzero()[:, 0]  # the first and last slices of a volume may show air
    indices = visible[torch.linspace(0, len(visible) - 1, min(FIGURE_IMAGES_PER_CONTRAST, len(visible))).round().long()]
    rows = {f"from {source.contrast or 'any'}": source.images} | translations
    return pictures.grid(
        {"source and translations": {name: spec.transform.magnitude(images[indices]) for name, images in rows.items()}}
    )
