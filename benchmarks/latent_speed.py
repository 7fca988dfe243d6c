"""What a training step and a sample cost, of images and of their codes, side by side.

    python -m benchmarks.latent_speed [rounds]

Medians over interleaved rounds, batches of 8; a sample is the evaluations that the default sampler and guidance take, and the
decoder once. Ratios are to the default network on images of the same size.
"""

import statistics
import sys
import time

import torch
from hydra.utils import instantiate
from rich.console import Console
from rich.table import Table

from condiff.configuration import compose
from condiff.training.precision import candidates

BATCH, EVALUATIONS = 8, 26
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
KINDS = [
    (size, net, codec)
    for size in (160, 320)
    for net, codec in (("unet", "pixels"), ("unet_latent", "kl_f4"), ("unet_latent", "kl_f8"))
]


class Kind:
    """A network on the codes of images of a size."""

    def __init__(self, size: int, net: str, codec: str):
        cfg = compose("train", ["run=unused", f"net={net}", f"codec={codec}"])
        made = {} if codec == "pixels" else {"image_channels": 1}
        self.codec, self.size = instantiate(cfg.codec, **made).to(DEVICE), (size, size)
        self.x = torch.randn(BATCH, *self.codec.shape((1, size, size)), device=DEVICE)
        self.net = instantiate(cfg.net, image_channels=self.x.shape[1], cond_dim=4).to(DEVICE)
        self.optimizer = torch.optim.AdamW(self.net.parameters())
        self.rest = torch.zeros(BATCH, device=DEVICE), torch.zeros(BATCH, 4, device=DEVICE)

    def step(self) -> None:
        with torch.autocast(DEVICE, torch.bfloat16, enabled="bf16-mixed" in candidates(torch.device(DEVICE))):
            loss = self.net(self.x, *self.rest).square().mean()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    @torch.no_grad()
    def evaluate(self) -> None:
        self.net(self.x, *self.rest)

    @torch.no_grad()
    def decode(self) -> None:
        self.codec.decode(self.x, self.size)


def seconds(work) -> float:
    begin = time.perf_counter()
    work()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - begin) / BATCH


def main(rounds: int = 7) -> None:
    kinds = {key: Kind(*key) for key in KINDS}
    found: dict = {key: {"train": [], "evaluate": [], "decode": []} for key in kinds}
    for turn in range(rounds + 1):
        for key, kind in kinds.items():
            for name, work in (("train", kind.step), ("evaluate", kind.evaluate), ("decode", kind.decode)):
                took = seconds(work)
                if turn:  # the first warms up
                    found[key][name].append(took)
    table = Table("size", "net", "codec", "train, ms an image", "×", "sample, ms an image", "×")
    for key, times in found.items():
        train, sample = cost(times)
        of_train, of_sample = cost(found[key[0], "unet", "pixels"])
        cells = f"{1000 * train:.1f}", f"{of_train / train:.1f}", f"{1000 * sample:.0f}", f"{of_sample / sample:.1f}"
        table.add_row(*map(str, key), *cells)
    Console(width=110).print(table)


def cost(times: dict[str, list[float]]) -> tuple[float, float]:
    """Of a training step and of a sample, an image."""
    train, evaluation, decoding = (statistics.median(times[name]) for name in ("train", "evaluate", "decode"))
    return train, EVALUATIONS * evaluation + decoding


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
