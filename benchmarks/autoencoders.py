"""What codes keep of an image: reconstructions of held-out images, contrast by contrast.

    python -m benchmarks.autoencoders OUT RUN/checkpoints/last.ckpt [others …]     # of model=autoencoder, or of latent models

PSNR and SSIM are of volumes, as fastMRI has them; the Fréchet distance is that of the reconstructions from the images they are
of, in the features of a random network, beside what the images of one half of the patients are from those of the other. The
variance is that of the codes of held-out images, 1 in the training set of a latent model. OUT/autoencoders.json, and pictures.
"""

import json
import math
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from condiff.checkpoint import Checkpoint
from condiff.evaluation import inputs
from condiff.evaluation.distances import frechet_distance
from condiff.evaluation.features import RandomFeatures, in_batches
from condiff.evaluation.metrics import standardized_features
from condiff.files import pictures
from condiff.nn import KLAutoencoder
from condiff.reconstruction.metrics import psnr, ssim

SHOWN = 4


@torch.no_grad()
def examined(ckpt: str, picture: Path) -> list[dict]:
    """A row a contrast, and one of all."""
    checkpoint = Checkpoint.read(ckpt)
    codec, data = checkpoint.codec(), checkpoint.data()
    if not isinstance(codec, KLAutoencoder):
        sys.exit(f"{ckpt}: is a model of pixels")
    data.prepare_data()
    data.setup()
    features = standardized_features(RandomFeatures(), inputs.real_images(data.spec, data.train, max_images=512))
    volumes, strips, codes = [], dict[str, list[Tensor]](), []
    for part in (data.val, data.test):
        for index, volume in enumerate(part.volumes):
            images = part.images((part.volume_index == index).nonzero()[:, 0])
            z = torch.cat([codec.encode(some) for some in images.split(8)])
            made = torch.cat([codec.decode(some, (images.shape[-2], images.shape[-1])) for some in z.split(8)])
            pair = data.spec.transform.magnitude(images), data.spec.transform.magnitude(made)
            volumes.append((volume.contrast, volume.patient, *pair))
            codes.append(z)
            strips.setdefault(volume.contrast, [one[len(one) // 2][None] for one in pair])
    rows = []
    for contrast in (*data.spec.contrasts, None):
        mine = [(real, made) for name, _, real, made in volumes if contrast in (None, name)]
        if not mine:
            continue
        first = {*sorted({patient for name, patient, *_ in volumes if contrast in (None, name)})[::2]}
        inside = [patient in first for name, patient, *_ in volumes if contrast in (None, name)]
        one, other = (in_batches(features, torch.cat([pair[i] for pair in mine])) for i in (0, 1))
        halves = [[real for (real, _), there in zip(mine, inside, strict=True) if there == half] for half in (True, False)]
        apart = frechet_distance(*(in_batches(features, torch.cat(half)) for half in halves)) if all(halves) else math.nan
        row = {"checkpoint": ckpt, "f": codec.size_multiple, "channels": codec.latent_channels, "contrast": contrast or "all"}
        row |= {"volumes": len(mine), "psnr": sum(psnr(*pair) for pair in mine) / len(mine)}
        row |= {"ssim": sum(ssim(*pair) for pair in mine) / len(mine), "frechet": frechet_distance(one, other)}
        row |= {"frechet of halves": apart, "variance": torch.cat(codes).var().item()}
        rows.append(row)
    titles = {"real": 0, "by way of its code": 1}
    pictures.grid({title: {name: pair[i] for name, pair in strips.items()} for title, i in titles.items()}).save(picture)
    return rows


def main(out: str, *ckpts: str) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for index, ckpt in enumerate(ckpts) for row in examined(ckpt, folder / f"{index}.png")]
    (folder / "autoencoders.json").write_text(json.dumps(rows, indent=1))
    table = Table("f", "channels", "contrast", "volumes", "PSNR, dB", "SSIM", "Fréchet", "of halves", "variance of codes")
    for row in rows:
        cells = [f"{row[key]:.3g}" for key in ("frechet", "frechet of halves", "variance")]
        table.add_row(
            *(str(row[key]) for key in ("f", "channels", "contrast", "volumes")),
            f"{row['psnr']:.1f}",
            f"{row['ssim']:.3f}",
            *cells,
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main(*sys.argv[1:])
