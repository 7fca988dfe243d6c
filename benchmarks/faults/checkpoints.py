"""Damaged checkpoints: cut short, or a bit flipped in the pickle, the weights or the directory of the archive."""

import io
import os
import random

import torch

from benchmarks.faults.base import Base, Result
from benchmarks.faults.process import run
from condiff.checkpoint import Checkpoint
from condiff.errors import InputError

SECONDS = 30
OTHER = 3  # the exit code where weights differ from those saved


def damaged(good: bytes, number: int) -> bytes:
    """The same bytes, damaged in the number-th way."""
    rng, data = random.Random(number), bytearray(good)
    pickle = good.find(b"data.pkl")
    place = {
        1: range(pickle + 60, pickle + 9000),  # the configuration
        2: range(len(data)),  # mostly the weights
        3: range(len(data) - 6000, len(data)),  # the directory
    }.get(number % 4)
    if place is None:
        return bytes(data[: rng.randrange(len(data))])
    data[rng.choice(place)] ^= 1 << rng.randrange(8)
    return bytes(data)


def jobs(base: Base, scale: float) -> list[tuple]:
    return [(number,) for number in range(round(300 * scale))]


def attempt(base: Base, number: int) -> Result:
    """Load one, and compare its weights with those of the good one."""
    room = base.room(f"checkpoint-{os.getpid()}")
    content, buffer = torch.load(base.checkpoint, weights_only=True), io.BytesIO()
    for heavy in ("optimizer_states", "current_model_state", "callbacks", "loops"):
        content.pop(heavy, None)
    torch.save(content, buffer)
    path = room.folder / "damaged.ckpt"
    path.write_bytes(damaged(buffer.getvalue(), number))

    def load() -> None:
        try:
            checkpoint = Checkpoint.read(path)
            state = checkpoint.model().state_dict()
            _ = checkpoint.training_patients
        except InputError as error:
            print(error)
            raise SystemExit(1) from None
        if not all(torch.equal(state[name.removeprefix("model.")], weight) for name, weight in content["state_dict"].items()):
            raise SystemExit(OTHER)

    outcome = run(load, room, seconds=SECONDS)
    faults = {"lost": "loaded with other weights"} if outcome.code == OTHER else outcome.faults()
    room.clear()
    return Result(f"checkpoint {number}", faults, outcome.last)
