"""Do generated images obey the signal equation? TE and TR are swept through values that no training volume had.

    python train.py model=acquisition data=phantom_protocols trainer.max_epochs=20
    python -m benchmarks.acquisition RUN/checkpoints/last.ckpt OUT [samples a value]

A network that learned it from the phantom's own truth, over all contrasts and protocols, says how much white matter, grey matter
and CSF is in every pixel of a generated image; their signals then follow by least squares, image by image. Ratios of the signals
are compared with the signal equation, and so are those of phantom volumes made with the same held-out protocols, read by the same
network: what it gets wrong itself. OUT/acquisition.png is the figure, OUT/acquisition.json the numbers, OUT/reader.pt the
network, which is used again: another checkpoint's data need another OUT.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from condiff.checkpoint import Checkpoint, registry
from condiff.data.datamodule import MRIDataModule
from condiff.data.datasets import SliceDataset
from condiff.data.fastmri.reader import read_magnitude
from condiff.data.phantom.datamodule import PhantomDataModule
from condiff.data.phantom.volumes import BRAIN, CONTRASTS, TISSUES
from condiff.diffusion.guidance import identity
from condiff.files import pictures
from condiff.mri.signal import Protocol
from condiff.nn import UNet
from condiff.sampling import Sampling, make_requests, sample

SWEEPS = {("AXT2", "te"): (0.7, 0.9, 1.1, 1.4), ("AXT2", "tr"): (0.7, 0.9, 1.4), ("AXT1", "tr"): (0.7, 0.9, 1.1, 1.4)}
PAIRS = (("grey", "white"), ("csf", "white"))
BATCH, STEPS = 32, 2500
WIDTH = 32  # of the network at full resolution
MOSTLY, LEAST = 0.97, 5.0  # of a pixel, to be counted as brain; pixels of each tissue, to measure it
SLICE = 0.55  # through the ventricles: elsewhere is too little CSF to measure
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def truth(part: SliceDataset, size: int) -> Tensor:
    """[N, 4, size, size]: the shares of `BRAIN`, and of all else."""
    found = []
    for volume, index in zip(part.volume_index.tolist(), part.slice_index.tolist(), strict=True):
        with h5py.File(part.volumes[volume].path) as file:
            found.append(torch.from_numpy(file["tissue"][index]) / 255)
    brain = F.adaptive_avg_pool2d(torch.stack(found), size)
    return torch.cat([brain, 1 - brain.sum(dim=1, keepdim=True)], dim=1)


class Reader(nn.Module):
    """Where the tissues are, whatever the contrast and whatever the brightness: magnitudes [N, H, W] -> shares [N, 4, H, W].

    Its cross-entropy is least at the mean of what the shares can be, given the image; least squares on such means is unbiased.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = UNet(1, 0, (WIDTH, 64, 96), (1, 1, 1), (False, False, False), patch=1)
        self.net.head[-1] = nn.Conv2d(WIDTH, len(BRAIN) + 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images[:, None], images.new_zeros(len(images))).softmax(dim=1)


def reader(data: MRIDataModule) -> Reader:
    """One that has learned from the training volumes' own truth."""
    torch.manual_seed(0)
    images, wanted = data.spec.transform.magnitude(data.train.images()), truth(data.train, data.spec.shape[-1])
    net = Reader().to(DEVICE)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in track(range(STEPS), "Learning where tissues are", transient=True):
        chosen = torch.randint(len(images), (16,))
        seen = (0.7 + 0.6 * torch.rand(16, 1, 1)) * images[chosen]
        loss = -(net(seen.to(DEVICE)).clamp_min(1e-6).log() * wanted[chosen].to(DEVICE)).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return net.eval()


def kept(path: Path, data: MRIDataModule) -> Reader:
    """The reader, learned once."""
    if not path.is_file():
        torch.save(reader(data).state_dict(), path)
    net = Reader().to(DEVICE)
    net.load_state_dict(torch.load(path, map_location=DEVICE))
    return net.eval()


@torch.no_grad()
def ratios(net: Reader, images: Tensor) -> dict[tuple[str, str], list[float]]:
    """Of the signals of tissues, image by image where all are there; magnitudes [N, H, W]."""
    found: dict[tuple[str, str], list[float]] = {pair: [] for pair in PAIRS}
    for part in images.split(BATCH):
        for image, share in zip(part, net(part.to(DEVICE)).cpu()[:, : len(BRAIN)], strict=True):
            brain = share.sum(dim=0) > MOSTLY
            if share[:, brain].sum(dim=1).min() < LEAST:
                continue
            signal = dict(zip(BRAIN, signals(image, share, brain).tolist(), strict=True))
            for one, other in PAIRS:
                found[one, other].append(signal[one] / signal[other])
    return found


def signals(image: Tensor, share: Tensor, brain: Tensor) -> Tensor:
    """Of the tissues, [3], where image [H, W] = shading (sum of signal share [3, H, W]), least squares over the pixels of brain.

    The shading, a quadratic polynomial, is what the coils make of it; shading and signals are fitted in turn.
    """
    v, u = torch.meshgrid(torch.linspace(-1, 1, image.shape[0]), torch.linspace(-1, 1, image.shape[1]), indexing="ij")
    terms = torch.stack([torch.ones_like(u), u, v, u * u, v * v, u * v])[:, brain].T
    seen, value = share[:, brain].T, image[brain, None]
    shading = torch.ones_like(value)
    for _ in range(20):
        signal = torch.linalg.lstsq(shading * seen, value).solution
        shading = terms @ torch.linalg.lstsq(terms * (seen @ signal), value).solution
        shading = shading / shading.mean()
    return signal[:, 0]


def protocol(contrast: str, name: str, factor: float) -> Protocol:
    own = CONTRASTS[contrast].protocol
    return replace(own, **{name: getattr(own, name) * factor})


def expected(contrast: str, of: Protocol, pair: tuple[str, str]) -> float:
    one, other = (CONTRASTS[contrast].signal(TISSUES[name], of) for name in pair)
    return one / other


def main(ckpt: str, out: str, each: int = 48) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = Checkpoint.read(ckpt)
    model, data, own = checkpoint.model().to(DEVICE), checkpoint.data(), checkpoint.config["sampler"]
    if not isinstance(data, PhantomDataModule):
        sys.exit(f"{ckpt}: was not trained on the phantom")
    data.prepare_data()
    data.setup()
    net = kept(folder / "reader.pt", data)
    how = Sampling(registry.build("fn", own["fn"], ckpt), identity, own["steps"], BATCH)  # guidance exaggerates contrast
    rows, strips = [], dict[str, Tensor]()
    for (contrast, name), factors in SWEEPS.items():
        for factor in factors:
            of = protocol(contrast, name, factor)
            known = {key: getattr(of, key) for key in ("tr", "te", "flip")} | {"slice": SLICE}
            requests = make_requests([contrast], each, seed=0, parameters=known)
            images = data.spec.transform.magnitude(torch.cat(sample(model, data.spec, requests, how)))
            strips.setdefault(f"{contrast}, {name} {of.tr if name == 'tr' else of.te:.0f} ms", images[:6])
            real = phantom(data, contrast, name, factor)
            for pair in PAIRS:
                row = {"contrast": contrast, "swept": name, "value": getattr(of, name), "ratio": "/".join(pair)}
                row |= {"signal equation": expected(contrast, of, pair)}
                for title, source in (("generated", images), ("phantom", real)):
                    logs = torch.tensor(ratios(net, source)[pair]).clamp(min=1e-3).log()
                    mean = logs.mean().exp().item()  # geometric
                    row |= {title: mean, f"{title}, standard error": mean * logs.std().item() / max(len(logs), 1) ** 0.5}
                    row |= {f"{title}, images": len(logs)}
                    row |= {f"{title}, error": row[title] / row["signal equation"] - 1}
                rows.append(row | {"against the phantom": row["generated"] / row["phantom"] - 1})
    (folder / "acquisition.json").write_text(json.dumps(rows, indent=1))
    tell(rows)
    plot(rows).savefig(folder / "acquisition.png", dpi=100)
    pictures.grid({"the same noise": strips}).save(folder / "sweep.png")


def phantom(data: PhantomDataModule, contrast: str, name: str, factor: float) -> Tensor:
    """Magnitudes of phantom volumes that nobody was trained on, made with that protocol alone."""
    factors: dict[str, Any] = {"tr_factors": (1.0,), "te_factors": (1.0,), f"{name}_factors": (factor,)}
    root = replace(data.phantom, patients=4, seed=1000, **factors).build(data.cache_folder)
    stacks = [data.spec.transform(*read_magnitude(path))[0] for path in sorted(root.glob(f"*_{contrast}_*.h5"))]
    return data.spec.transform.magnitude(torch.cat(stacks))


def tell(rows: list[dict]) -> None:
    table = Table(
        "contrast", "swept, ms", "ratio", "signal equation", "phantom, read", "generated", "error", "against the phantom"
    )
    for row in rows:
        cells = [f"{row[key]:.3f}" for key in ("signal equation", "phantom", "generated")]
        errors = [f"{row[key]:+.1%}" for key in ("generated, error", "against the phantom")]
        table.add_row(row["contrast"], f"{row['swept']} {row['value']:.0f}", row["ratio"], *cells, *errors)
    Console(width=130).print(table)
    for key in ("generated, error", "against the phantom"):
        every = torch.tensor([row[key] for row in rows]).abs()
        print(f"tissue ratios at held-out values, {key}: mean {every.nanmean():.1%}, worst {every.nan_to_num().max():.1%}")


def plot(rows: list[dict]) -> plt.Figure:
    figure, axes = plt.subplots(1, len(SWEEPS), figsize=(4 * len(SWEEPS), 3.5), constrained_layout=True)
    for axis, (contrast, name) in zip(axes, SWEEPS, strict=True):
        own = getattr(CONTRASTS[contrast].protocol, name)
        values = torch.linspace(0.6, 1.6, 60)
        for colour, pair in zip(("tab:blue", "tab:orange"), PAIRS, strict=True):
            curve = [expected(contrast, protocol(contrast, name, factor), pair) for factor in values.tolist()]
            axis.plot(own * values, curve, color=colour, label=f"{'/'.join(pair)}, signal equation")
            mine = [row for row in rows if (row["contrast"], row["swept"], row["ratio"]) == (contrast, name, "/".join(pair))]
            at = [row["value"] for row in mine]
            for title, marker in (("generated", "o"), ("phantom", "x")):
                error = [row[f"{title}, standard error"] for row in mine]
                axis.errorbar(
                    at, [row[title] for row in mine], error, fmt=marker, color=colour, label=f"{'/'.join(pair)}, {title}"
                )
        axis.set(title=f"{contrast}: {name.upper()} swept", xlabel="ms")
    axes[0].legend(fontsize=6)
    return figure


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:4]))
