"""How near does translation come to the truth? Pairs of one head in two contrasts, of the phantom and of NIfTI files.

    python train.py
    python -m benchmarks.translation RUN/checkpoints/last.ckpt OUT [NIFTI_T1 NIFTI_T2 ...]

Heads of the phantom that nobody was trained on are made in every contrast with the same anatomy. The NIfTI files, co-registered
and named ..._T1.nii.gz, ..._T1POST.nii.gz, ..._T2.nii.gz, ..._FLAIR.nii.gz behind the same patient's name, are paired with each
other. Each T1 is translated into the other contrasts by DDIM inversion and by SDEdit of several strengths; PSNR and SSIM
are those of magnitudes, of volume's maximum. OUT/translation.json has the numbers, OUT/*.png the images.
"""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from condiff.checkpoint import Checkpoint, registry
from condiff.data import image_files
from condiff.data.image_spec import ImageSpec
from condiff.data.phantom.volumes import CONTRASTS, FOV_MM, Phantom
from condiff.diffusion.guidance import identity
from condiff.files import pictures
from condiff.mri.fourier import center_crop, ifft2c, rss
from condiff.reconstruction.metrics import psnr, ssim
from condiff.sampling import SampleRequest, Sampling
from condiff.sampling.translation import Source, translate

SOURCE, STRENGTHS, HEADS, STEPS = "AXT1", (0.5, 0.7, 0.85), 4, 30
NAMES = {"T1": "AXT1", "T1W": "AXT1", "T1POST": "AXT1POST", "T2": "AXT2", "T2W": "AXT2", "FLAIR": "AXFLAIR"}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def heads(phantom: Phantom, spec: ImageSpec) -> dict[str, Tensor]:
    """The same new heads in every contrast, images [N, C, H, W]."""
    phantom = replace(phantom, tr_factors=(1.0,), te_factors=(1.0,))
    found: dict[str, list[Tensor]] = {name: [] for name in CONTRASTS}
    for head in range(HEADS):
        for name, contrast in CONTRASTS.items():
            kspace, _ = phantom._acquired(contrast, torch.Generator().manual_seed(10_000 + head))
            magnitude = center_crop(rss(ifft2c(kspace)), (phantom.matrix, phantom.matrix))
            found[name].append(spec.transform(magnitude, (FOV_MM / phantom.matrix,) * 2)[0])
    return {name: torch.cat(images) for name, images in found.items()}


def pairs(paths: list[Path], spec: ImageSpec) -> dict[str, Tensor]:
    """The middle slices of NIfTI volumes of one patient, by contrast."""
    found = {}
    for path in paths:
        images, _, _ = image_files.read(path, spec)
        middle = torch.linspace(0.45, 0.7, 6).mul(len(images)).long()
        found[NAMES[path.name.split(".")[0].rsplit("_", 1)[-1]]] = images[middle]
    return found


def main(ckpt: str, out: str, *nifti: str) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = Checkpoint.read(ckpt)
    model, spec, config = checkpoint.model().to(DEVICE), checkpoint.spec(), checkpoint.config
    how = Sampling(registry.build("fn", config["sampler"]["fn"], ckpt), identity, STEPS)
    sets = {"phantom": heads(registry.build("phantom", config["data"].get("phantom"), ckpt), spec)}
    for patient in sorted({Path(name).name.rsplit("_", 1)[0] for name in nifti}):
        sets[patient] = pairs([Path(name) for name in nifti if Path(name).name.startswith(f"{patient}_")], spec)
    rows = list[dict[str, Any]]()
    for title, images in sets.items():
        shown = {}
        for target in (name for name in images if name != SOURCE):
            truth = spec.transform.magnitude(images[target])
            run = partial(translate, model, spec, Source(images[SOURCE], SOURCE), SampleRequest(target, 0), how)
            made = {"source as it is": images[SOURCE], "DDIM inversion": run()}
            made |= {f"strength {strength}": run(strength) for strength in STRENGTHS}
            for name, image in made.items():
                found = spec.transform.magnitude(image)
                rows.append({"set": title, "target": target, "by": name, "psnr": psnr(truth, found), "ssim": ssim(truth, found)})
            shown[target] = {name: spec.transform.magnitude(image)[1:8:2] for name, image in made.items()} | {
                "truth": truth[1:8:2]
            }
        names = list(next(iter(shown.values())))
        pictures.grid({name: {t: shown[t][name] for t in shown} for name in names}).save(folder / f"{title}.png")
    (folder / "translation.json").write_text(json.dumps(rows, indent=1))
    table = Table("set", "target", "by", "PSNR, dB", "SSIM")
    for row in rows:
        table.add_row(row["set"], row["target"], row["by"], f"{row['psnr']:.1f}", f"{row['ssim']:.3f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main(*sys.argv[1:])
