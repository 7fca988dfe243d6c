"""kill -9 at a random moment of each command; then the same command again: nothing is lost, and the results are equal."""

import hashlib
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import torch

from benchmarks.faults.base import MAIN, READY, SMALL, Base, Result
from benchmarks.faults.process import Room, run
from condiff.data.phantom.volumes import Phantom

SECONDS = 240


class Work(NamedTuple):
    """A command that can be killed.

    Attributes:
        main, words: what is called, in a room.
        again: the words that go on after a kill.
        results: what it leaves in a room, by name; reading it raises where a file is damaged.
        whole: whether a file that has its name is complete, also after a kill.
        share: of all kills.
    """

    main: Callable[[], object]
    words: Callable[[Base, Room], list[str]]
    again: Callable[[Base, Room], list[str]]
    results: Callable[[Room], dict[str, str]]
    whole: bool
    share: float


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def files(pattern: str) -> Callable[[Room], dict[str, str]]:
    """The bytes of files in the room's cache."""

    def results(room: Room) -> dict[str, str]:
        found = sorted(path for path in room.cache.rglob(pattern) if path.is_file())
        return {path.name: digest(path.read_bytes()) for path in found}

    return results


def trained(room: Room) -> dict[str, str]:
    """The weights of the finished run."""
    path = room.out / "checkpoints/last.ckpt"
    if not path.is_file():
        return {}
    content = torch.load(path, weights_only=True)
    weights = b"".join(weight.numpy().tobytes() for weight in content["state_dict"].values())
    return {f"epoch {content['epoch']}": digest(weights)}


def images(room: Room) -> dict[str, str]:
    """The images of the room's HDF5 files, without what they cost."""
    found = {}
    for path in sorted(room.out.rglob("*.h5")):
        with h5py.File(path) as file:
            found[path.name] = digest(repr([file[name][()].tolist() for name in file]).encode())
    return found


def build_volumes() -> None:
    """What training does first, alone."""
    Phantom(patients=3, slices=2, coils=2, matrix=64, seed=2).build(Path(os.environ["CONDIFF_CACHE"]))


def training(base: Base, room: Room) -> list[str]:
    return [*SMALL, "trainer.max_epochs=8", f"data.cache={base.cache}", f"hydra.run.dir={room.out}"]


def resuming(base: Base, room: Room) -> list[str]:
    last = room.out / "checkpoints/last.ckpt"
    return [*training(base, room), f"resume={last}"] if last.is_file() else training(base, room)


def preparing(base: Base, room: Room) -> list[str]:
    return [f"data.root={base.volumes}", f"data.cache={room.cache}", "data.transform=complex", "data.workers=0", *READY]


def preparing_by_two(base: Base, room: Room) -> list[str]:
    return [word.replace("workers=0", "workers=2") for word in preparing(base, room)]


def sampling(base: Base, room: Room) -> list[str]:
    return [f"ckpt={base.checkpoint}", "num_samples=8", "steps=20", "batch_size=4", "accelerator=cpu", f"out={room.out}"]


def reconstructing(base: Base, room: Room) -> list[str]:
    words = [*base.scans, "volumes=4", "steps=4", "accelerator=cpu"]
    return [f"ckpt={base.checkpoint}", *words, f"out={room.out}"]


def no_words(base: Base, room: Room) -> list[str]:
    return []


WORKS = {
    "phantom": Work(build_volumes, no_words, no_words, files("*.h5"), True, 0.2),
    "prepare": Work(MAIN["prepare"], preparing, preparing, files("*.images"), True, 0.2),
    "prepare_by_two": Work(MAIN["prepare"], preparing_by_two, preparing_by_two, files("*.images"), True, 0.06),
    "train": Work(MAIN["train"], training, resuming, trained, False, 0.3),
    "sample": Work(MAIN["sample"], sampling, sampling, images, False, 0.1),
    "reconstruct": Work(MAIN["reconstruct"], reconstructing, reconstructing, images, False, 0.14),
}


def jobs(base: Base, scale: float) -> list[tuple]:
    """(command, number, results and seconds of an undisturbed run); 100 of them at scale 1."""
    found = []
    for name, work in WORKS.items():
        count = round(100 * scale * work.share)
        if not count:
            continue
        room = base.room(f"undisturbed-{name}", own_cache=True)
        outcome = run(work.main, room, work.words(base, room), seconds=SECONDS)
        if outcome.code:
            raise RuntimeError(f"{name}: {outcome.text}")
        found += [(name, number, work.results(room), outcome.seconds) for number in range(count)]
        room.clear()
    return found


def attempt(base: Base, name: str, number: int, expected: dict[str, str], seconds: float) -> Result:
    """Kill a command once, then let it end."""
    work, room = WORKS[name], base.room(f"kill-{os.getpid()}", own_cache=True)
    at = random.Random(f"{name} {number}").uniform(0.05, 0.95) * seconds
    killed = run(work.main, room, work.words(base, room), seconds=SECONDS, stop=(lambda elapsed: elapsed > at, signal.SIGKILL))
    lost = [f"{killed.left} processes left"] if killed.left else []
    try:
        there = work.results(room)
        lost += [f"{key} damaged" for key in there if work.whole and there[key] != expected.get(key)]
    except (OSError, RuntimeError, KeyError) as error:
        lost.append(f"unreadable: {error}")
    outcome = run(work.main, room, work.again(base, room), seconds=SECONDS)
    faults = {key: text for key, text in outcome.faults().items() if key in ("traceback", "hang")}
    if outcome.code or work.results(room) != expected:
        lost.append(f"after the kill at {at:.1f} s: code {outcome.code}, {outcome.last}")
    room.clear()
    return Result(f"{name} {number}", faults | ({"lost": "; ".join(lost)} if lost else {}), outcome.last)
