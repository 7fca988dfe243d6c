"""Models as the commands compose them from conf/, on random images, and the two steps that the benchmark times."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.networks import DEVICE
from condiff.configuration import compose
from condiff.data.datasets import Sample
from condiff.data.latents import LatentSample
from condiff.data.statistics import Statistics
from condiff.training.build import Origin, resolve_data_dependent_fields
from condiff.training.diffusion import DiffusionSystem

MEASURED = Statistics(sigma_data=0.5, log_sigma_mean=-0.5, log_sigma_std=1.2, sigma_max=50.0)
STEPS = 1_000_000  # of a run that is never finished, so that no average is stored
FASTMRI = ("data=fastmri", "data.root=unused")
TOY = ("data.matrix=16", "data.downsample=1", "net.channels=[8,8]", "net.blocks=[1,1]", "net.attention=[false,true]")
COPIES = 4  # of each image's code


@dataclass(frozen=True)
class Case:
    """A model by the words of its command line, and a batch that fills a GPU."""

    words: tuple[str, ...]
    batch: int


CASES = {
    "default, 64": Case((), 512),
    "unet_160, 160": Case((*FASTMRI, "net=unet_160"), 64),
    "unet_320, 320, complex": Case(("experiment=complex_brain_320", "data.root=unused"), 32),
    "latent_brain, 320": Case(("experiment=latent_brain", "data.root=unused"), 128),
}


@lru_cache
def configuration(words: tuple[str, ...], toy: bool) -> DictConfig:
    """The resolved configuration of ``train.py`` for a command line; no data are read for it."""
    cfg = compose("train", ["run=unused", "data.cache=unused", *words, *(TOY if toy else ())])
    data = instantiate(cfg.data)
    if "image_channels" in list(cfg.codec):
        cfg.codec.image_channels = data.spec.shape[0]
    return resolve_data_dependent_fields(cfg, Origin(), data.spec, instantiate(cfg.codec), MEASURED)


class Program:
    """The system that ``train.py`` would train, and its images' codes.

    Args:
        words: of the command line.
    """

    def __init__(self, words: tuple[str, ...], toy: bool):
        torch.manual_seed(0)
        self.cfg = configuration(words, toy)
        self.data: Any = instantiate(self.cfg.data)
        self.system: DiffusionSystem = instantiate(self.cfg.model).to(DEVICE)
        self.spec = self.data.spec
        self.shape = self.system.model.codec.shape(self.spec.shape)

    def inputs(self, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, c, h, w], sigma [B] and the condition [B, D]."""
        cond = torch.zeros(batch, self.spec.conditioning.dim, device=DEVICE)
        cond[:, 0] = 1
        return torch.randn(batch, *self.shape, device=DEVICE), torch.full((batch,), 0.5, device=DEVICE), cond

    def batch(self, size: int) -> Any:
        """A training batch on the device."""
        x, _, cond = self.inputs(size)
        if self.system.is_latent:
            return LatentSample(x[:, None].repeat(1, COPIES, 1, 1, 1), cond)
        return Sample(x, cond)

    def flops(self) -> float:
        """Floating-point operations of one evaluation per image."""
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self.system.model(*self.inputs(1))
        return float(counter.get_total_flops())

    def parameters(self) -> float:
        """Of the network, in millions."""
        return sum(p.numel() for p in self.system.model.denoiser.parameters()) / 1e6

    def compile(self) -> None:
        """As ``train.py compile=true``."""
        for network in self.system.networks:
            network.compile()


class Training:
    """A training step as Lightning takes it: augmentation, loss, backward, clipping, optimizer, rate, averages of the weights."""

    def __init__(self, program: Program, batch: int, bfloat16: bool):
        self.program, self.bfloat16, self.given = program, bfloat16, program.batch(batch)
        loop = SimpleNamespace(total_batch_idx=0)
        self.trainer: Any = SimpleNamespace(
            fit_loop=loop, global_step=0, global_rank=0, world_size=1, is_global_zero=True, training=True,
            estimated_stepping_batches=STEPS, _results=None, barebones=True,
        )  # fmt: skip
        system: Any = program.system
        system.log = lambda *_, **__: None
        system.trainer = self.trainer
        program.data.trainer = self.trainer
        configured: Any = system.configure_optimizers()
        self.optimizer, self.rate = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
        self.parameters = list(system.model.denoiser.parameters())
        self.clip = program.cfg.trainer.gradient_clip_val
        self.callbacks = [instantiate(program.cfg.callbacks[name]) for name in ("ema", "averages")]
        for callback in self.callbacks:
            callback.setup(self.trainer, system, "fit")
            callback.on_fit_start(self.trainer, system)

    def __call__(self) -> None:
        program = self.program
        batch = program.data.on_after_batch_transfer(self.given, 0)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=self.bfloat16):
            outputs = program.system.training_step(batch, 0)
        self.optimizer.zero_grad()
        outputs["loss"].backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        self.rate.step()
        self.trainer.global_step += 1
        self.trainer.fit_loop.total_batch_idx += 1
        for callback in self.callbacks:
            callback.on_train_batch_end(self.trainer, program.system, outputs, batch, 0)


def evaluation(program: Program, batch: int, bfloat16: bool) -> Callable[[], object]:
    """A function that denoises a batch once."""
    return partial(_denoise, program.system.model.eval(), program.inputs(batch), bfloat16)


@torch.no_grad()
def _denoise(model: torch.nn.Module, inputs: tuple[Tensor, ...], bfloat16: bool) -> Tensor:
    with torch.autocast(DEVICE, torch.bfloat16, enabled=bfloat16):
        return model(*inputs)
