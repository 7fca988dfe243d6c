"""Say how good samples are: python evaluate.py [ckpt=…] [num_samples=…] [sampler=…] [steps=…] [data=…] [logger=wandb]."""

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from condiff import checkpoint, judging, sampling
from condiff.drawing import Cost, resumable
from condiff.entry import entry, folder_name, require_positive
from condiff.evaluation import report
from condiff.evaluation.images import rows
from condiff.evaluation.page import as_image, page, shareable
from condiff.evaluation.suite import Examination, check_patients, examine

WIDTH = 130  # of the table, whatever the terminal


def reach(arguments: list[str]) -> list[str]:
    """Fields of the checkpoint's own data can be overridden, though conf/evaluate.yaml does not hold them."""
    other = any(word.startswith("data=") for word in arguments)
    return [f"+{word}" if word.startswith("data.") and not other else word for word in arguments]


@entry("evaluate", reach)
def main(cfg: DictConfig) -> None:
    require_positive(cfg, "num_samples", "steps", "batch_size")
    ckpt = Path(cfg.ckpt) if cfg.ckpt else checkpoint.newest("runs")
    system = checkpoint.load(ckpt)
    fabric = L.Fabric(accelerator=cfg.accelerator, devices=cfg.devices)
    fabric.launch()
    data, audited = judging.prepare(system, ckpt, plain(cfg.get("data")) or {})
    table = rows(data.conditioning.contrasts, system.conditional)
    held_out, training = judging.real(data, data.val, data.test), judging.real(data, data.train)
    check_patients(held_out, table)
    contrasts = sampling.requested(None, data.conditioning.contrasts, system.conditional)
    draws = sampling.plan(contrasts, cfg.num_samples, cfg.seed, shared_noise=False)
    out = folder(cfg, ckpt)
    images, cost = everything(cfg, fabric, system.to(fabric.device), data, draws, ckpt, out)
    if fabric.is_global_zero:
        samples = judging.generated(data, images, draws)
        found = examine(samples, held_out, training, table, Path(cfg.cache).expanduser() / "evaluation", audited)
        settings = {"checkpoint": str(ckpt)} | asked(cfg)
        about = {"settings": settings, "cost": per_image(cost)} | report.as_dict(found)
        (out / "evaluation.json").write_text(json.dumps(about, indent=2, allow_nan=False) + "\n")
        page(found, table, samples, held_out, training).savefig(out / "evaluation.png", dpi=80)
        publish(cfg, about, shareable(found, table, samples))
        tell(about, found, out)


def asked(cfg: DictConfig) -> dict[str, Any]:
    """What the samples follow from, besides the checkpoint."""
    settings = {key: plain(cfg[key]) for key in ("num_samples", "seed", "steps", "sampler", "guidance")}
    return json.loads(json.dumps(settings), parse_constant=str)  # JSON has no infinity


def folder(cfg: DictConfig, ckpt: Path) -> Path:
    """Beside the checkpoint, named by what was asked for: the same command finds what it left."""
    name = folder_name(HydraConfig.get().job.override_dirname) or "default"
    out = Path(cfg.out) if cfg.out else ckpt.resolve().parent.parent / "evaluation" / name
    out.mkdir(parents=True, exist_ok=True)
    cfg.run = str(out.resolve())
    return out


def everything(
    cfg: DictConfig, fabric: L.Fabric, system, data, draws: list[sampling.Draw], ckpt: Path, out: Path
) -> tuple[Tensor, Cost]:
    """All samples, from this run or an interrupted one of the same checkpoint and settings."""
    key = hashlib.sha256(ckpt.read_bytes() + json.dumps(asked(cfg)).encode()).hexdigest()[:8]
    how = data.transform.shape, instantiate(cfg.sampler.walk), instantiate(cfg.guidance), cfg.steps
    with Progress(disable=not fabric.is_global_zero) as progress:
        task = progress.add_task("Sampling", total=-(-len(draws) // (cfg.batch_size * fabric.world_size)) * (cfg.steps + 1))

        def drawn(batch: Sequence[sampling.Draw]) -> Tensor:
            return sampling.draw(system, data.conditioning, batch, *how, partial(progress.advance, task))

        return resumable(fabric, system, draws, cfg.batch_size, drawn, out / f"samples-{key}.h5")


def per_image(cost: Cost) -> dict[str, float]:
    return {"evaluations_per_image": cost.evaluations / cost.drawn, "seconds_per_image": cost.seconds / cost.drawn}


def publish(cfg: DictConfig, about: dict[str, Any], figure: Figure) -> None:
    """To the loggers the scores and samples, no image of a patient."""
    for logger in (instantiate(part) for part in (cfg.get("logger") or {}).values()):
        logger.log_hyperparams(about["settings"])
        logger.log_metrics(report.flat(about["scores"]))
        if hasattr(logger, "log_table"):
            logger.log_table("evaluation", *report.long(about["scores"]))
            logger.log_image("evaluation page", [as_image(figure)])
        logger.finalize("success")


def tell(about: dict[str, Any], found: Examination, out: Path) -> None:
    """The table on the terminal, the verdict on copies, what to keep in mind, and where everything is."""
    Console(width=WIDTH).print(report.table(found))
    cost = about["cost"]
    print(f"an image: {cost['seconds_per_image']:.2f} s, {cost['evaluations_per_image']:.0f} network evaluations with guidance")
    print(report.summary(found), *(f"note: {note}" for note in found.notes), sep="\n")
    print(f"scores      {out}/evaluation.json\npage        {out}/evaluation.png (holds real images)")


def plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


if __name__ == "__main__":
    main()
