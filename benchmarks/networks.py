"""A training step and a sampling step of our networks and of those people would use instead, side by side.

    python -m benchmarks.networks [size] [channels] [rounds] [batch]  # 160 1 7 4; peers: pip install -e ".[peers]"

Peers that are not installed are left out. The network's own loss is replaced by a mean square for all; the
optimizer is the fastest each offers (fused AdamW). The reference of the ratios is diffusers' network in float32.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.side_by_side import interleaved, peak_memory, ratio
from condiff.nn import ContextUNet, UNet
from condiff.training.precision import candidates

CLASSES = 4
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def diffusers(size: int, channels: int) -> nn.Module:
    """25.3 M parameters: two blocks a level, attention at the last."""
    from diffusers import UNet2DModel

    net: Any = UNet2DModel(
        size, channels, channels, layers_per_block=2, block_out_channels=(64, 128, 256, 256), num_class_embeds=CLASSES,
        down_block_types=("DownBlock2D", "DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    return net


def monai(size: int, channels: int) -> nn.Module:
    """The same network."""
    from monai.networks.nets import DiffusionModelUNet

    return DiffusionModelUNet(
        2, channels, channels, num_res_blocks=2, channels=(64, 128, 256, 256), attention_levels=(False, False, False, True),
        num_head_channels=8, num_class_embeds=CLASSES,
    )  # fmt: skip


def lucidrains(size: int, channels: int) -> nn.Module:
    """denoising-diffusion-pytorch's, 17.9 M parameters; without classes, which it does not take."""
    from denoising_diffusion_pytorch import Unet

    return Unet(64, dim_mults=(1, 2, 4, 4), channels=channels)


def ancestor(size: int, channels: int) -> nn.Module:
    """The MNIST program's, 128 features, with the larger window of the write-up's."""
    return ContextUNet(channels, CLASSES, 128, window=8)


def equal(size: int, channels: int) -> nn.Module:
    """Ours at diffusers' number of parameters and of operations: patches of 2, depth where the pixels are."""
    return UNet(channels, CLASSES, (192, 224, 256, 192), (5, 3, 1, 1), (False, False, False, True), patch=2)


def default(size: int, channels: int) -> nn.Module:
    """Ours as train.py has it, net=unet."""
    return UNet(channels, CLASSES, (32, 64, 128), (1, 1, 1), (False, False, False), patch=2)


PEERS = {"diffusers": diffusers, "monai": monai, "denoising_diffusion_pytorch": lucidrains}
OURS = {"context_unet": ancestor, "equal": equal, "default": default}
Call = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]


def call(name: str) -> Call:
    """(network, x, t, one-hot condition) -> output."""
    calls: dict[str, Call] = {
        "diffusers": lambda net, x, t, cond: net(x, t, cond.argmax(1)).sample,
        "monai": lambda net, x, t, cond: net(x, t, class_labels=cond.argmax(1)),
        "denoising_diffusion_pytorch": lambda net, x, t, cond: net(x, t),
    }
    return calls.get(name, lambda net, x, t, cond: net(x, t, cond))


def installed(package: str) -> bool:
    try:
        return bool(import_module(package))
    except ImportError:
        return False


def build(name: str, shape: tuple[int, int, int, int]) -> tuple[nn.Module, tuple[Tensor, Tensor, Tensor]]:
    """A network for images of a shape [B, C, H, W], and what to give it."""
    torch.manual_seed(0)
    net = (PEERS | OURS)[name](shape[-1], shape[1]).to(DEVICE)
    kind = torch.arange(shape[0], device=DEVICE) % CLASSES
    return net, (torch.randn(shape, device=DEVICE), torch.full(shape[:1], 0.5, device=DEVICE), one_hot(kind, CLASSES).float())


def training(name: str, shape: tuple[int, int, int, int], bfloat16: bool, compiled: bool = False) -> Callable[[], object]:
    """A function that takes one training step."""
    net, inputs = build(name, shape)
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    run: Any = torch.compile(net) if compiled else net
    target, forward = torch.randn_like(inputs[0]), call(name)

    def step() -> None:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=bfloat16):
            loss = (forward(run, *inputs) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def sampling(name: str, shape: tuple[int, int, int, int], bfloat16: bool, compiled: bool = False) -> Callable[[], object]:
    """A function that evaluates the network once."""
    net, inputs = build(name, shape)
    run: Any = torch.compile(net.eval()) if compiled else net.eval()
    forward = call(name)

    def step() -> None:
        with torch.no_grad(), torch.autocast(DEVICE, torch.bfloat16, enabled=bfloat16):
            forward(run, *inputs)

    return step


def size_of(name: str, size: int, channels: int) -> tuple[float, float]:
    """Millions of parameters, and 10^9 floating-point operations of an image, forward."""
    net, inputs = build(name, (1, channels, size, size))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call(name)(net, *inputs)
    return sum(p.numel() for p in net.parameters()) / 1e6, counter.get_total_flops() / 1e9


def main(size: int = 160, channels: int = 1, rounds: int = 7, batch: int = 4) -> None:
    shape = (batch, channels, size, size)
    names = [*(name for name in PEERS if installed(name)), *OURS]
    native = "bf16-mixed" in candidates(torch.device(DEVICE))
    ways = {f"{name} {'bf16' if low else 'float32'}": (name, low, False) for low in {False, native} for name in names}
    ways["default compiled"] = ("default", native, True)
    table = Table("network", "M parameters", "GFLOP", "train ms/image", "×", "sample ms/image", "×", "MiB, train step")
    trains = {way: training(name, shape, low, compiled) for way, (name, low, compiled) in ways.items()}
    begin = time.perf_counter()
    trains["default compiled"]()
    print(f"torch.compile of the default's training step: {time.perf_counter() - begin:.0f} s")
    train = interleaved(trains, rounds)
    del trains
    sample = interleaved({way: sampling(name, shape, *how) for way, (name, *how) in ways.items()}, rounds)
    reference = next(iter(ways))
    for way, (name, low, compiled) in ways.items():
        parameters, flops = size_of(name, size, channels)
        memory = peak_memory(partial(training, name, shape, low)) if not compiled else float("nan")
        cells = [f"{parameters:.1f}", f"{flops:.3g}"]
        for times in (train, sample):
            cells += [f"{1000 * median(times[way]) / batch:.0f}", f"{ratio(times, way, reference):.2f}"]
        table.add_row(way, *cells, f"{memory:.0f}")
    print(f"{size} x {size}, {channels} channels, batches of {batch}, {DEVICE}, {torch.get_num_threads()} threads")
    Console(width=130).print(table)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
