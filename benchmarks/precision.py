"""A training step in float32 and under bfloat16 autocast, side by side: python benchmarks/precision.py [overrides]."""

import sys
import time
from statistics import median

import hydra
import torch
from hydra.utils import instantiate
from rich.console import Console
from rich.table import Table

from condiff.entry import CONF

ROUNDS = 30


def main(overrides: list[str]) -> None:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("train", ["run=unused", *overrides])
    data = instantiate(cfg.data)
    cfg.net.image_channels, cfg.net.cond_dim = data.transform.shape[0], data.conditioning.dim
    system = instantiate(cfg.model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    denoiser = system.denoiser.to(device)
    optimizer = system.optimizer(denoiser.parameters())
    x0 = torch.randn(cfg.data.batch_size, *data.transform.shape, device=device)
    cond = torch.zeros(len(x0), data.conditioning.dim, device=device)

    def step(enabled: bool) -> float:
        begin = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=enabled):
            loss = denoiser.loss(x0, torch.randn_like(x0), system.schedule.sample(len(x0)).to(device), cond).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    times = [(step(False), step(True)) for _ in range(ROUNDS)][5:]
    table = Table("step", "median ms", "of float32")
    float32, bfloat16 = (median(column) for column in zip(*times, strict=True))
    table.add_row("float32", f"{1000 * float32:.0f}", "1")
    table.add_row("bfloat16 autocast", f"{1000 * bfloat16:.0f}", f"{median(b / a for a, b in times):.2f}")
    Console().print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
