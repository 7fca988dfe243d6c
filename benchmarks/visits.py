"""Does the search for copies know a person again? Two visits of one person, and new people, of a BIDS tree with sessions.

    python -m benchmarks.visits DIR [SEED …]        # seeds 0 1 2; images as of experiment=real_brain

Half of the people are trained on, a quarter is held out and sets the limit, a quarter is searched as new people. People with
several visits are trained on, with their first; the later ones are searched. So are all but one contrast of every second
person that is trained on. Two tables: slices, by space; people, by the median distance of their slices in the anatomy space.
People who are found though they should be new are named: they may be in the tree twice.
"""

import re
import sys
from collections import Counter, defaultdict
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
from condiff.evaluation.memorization import flag_limit, trained_on_too
from condiff.evaluation.sets import ImageSet

TRAINING, HELD_OUT, NEW = "training", "held out", "a new person"
VISIT, CONTRAST = "another visit, same contrast", "another contrast, same visit"
SEARCHED = HELD_OUT, VISIT, CONTRAST, NEW


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
    names = sorted({volume.patient for volume in volumes})
    patient = torch.tensor([names.index(volume.patient) for volume in volumes])
    slices: dict[tuple[str, str], list[torch.Tensor]] = defaultdict(list)
    people: dict[str, list[tuple[str, float, bool]]] = defaultdict(list)
    for seed in track(seeds, "Searching"):
        index = {role: torch.tensor(indices) for role, indices in roles(volumes, seed).items()}
        found = {
            space: {role: search(images.pixels[index[role]]) for role in SEARCHED}
            for space, search in copy_spaces(images[index[TRAINING]])
        }
        usual = found["anatomy"][HELD_OUT].distance, patient[index[HELD_OUT]]
        twice = trained_on_too(*usual)
        for role in SEARCHED:
            distance, person = found["anatomy"][role].distance, patient[index[role]]
            also = trained_on_too(torch.cat([usual[0], distance]), torch.cat([usual[1], len(names) + person]))[len(twice) :]
            people[role] += [
                (names[n], distance[person == n].median().item(), bool(also[person == n][0])) for n in person.unique()
            ]
        for space, by_role in found.items():
            limit = flag_limit(by_role[HELD_OUT].distance[~twice])
            for role in SEARCHED[1:]:
                nearest = patient[index[TRAINING][by_role[role].training_index]]
                flagged, right = by_role[role].distance < limit, nearest == patient[index[role]]
                slices[role, space].append(torch.stack([flagged, right], 1).double())
    console = Console(width=120)
    table = Table("slices of", "space", "number", "flagged", "nearest is the person")
    for (role, space), rows in slices.items():
        flagged, right = torch.cat(rows).mean(0).tolist()
        number = sum(map(len, rows))
        table.add_row(role, space, str(number), f"{100 * flagged:.0f} %", "–" if role == NEW else f"{100 * right:.0f} %")
    console.print(table)
    table = Table("people", "number", "median distance", "found in the training set", "found though new")
    for role, medians_of in people.items():
        medians = torch.tensor([median for _, median, _ in medians_of]).quantile(torch.tensor([0, 0.5, 1])).tolist()
        known = Counter(name for name, _, is_known in medians_of if is_known)
        wrong = ", ".join(known) if role in (HELD_OUT, NEW) else ""
        low, middle, high = (f"{value:.2f}" for value in medians)
        table.add_row(role, str(len(medians_of)), f"{middle} ({low} to {high})", str(known.total()), wrong)
    console.print(table)


if __name__ == "__main__":
    main(str(Path(sys.argv[1]).resolve()), [int(word) for word in sys.argv[2:]] or [0, 1, 2])
