"""Quality against training time, for our default and for what people would use instead, on the phantom.

    python -m benchmarks.time_to_quality OUT [samples a contrast]     # 90 minutes on two cores; peers: pip install -e ".[peers]"

Every recipe learns from the same images for the same wall-clock time, in bfloat16 where the machine has it, and then
draws as many samples of each contrast;
they are compared with patients nobody trained on, as evaluate.py does it. OUT/time_to_quality.json is whole after every
recipe, and what it holds is not done again. OUT/time_to_quality.png is the plot.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import lightning as L
import matplotlib.pyplot as plt
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Timer
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.networks import installed
from benchmarks.samplers import SHOWN, judge
from condiff.configuration import CONF
from condiff.data.datamodule import MRIDataModule
from condiff.sampling import SampleRequest, Sampling, make_requests, sample
from condiff.training import DiffusionSystem
from condiff.training.build import Origin, diffusion
from condiff.training.precision import candidates
from condiff.training.stage import decide
from condiff.training.step_time import StepTimer

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BATCH = 32  # of samples
TRIED = 40  # steps
Draw = Callable[[list[SampleRequest]], Tensor]  # requests -> images [N, C, H, W]


def condiff(data: MRIDataModule, seconds: float, *overrides: str) -> tuple[Draw, float, int]:
    """Ours, as conf/ has it: how to draw, the seconds that training took, and its steps."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("train", ["run=unused", *overrides])
    cfg, _ = diffusion(cfg, Origin(), data, torch.device(DEVICE))
    data.batch_size = cfg.data.batch_size
    _, tried = fit(cfg, data, TRIED)
    steps = int(seconds / tried * TRIED)
    system, took = fit(cfg, data, steps)
    model, how = system.model.eval().to(DEVICE), Sampling(instantiate(cfg.sampler.fn), instantiate(cfg.guided), cfg.sampler.steps)
    return lambda requests: torch.cat(sample(model, data.spec, requests, how)), took, steps


def fit(cfg: DictConfig, data: MRIDataModule, steps: int) -> tuple[DiffusionSystem, float]:
    """A system trained for so many steps, with its averaged weights, and the seconds that took."""
    data.steps_per_epoch, system, timer = steps, instantiate(cfg.model), Timer()
    settings = {"logger": False, "enable_checkpointing": False, "limit_val_batches": 0, "max_epochs": 1}
    callbacks = [instantiate(cfg.callbacks.ema), timer]
    decided = decide(cfg, None, StepTimer(system, data.trial_batch(), torch.device(DEVICE)))
    instantiate(decided.trainer, callbacks=callbacks, default_root_dir=".", **settings).fit(system, data)
    return system, timer.time_elapsed("train")


def diffusers_script(data: MRIDataModule, seconds: float) -> tuple[Draw, float, int]:
    """The settings of diffusers' train_unconditional.py, with class labels: 113 M parameters, DDPM of 1000 steps, eps.

    Samples are drawn by DDIM in 20 steps; the 1000 of the script would take hours here.
    """
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    net: Any = UNet2DModel(
        data.spec.shape[-1], 1, 1, layers_per_block=2, block_out_channels=(128, 128, 256, 256, 512, 512), num_class_embeds=4,
        down_block_types=("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4,
    )  # fmt: skip
    took, steps = train_diffusers(net.to(DEVICE), data, seconds)
    return partial(draw_diffusers, net, data), took, steps


def train_diffusers(net: nn.Module, data: MRIDataModule, seconds: float) -> tuple[float, int]:
    """Seconds and steps it took."""
    from diffusers import DDPMScheduler
    from diffusers.optimization import get_scheduler

    chain: Any = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6)
    rate = get_scheduler("cosine", optimizer, num_warmup_steps=500, num_training_steps=100_000)
    images, labels = data.train.images(), data.train.cond.argmax(1)
    begin, steps = time.monotonic(), 0
    while time.monotonic() - begin < seconds:
        chosen = torch.randint(len(images), (16,))
        flip = torch.rand(16, 1, 1, 1) < 0.5
        x0 = torch.where(flip, images[chosen].flip(-1), images[chosen]).to(DEVICE)
        eps, t = torch.randn_like(x0), torch.randint(1000, (16,), device=DEVICE)
        with torch.autocast(DEVICE, torch.bfloat16, enabled="bf16-mixed" in candidates(torch.device(DEVICE))):
            loss = (net(chain.add_noise(x0, eps, t), t, labels[chosen].to(DEVICE)).sample - eps).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        rate.step()
        optimizer.zero_grad()
        steps += 1
    return time.monotonic() - begin, steps


@torch.no_grad()
def draw_diffusers(net: nn.Module, data: MRIDataModule, requests: list[SampleRequest]) -> Tensor:
    from diffusers import DDIMScheduler

    walk: Any = DDIMScheduler(
        num_train_timesteps=1000, beta_schedule="linear", clip_sample_range=3.0, timestep_spacing="trailing"
    )
    walk.set_timesteps(20)
    kind = torch.stack([data.spec.conditioning.encode(one.contrast) for one in requests]).argmax(1).to(DEVICE)
    noise = [torch.randn(data.spec.shape, generator=torch.Generator().manual_seed(one.seed)) for one in requests]
    x = torch.stack(noise).to(DEVICE)
    for t in walk.timesteps:
        with torch.autocast(DEVICE, torch.bfloat16, enabled="bf16-mixed" in candidates(torch.device(DEVICE))):
            eps = net(x, t, kind).sample.float()
        x = walk.step(eps, t, x).prev_sample
    return x.cpu()


WRITE_UP = (  # the context U-Net of 64 features, a chain of 500 as it stands, eps, variance beta, Adam at 1e-4, batches of 8
    "net=context_unet", "schedule=linear", "schedule.num_steps=500", "schedule.reference_steps=500", "parameterization=eps",
    "sampler=ddpm_beta", "sampler.steps=250", "guidance=none", "averaging=constant", "averaging.decay=0",
    "model/optimizer=adamw", "model.optimizer.lr=1e-4", "model.lr_factor._target_=condiff.training.lr_schedules.constant",
    "model.lr_factor.warmup=0", "data.batch_size=8",
)  # fmt: skip
HO = "experiment=ho_ddpm", "sampler.steps=250", "model.lr_factor.warmup=500"
RECIPES = {  # title -> (recipe, minutes)
    "condiff, default, 1 min": (condiff, 1),
    "condiff, default, 2 min": (condiff, 2),
    "Ho's DDPM on our network, 10 min": (lambda *where: condiff(*where, *HO), 10),
    "write-up's settings, 10 min": (lambda *where: condiff(*where, *WRITE_UP), 10),
    "diffusers' script, 10 min": (diffusers_script, 10),
}


def main(out: str, each: int = 48) -> None:
    folder, cache = Path(out), Path("~/.cache/condiff/evaluation").expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "time_to_quality.json"
    done = json.loads(path.read_text()) if path.is_file() else {}
    L.seed_everything(0, verbose=False)
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        data = instantiate(hydra.compose("train", ["run=unused"]).data)
    data.prepare_data()
    data.setup()
    requests = make_requests(data.spec.contrasts, each, seed=0)
    for title, (recipe, minutes) in RECIPES.items():
        if title in done or (recipe is diffusers_script and not installed("diffusers")):
            continue
        drawn, seconds, steps = recipe(data, 60 * minutes)
        begin = time.monotonic()
        images = torch.cat([drawn(requests[first : first + BATCH]) for first in range(0, len(requests), BATCH)])
        each_takes = (time.monotonic() - begin) / len(requests)
        scores = judge(data, images.nan_to_num(0, 0, 0), requests, cache)
        done[title] = {"minutes": seconds / 60, "steps": steps, "seconds an image": each_takes, "scores": scores}
        path.write_text(json.dumps(done, indent=1))
    tell(done)
    plot(done).savefig(folder / "time_to_quality.png", dpi=100)


def tell(done: dict) -> None:
    table = Table("recipe", "minutes", "steps", "s/image", *SHOWN.values(), "contrast right")
    for title, found in done.items():
        cells = []
        for measure in (*SHOWN, "accuracy"):
            value, low, high = found["scores"][measure][0]
            cells.append(f"{value:.2f} ± {(high - low) / 2:.2f}")
        table.add_row(title, f"{found['minutes']:.1f}", str(found["steps"]), f"{found['seconds an image']:.2f}", *cells)
    floor = next(iter(done.values()))["scores"]
    table.add_row("real images", "", "", "", *(f"{floor[measure][1][0]:.2f}" for measure in (*SHOWN, "accuracy")))
    Console(width=150).print(table)


def plot(done: dict) -> plt.Figure:
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    shown = {"random_frechet": SHOWN["random_frechet"], "accuracy": "contrast right"}
    colours = {title: "C0" if title.startswith("condiff") else f"C{index}" for index, title in enumerate(done)}
    for axis, (measure, name) in zip(axes, shown.items(), strict=True):
        for title, found in done.items():
            value, low, high = found["scores"][measure][0]
            axis.errorbar(found["minutes"], value, [[value - low], [high - value]], fmt="o", color=colours[title], label=title)
        axis.axhline(next(iter(done.values()))["scores"][measure][1][0], color="black", linestyle="--", linewidth=1)
        axis.set(xlabel="minutes of training, two cores", title=name, xscale="log")
    axes[0].set_yscale("log")
    axes[1].legend(fontsize=7)
    return figure


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
