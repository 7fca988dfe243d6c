"""Does the search for copies know a person again? Two visits of one person, and new people, of a BIDS tree with sessions.

    python -m benchmarks.visits DIR [SEED …]        # seeds 0 1 2; images as of experiment=real_brain

Half of the people are trained on, a quarter is held out and sets the limit, a quarter is searched as new people. People with
several visits are trained on, with their first; the later ones are searched. So are all but one contrast of every second
person that is trained on. A row per kind and space: the share of slices that are flagged, the share whose nearest training
image shows the same person, and their distance over the limit.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path
from random import Random

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from rich.console import Console
from rich.progress import track
from rich.table import Table

from condiff.configuration import CONF
from condiff.data.volume import Volume
from condiff.evaluation.evaluate import copy_spaces
from condiff.evaluation.inputs import real_images
from condiff.evaluation.memorization import flag_limit
from condiff.evaluation.sets import ImageSet

TRAINING, HELD_OUT, NEW = "training", "held out", "a new person"
VISIT, CONTRAST = "another visit, same contrast", "another contrast, same visit"


def images_of(root: str) -> tuple[ImageSet, list[Volume]]:
    """All images of a tree, and the volume of each."""
    with initialize_config_dir(str(CONF), version_base=None):
        cfg = compose("train", overrides=["experiment=real_brain", f"data.root={root}", "run=."])
    data = instantiate(cfg.data)
    volumes = [volume for volume in data.volumes.select(data.volumes.index.volumes) if volume.contrast in data.spec.contrasts]
    slices = data.volumes.dataset(volumes, data.spec.conditioning, "all")
    return real_images(data.spec, slices, max_images=len(slices)), [slices.volumes[i] for i in slices.volume_index.tolist()]


def visit(volume: Volume) -> str:
    """The session in a file's name; empty without one."""
    found = re.search(r"_ses-([A-Za-z0-9]+)", volume.path.name)
    return found[1] if found else ""


def roles(volumes: list[Volume], seed: int) -> dict[str, list[int]]:
    """Indices of the images that are trained on, held out and searched."""
    scans = defaultdict(set)  # (visit, contrast) of every person
    for volume in volumes:
        scans[volume.patient].add((visit(volume), volume.contrast))
    returning = sorted(person for person, own in scans.items() if len({session for session, _ in own}) > 1)
    others = sorted(scans.keys() - {*returning})
    Random(seed).shuffle(others)
    half, quarter = len(others) // 2, len(others) // 4
    role = dict.fromkeys(others[half:-quarter], HELD_OUT) | dict.fromkeys(others[-quarter:], NEW)
    result = defaultdict(list)
    for index, volume in enumerate(volumes):
        own, person = scans[volume.patient], volume.patient
        first_visit, first_contrast = min(own)
        kind = role.get(person, TRAINING)
        if visit(volume) != first_visit:
            kind = VISIT if (first_visit, volume.contrast) in own else "unused"
        elif person in others[:half:2] and volume.contrast != first_contrast:
            kind = CONTRAST
        result[kind].append(index)
    return result


def main(root: str, seeds: list[int]) -> None:
    images, volumes = images_of(root)
    people = sorted({volume.patient for volume in volumes})
    patient = torch.tensor([people.index(volume.patient) for volume in volumes])
    ratios, right = defaultdict(list), defaultdict(list)
    for seed in track(seeds, "Searching"):
        index = {role: torch.tensor(indices) for role, indices in roles(volumes, seed).items()}
        for space, search in copy_spaces(images[index[TRAINING]]):
            limit = flag_limit(search(images.pixels[index[HELD_OUT]]).distance)
            for role in (VISIT, CONTRAST, NEW):
                found = search(images.pixels[index[role]])
                nearest = patient[index[TRAINING][found.training_index]]
                ratios[role, space].append(found.distance / limit)
                right[role, space].append((nearest == patient[index[role]]).double())
    table = Table("searched", "space", "slices", "flagged", "nearest is the person", "distance over the limit: 5 %, 50 %")
    for (role, space), values in ratios.items():
        ratio, same = torch.cat(values), torch.cat(right[role, space])
        low, middle = ratio.quantile(torch.tensor([0.05, 0.5], dtype=ratio.dtype)).tolist()
        shares = f"{100 * (ratio < 1).double().mean():.1f} %", "–" if role == NEW else f"{100 * same.mean():.0f} %"
        table.add_row(role, space, str(len(ratio)), *shares, f"{low:.2f}, {middle:.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main(str(Path(sys.argv[1]).resolve()), [int(word) for word in sys.argv[2:]] or [0, 1, 2])
