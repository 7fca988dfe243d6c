"""Train a diffusion model: python train.py [data=…] [model=…] [schedule=…] [trainer.devices=…] [experiment=…]."""

from pathlib import Path

import lightning as L
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from condiff import checkpoint
from condiff.entry import entry, require_positive
from condiff.errors import InputError

COUNTS = ("batch_size", "steps_per_epoch", "downsample", "volumes_per_contrast", "held_out_per_contrast")


def recall(arguments: list[str]) -> list[str]:
    """The command line; before it, where it resumes a run, what was asked of that run."""
    resume = next((word.partition("=")[2] for word in arguments if word.startswith("resume=")), None)
    if resume is None:
        return arguments
    before = checkpoint.read(resume)["hyper_parameters"]["overrides"]
    return list({word.split("=")[0]: word for word in [*before, *arguments]}.values())


@entry("train", recall)
def main(cfg: DictConfig) -> float | None:
    require_positive(cfg, "trainer.max_epochs", *(f"data.{name}" for name in COUNTS))
    check_unfinished(cfg)
    check_objective(cfg)
    L.seed_everything(cfg.seed, verbose=False)
    cfg.overrides = [word for word in HydraConfig.get().overrides.task if not word.startswith("resume=")]
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
        return measured(trainer, cfg.objective)
    return None


def check_objective(cfg: DictConfig) -> None:
    """Raise InputError, before anything is spent, where the objective would not be measured."""
    every = OmegaConf.select(cfg, "callbacks.evaluation.every_n_epochs", default=0)
    if cfg.objective.startswith("quality/") and every < 1:
        raise InputError(f"objective={cfg.objective}: needs callbacks.evaluation.every_n_epochs, at least 1, not {every}")


def measured(trainer: L.Trainer, objective: str) -> float:
    """The last value of what a sweep minimises. Raises InputError where nothing of that name was logged."""
    if objective not in trainer.callback_metrics:
        there = ", ".join(sorted(trainer.callback_metrics))
        raise InputError(f"objective={objective}: was not measured; there are {there}. The run is whole, and in its folder")
    return float(trainer.callback_metrics[objective])


def check_unfinished(cfg: DictConfig) -> None:
    """Raise InputError where the run to resume has nothing left to do."""
    if cfg.resume:
        done = checkpoint.read(cfg.resume)["epoch"] + 1  # written at the end of an epoch, before it is counted
        if done >= cfg.trainer.max_epochs:
            raise InputError(f"resume={cfg.resume}: has had its {done} epochs; ask for more, trainer.max_epochs={2 * done}")


def parts(group: DictConfig) -> list:
    return [instantiate(part) for part in group.values()]


if __name__ == "__main__":
    main()
