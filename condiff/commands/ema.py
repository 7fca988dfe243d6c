"""Post-hoc EMA of a run with another width: python ema.py [ckpt=…] std=0.05 [step=…]; -m std=0.05,0.1,0.15."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from condiff.checkpoint.run import checkpoint_file, newest
from condiff.commands.cli import entry
from condiff.errors import InputError
from condiff.training.checkpoint_io import store
from condiff.training.posthoc_ema import reconstruct_ema


@entry("ema")
def main(cfg: DictConfig) -> None:
    ckpt = checkpoint_file(cfg.ckpt) if cfg.ckpt else newest("runs")
    if cfg.out and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise InputError(f"out={cfg.out}: all jobs of a sweep would write this file; leave it out, and each job has its own")
    if cfg.out and Path(cfg.out).is_dir():
        raise InputError(f"out={cfg.out}: is a folder; give a file")
    content, step, error = reconstruct_ema(ckpt, cfg.std, cfg.step)
    out = Path(cfg.out) if cfg.out else ckpt.with_name(f"ema-{cfg.std:g}-step-{step}.ckpt")
    out.parent.mkdir(parents=True, exist_ok=True)
    store(content, out)
    print(f"checkpoint  {out}\naveraged    over {cfg.std:.1%} of {step} steps, with an error of {error:.1%} in the weights")
