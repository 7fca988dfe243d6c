"""What every campaign starts from: a small trained run, volumes in fastMRI's layout, and the commands on them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults.process import Room, run
from condiff.commands import ema, likelihood, prepare, reconstruct, sample, train
from condiff.data.phantom.volumes import Phantom

MAIN: dict[str, Callable[[], object]] = {
    "train": train.main,
    "sample": sample.main,
    "likelihood": likelihood.main,
    "ema": ema.main,
    "prepare": prepare.main,
    "reconstruct": reconstruct.main,
}
VOLUMES = Phantom(patients=4, slices=2, coils=2, matrix=32, seed=1)
SMALL = [
    "experiment=smoke", "data.phantom.matrix=32", "data.batch_size=4", "data.steps_per_epoch=2", "net.channels=[8,8]",
    "net.patch=1", "trainer.accelerator=cpu", "trainer.precision=32-true", "callbacks.grid.steps=2",
    "callbacks.grid.num_samples=1", "callbacks.progress.refresh_rate=0",
]  # fmt: skip
ONE = ["data.volumes_per_contrast=1", "data.held_out_per_contrast=1"]
READY = ["data.contrasts=[AXT1,AXT2,AXFLAIR]", "data.matrix=32", *ONE]


@dataclass
class Base:
    """Folders and files.

    Attributes:
        cache: of the run; shared by the commands on it.
        run: the folder of a finished run.
        volumes: a folder of volumes.
    """

    folder: Path
    cache: Path
    run: Path
    volumes: Path

    @property
    def checkpoint(self) -> Path:
        return self.run / "checkpoints/last.ckpt"

    @property
    def scans(self) -> list[str]:
        """The words of reconstruct.py that choose the volumes; so small they need much of the centre of k-space."""
        return [f"data.root={self.volumes}", "seen=true", "acceleration=2", "mask.center_fraction=0.3"]

    def room(self, name: str, own_cache: bool = False) -> Room:
        return Room(self.folder / "rooms" / name, None if own_cache else self.cache)


@dataclass
class Result:
    """Of one try: its faults by column of the table, and the last line that was printed."""

    name: str
    faults: dict[str, str] = field(default_factory=dict)
    last: str = ""


def make(folder: Path) -> Base:
    """Train the run and write the volumes. Raises RuntimeError with what training printed where it failed."""
    folder.mkdir(parents=True, exist_ok=True)
    VOLUMES.build(folder)
    base = Base(folder, folder / "cache", folder / "rooms/base/out", folder / VOLUMES.key)
    room = base.room("base")
    outcome = run(train.main, room, [*SMALL, f"hydra.run.dir={room.out}"], seconds=300)
    if outcome.code:
        raise RuntimeError(outcome.text)
    return base


def command(name: str, base: Base, checkpoint: Path, room: Room) -> tuple[Callable[[], object], list[str]]:
    """An entry point and the words that give it a checkpoint."""
    out, few = f"out={room.out}", ["steps=2", "accelerator=cpu"]
    new = [*SMALL, "trainer.max_epochs=1", f"hydra.run.dir={room.out}"]
    scan = [*base.scans, "volumes=1", "slices=[1]"]
    entry, words = {
        "sample": ("sample", [f"ckpt={checkpoint}", "num_samples=1", "format=nifti", out, *few]),
        "resume": ("train", [f"resume={checkpoint}", "trainer.max_epochs=3", f"hydra.run.dir={room.out}"]),
        "resume_anywhere": ("train", [f"resume={checkpoint}", "trainer.max_epochs=3"]),
        "init": ("train", [f"init={checkpoint}", *new]),
        "teacher": (
            "train",
            ["experiment=consistency", f"teacher={checkpoint}", "data=phantom_small", "net=unet_small", *ONE, *new[1:]],
        ),
        "autoencoder": ("train", [*new, "model=latent", f"model.autoencoder={checkpoint}"]),
        "likelihood": ("likelihood", [f"ckpt={checkpoint}", "num_images=2", out, *few]),
        "likelihood_beside": ("likelihood", [f"ckpt={checkpoint}", "num_images=2", *few]),
        "reconstruct_beside": ("reconstruct", [f"ckpt={checkpoint}", *scan, *few]),
        "ema": ("ema", [f"ckpt={checkpoint}", f"out={room.out}/ema.ckpt"]),
        "reconstruct": ("reconstruct", [f"ckpt={checkpoint}", *scan, out, *few]),
    }[name]
    return MAIN[entry], words
