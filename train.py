"""Train a diffusion model: python train.py [data=…] [model=…] [schedule=…] [trainer.devices=…] [experiment=…]."""

from pathlib import Path

import lightning as L
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from rich import print

from condiff import checkpoint
from condiff.entry import entry


@entry("train")
def main(cfg: DictConfig) -> None:
    cfg = recall(cfg)
    L.seed_everything(cfg.seed, verbose=False)
    data = instantiate(cfg.data)
    cfg.net.image_channels, cfg.net.cond_dim = data.transform.shape[0], data.conditioning.dim
    system = instantiate(cfg.model)
    system.save_hyperparameters(OmegaConf.to_container(cfg, resolve=True))
    trainer = instantiate(cfg.trainer, logger=parts(cfg.logger), callbacks=parts(cfg.callbacks))
    if trainer.is_global_zero:
        OmegaConf.save(cfg, Path(cfg.run) / "config.yaml", resolve=True)
    trainer.fit(system, data, ckpt_path=cfg.resume, weights_only=True)
    if trainer.is_global_zero:
        print(f"run         {cfg.run}\ncheckpoint  {cfg.run}/checkpoints/last.ckpt")
        print(f"samples     {cfg.run}/samples/samples.png\nanimation   {cfg.run}/samples/denoising.gif")


def recall(cfg: DictConfig) -> DictConfig:
    """The configuration with this run's overrides in it; a resumed run starts from those of the run it resumes."""
    overrides = list(HydraConfig.get().overrides.task)
    if cfg.resume:
        before = checkpoint.read(cfg.resume)["hyper_parameters"]["overrides"]
        overrides = list({override.split("=")[0]: override for override in before + overrides}.values())
        cfg = compose("train", overrides)
    with open_dict(cfg):
        cfg.overrides = [override for override in overrides if not override.startswith("resume=")]
    return cfg


def parts(group: DictConfig) -> list:
    return [instantiate(part) for part in group.values()]


if __name__ == "__main__":
    main()
