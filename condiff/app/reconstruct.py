"""Reconstruct: an undersampled scan, of a file or of the phantom, with a model as the prior."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hydra.utils import instantiate

from condiff.app.models import Loaded
from condiff.configuration import chosen
from condiff.data.fastmri.raw_scan import RawScan, read_raw_scan
from condiff.data.phantom.volumes import Phantom
from condiff.errors import InputError, check_number, check_whole
from condiff.reconstruction.acquisition import AcquisitionModel
from condiff.reconstruction.pipeline import SolvedVolume, results_of, solve_volume
from condiff.reconstruction.prior import Prior
from condiff.reconstruction.report import ESTIMATES, mean_metrics, overconfident, worse_than_zero_filling
from condiff.reconstruction.select_files import select_slices
from condiff.reconstruction.volume_file import ERROR_GAIN, EXPORTS, write_volume

METHODS = ("posterior", "dds", "sense", "zero_filled")
BATCH = 8
NEW_PATIENTS = 1_000_000  # seeds of the phantom above this one are in no training set


@dataclass(frozen=True)
class Settings:
    """How a scan is undersampled and reconstructed.

    Attributes:
        contrast: what the prior is conditioned on; None: that of the scan; "any": none.
        slice: counted from 0; None: the middle one.
    """

    mask: str
    acceleration: float
    method: str
    samples: int
    contrast: str | None = None
    slice: int | None = None
    seed: int = 0


def phantom_scan(folder: Path, contrast: str, seed: int) -> Path:
    """Writes a fully sampled slice of a phantom patient that is in no training set. Returns the path."""
    check_whole("patient", seed, at_least=0)
    return Phantom(patients=1, slices=1, seed=NEW_PATIENTS + seed).make_volume(folder, contrast)


def reconstruct(
    loaded: Loaded, path: Path, settings: Settings, on_step: Callable[[float], None] = lambda share: None
) -> SolvedVolume:
    """Returns a slice of a file, undersampled first if it is fully sampled, and reconstructed as `reconstruct.py` does.

    Raises:
        InputError: a file that cannot be read, or settings that the file, the method or the model does not fit.
    """
    model, device = loaded.model, loaded.model.network.device
    check_number("acceleration", settings.acceleration, at_least=1)
    prior = Prior(model.network, model.spec, batch_size=BATCH)
    sigma_data = f"sigma_data={model.sigma_data}"
    cfg = chosen("method", settings.method, "reconstruct", f"mask={settings.mask}", sigma_data)
    method = instantiate(cfg.method)
    solver = method.solver(prior, cfg.steps, settings.samples if method.needs_prior else 1, settings.seed)
    raw = read_raw_scan(path)
    slices = [chosen_slice(raw, settings.slice)]
    cond, typical = method.condition(prior, raw, settings.contrast, slices)
    mask, maps = instantiate(cfg.mask), instantiate(cfg.estimate_maps)
    scan = AcquisitionModel(prior.grid, maps, cfg.coils, mask, settings.acceleration, False, settings.seed)
    return solve_volume(raw, scan(raw, slices, device, typical), solver, cond, slices, on_step)


def slice_number(text: str) -> int | None:
    """Returns the number in a text; None if it is empty. Raises InputError for other text."""
    if not text.strip():
        return None
    try:
        return int(text)
    except ValueError:
        raise InputError(f"slice={text}: give a whole number, counted from 0, or nothing for the middle slice") from None


def chosen_slice(raw: RawScan, number: int | None) -> int:
    """Returns the number of a valid slice, by default the middle one. Raises InputError if it is not valid."""
    valid = select_slices(raw, None if number is None else [number])
    return valid[len(valid) // 2]


def panels(solved: SolvedVolume) -> list[tuple[str, np.ndarray]]:
    """Returns titles and magnitudes [H, W], white is 1: zero-filled, reconstruction, full scan, error, uncertainty."""
    mean, several = solved.samples.mean(dim=0), len(solved.samples) > 1
    images = {"zero-filled": solved.zero_filled, "mean of the samples" if several else "reconstruction": mean}
    if solved.reference:
        truth = solved.reference[0].abs()
        images |= {"full scan": truth, f"error x {ERROR_GAIN}": ERROR_GAIN * (mean.abs() - truth)}
    if several:
        images[f"uncertainty (standard deviation) x {ERROR_GAIN}"] = ERROR_GAIN * solved.samples.abs().std(dim=0)
        images["one sample"] = solved.samples[0]
    return [(title, (image.abs()[0] / solved.white).numpy()) for title, image in images.items()]


def numbers(solved: SolvedVolume) -> list[list[str]]:
    """Returns rows of estimate, PSNR and SSIM where the full scan is known."""
    metrics = results_of(solved, {}).get("combined", {})
    return [
        [ESTIMATES[key], f"{values['psnr']:.1f} dB", f"{values['ssim']:.3f}"]
        for key, values in metrics.items()
        if {"psnr", "ssim"} <= values.keys()
    ]


def remarks(loaded: Loaded, solved: SolvedVolume) -> list[str]:
    """Returns sentences about the scan and how far the result can be trusted."""
    volume, (rate, _), number = solved.raw.volume, solved.acquisition.acceleration, solved.slices[0]
    means = mean_metrics([results_of(solved, {})])
    scan = f"{volume.acquisition}, slice {number} (from 0) of {volume.slices}, {volume.coils} coils, acceleration {rate:.2g}"
    unknown = "" if solved.reference else "The file is not fully sampled, so the error is unknown."
    warnings = [f"Warning: {text}" for text in (worse_than_zero_filling(means), overconfident(means)) if text]
    return [f"{scan}.", unknown, loaded.patient_note(volume.patient.strip()), *warnings]


def save(solved: SolvedVolume, settings: Settings, folder: Path) -> list[str]:
    """Writes a reconstruction as `reconstruct.py` does: PNG, NIfTI and HDF5 with all samples. Returns the paths."""
    path = folder / f"{solved.raw.volume.path.stem}_{settings.method}.h5"
    write_volume(path, solved, results_of(solved, {"method": settings.method}), True, EXPORTS["nifti"])
    return [str(path.with_suffix(suffix)) for suffix in (".png", ".nii.gz", ".h5")]
