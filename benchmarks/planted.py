"""What the search for copies finds: phantom heads of new patients among which copies of training images are planted.

    python -m benchmarks.planted [SEED …]        # seeds 0 1 2; about two minutes each on an idle core

prints a row per kind of copy: of 128 samples 3, 6, 12 or 50 % are copies; how many of them are named, in which spaces, and
whether the count alone would have been significant, p < 0.05 after Bonferroni. Means over the seeds. Last, the honest
samples that are named.
"""

import sys
from collections.abc import Callable

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from condiff.data.phantom.anatomy import draw_subject, smooth_field
from condiff.data.phantom.scanner import acquire, background_phase, coil_maps
from condiff.data.phantom.volumes import CONTRASTS, FOV_MM, _plane, _signals
from condiff.data.transforms import Magnitude
from condiff.evaluation.anatomy import gaussian_blur, rotate
from condiff.evaluation.evaluate import copy_spaces
from condiff.evaluation.memorization import NUM_SPACES, SIGNIFICANCE, copy_test, flag_limit
from condiff.evaluation.sets import ImageSet, mirror
from condiff.mri.fourier import center_crop, ifft2c, rss
from condiff.seeds import derive_seed

SIDE, SLICES = 64, 8
TRAIN, HELD_OUT, HONEST, COPIES = 10, 6, 32, 4  # of each contrast: patients, patients, samples, copies of each kind
SHARES = (0.03, 0.06, 0.12, 0.5)
NAMES = list(CONTRASTS)


def head(seed: int, contrasts: list[str], slices: list[int]) -> Tensor:
    """Slices of one phantom patient in some contrasts, [contrasts, slices, 64, 64], each with coils and noise of its own."""
    generator = torch.Generator().manual_seed(seed)
    subject, texture = draw_subject(generator), smooth_field(generator, 1, 25.0)
    shift, lowest = 4 * torch.randn(2, generator=generator), -22 + 8 * torch.rand((), generator=generator)
    planes = [_plane(2 * SIDE, shift, lowest + 9.75 * index) for index in slices]
    tissues = [(subject(points), 1 + 0.04 * texture(points)[0]) for points in planes]
    images, transform = [], Magnitude(SIDE, 1)
    for name in contrasts:
        signal = _signals(CONTRASTS[name], generator)
        receive = background_phase(generator, 2 * SIDE) * coil_maps(generator, 4, 2 * SIDE)
        scans = [sum(signal[t] * share for t, share in shares.items()) * grain * receive for shares, grain in tissues]
        kspace = torch.stack([acquire(scan, SIDE) for scan in scans])
        kspace = kspace + 0.012 * torch.randn(kspace.shape, dtype=torch.complex64, generator=generator)
        x, _ = transform(center_crop(rss(ifft2c(kspace)), (SIDE, SIDE)), (FOV_MM / SIDE, FOV_MM / SIDE))
        images.append(transform.image(x))
    return torch.stack(images)


def heads(seed: int, role: str, patients: int, slices: Callable[[int], list[int]]) -> ImageSet:
    """Slices of so many patients of every contrast."""
    parts = [
        (head(derive_seed(role, seed, kind, patient), [name], slices(patient))[0], kind, derive_seed(role, kind, patient))
        for kind, name in enumerate(NAMES)
        for patient in range(patients)
    ]
    counts = torch.tensor([len(pixels) for pixels, *_ in parts])
    kinds, patient = (torch.tensor(column).repeat_interleave(counts) for column in list(zip(*parts, strict=True))[1:])
    return ImageSet(torch.cat([pixels for pixels, *_ in parts]), kinds, patient)


def planted(seed: int, training: ImageSet) -> dict[str, Tensor]:
    """Copies of every kind of the same training images, [4 * COPIES, 64, 64]."""
    places = torch.arange(4 * COPIES)
    chosen = torch.tensor([(int(i) // COPIES * TRAIN + int(i) % COPIES) * SLICES + int(i) * 3 % SLICES for i in places])
    images = training.pixels[chosen]
    others = torch.stack(
        [
            head(
                derive_seed("train", seed, kind, patient),
                [NAMES[kind], NAMES[(kind + 1 + patient % 3) % 4]],
                list(range(SLICES)),
            )[1, index]
            for kind, patient, index in zip(
                (chosen // SLICES // TRAIN).tolist(), (chosen // SLICES % TRAIN).tolist(), (chosen % SLICES).tolist(), strict=True
            )
        ]
    )
    noise = 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    another = training.pixels[chosen + 5 * SLICES]  # of the same contrast and another patient
    return {
        "exact copy": images,
        "mirrored left-right": mirror(images, 1),
        "mirrored front-back": mirror(images, 2),
        "shifted by 1 pixel": images.roll(1, -1),
        "shifted by 2 pixels": images.roll((2, -1), (-2, -1)),
        "shifted by 4 pixels": images.roll((3, -4), (-2, -1)),
        "turned by 8 degrees": rotate(images, 8),
        "half of it, half of another": torch.cat([images[..., : SIDE // 2], another[..., SIDE // 2 :]], -1),
        "blurred, 1.5 pixels": gaussian_blur(images, 1.5),
        "noisy, 10 % of white": (images + noise).clamp(min=0),
        "gamma 0.7, 20 % brighter": 1.2 * images**0.7,
        "the anatomy in another contrast": others,
    }


def measure(seed: int) -> tuple[dict[str, dict[str, Tensor]], dict[str, float], Tensor]:
    """By space and set (held out, honest, each kind) the distances; the limits; the held-out patients."""
    training = heads(seed, "train", TRAIN, lambda patient: list(range(SLICES)))
    held_out = heads(seed, "held out", HELD_OUT, lambda patient: list(range(SLICES)))
    honest = heads(seed, "honest", HONEST, lambda patient: [patient % SLICES])
    sets = {"held out": held_out.pixels, "honest": honest.pixels, **planted(seed, training)}
    found = {
        space: {name: nearest(pixels).distance for name, pixels in track([*sets.items()], f"seed {seed}, {space}")}
        for space, nearest in copy_spaces(training)
    }
    return found, {space: flag_limit(distances["held out"]) for space, distances in found.items()}, held_out.patient


def main(seeds: list[int]) -> None:
    table = Table("planted", *(f"{100 * share:.0f} %: named · p < 0.05 in" for share in SHARES), "named by")
    results = [measure(seed) for seed in seeds]
    for kind in [*results[0][0]["pixels"]][2:]:
        cells = []
        for share in SHARES:
            shares, significant = [], []
            for found, limits, patient in results:
                honest = len(found["pixels"]["honest"])
                number = round(share * honest)
                chosen = torch.arange(number) * 7 % (4 * COPIES)  # again and again where more are wanted than there are
                named = torch.stack([found[s][kind][chosen] < limits[s] for s in found]).any(0)
                audits = [
                    copy_test(
                        torch.cat([found[s][kind][chosen], found[s]["honest"][number:]]),
                        found[s]["held out"],
                        patient,
                        NUM_SPACES * 4,
                    )
                    for s in found
                ]
                shares.append(named.double().mean().item())
                significant.append(min(one.p for one in audits) < SIGNIFICANCE)
            cells.append(f"{100 * sum(shares) / len(shares):.0f} % · {sum(significant)} of {len(seeds)}")
        where = {
            s: sum((f[s][kind] < lim[s]).double().mean().item() for f, lim, _ in results) / len(seeds) for s in results[0][0]
        }
        table.add_row(kind, *cells, ", ".join(f"{space} {100 * rate:.0f} %" for space, rate in where.items()))
    Console(width=160).print(table)
    for seed, (found, limits, _) in zip(seeds, results, strict=True):
        alarms = {space: int((distances["honest"] < limits[space]).sum()) for space, distances in found.items()}
        ratios = {s: round((d["honest"].min() / d["held out"].min()).item(), 2) for s, d in found.items()}
        print(f"seed {seed}: honest samples named of {4 * HONEST}: {alarms}; nearest honest over nearest held-out: {ratios}")


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [0, 1, 2])
