"""Say how good samples are: python evaluate.py [ckpt=…] [num_samples=…] [sampler=…] [steps=…] [data=…] [logger=wandb]."""

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from condiff import checkpoint, judging, results, sampling
from condiff.commandline import reaching
from condiff.drawing import Cost, resumable
from condiff.entry import as_trained, check_clamp, entry, folder_name, job_folder, own_or_other, plain
from condiff.evaluation import report
from condiff.evaluation.images import Sets
from condiff.evaluation.page import as_image, page, shareable
from condiff.evaluation.suite import Examination, check_patients, examine

WIDTH = 130  # of the table, whatever the terminal


@entry("evaluate", reaching("data", *checkpoint.SAMPLING))
def main(cfg: DictConfig) -> None:
    ckpt = Path(cfg.ckpt) if cfg.ckpt else checkpoint.newest("runs")
    cfg.ckpt = str(ckpt)
    system = checkpoint.load(ckpt, cfg.trust)
    as_trained(cfg, system.hparams, checkpoint.SAMPLING)
    fabric = L.Fabric(accelerator=cfg.accelerator, devices=cfg.devices)
    fabric.launch()
    data, audited = judging.prepare(system, ckpt, own_or_other(cfg, system.hparams["data"]), cfg.trust)
    check_clamp(cfg, data.transform.shape[0], system.latent)
    held_out, training = (judging.real(data, *parts, most=cfg.real_images) for parts in ((data.val, data.test), (data.train,)))
    if len(training) < len(data.train):
        print(f"real_images={cfg.real_images}: copies are looked for among {len(training)} of {len(data.train)} training images")
    known = data.conditioning.contrasts
    check_patients(held_out, known if system.conditional else [])
    draws = sampling.plan(sampling.requested(None, known, system.conditional), cfg.num_samples, cfg.seed, shared_noise=False)
    about = settings(cfg, ckpt)
    out = folder(cfg, ckpt)
    with fabric.device:  # a guiding model is loaded there
        how = {"sampler": instantiate(cfg.sampler.walk), "guidance": instantiate(cfg.guided), "steps": cfg.steps}
    drawn = partial(sampling.draw, system.to(fabric.device), data.conditioning, shape=data.transform.shape, **how)
    system.schedule.steps(cfg.steps), how["guidance"](system)  # complain before anything is spent
    path = out / f"samples-{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:8]}.h5"
    images, cost = resumable(fabric, draws, cfg.batch_size, cfg.steps, drawn, path)
    if fabric.is_global_zero:
        sets = Sets(judging.generated(data, images, draws), held_out, training, known, system.conditional)
        patients = len(held_out.patient.unique())
        print(f"judging {len(images)} samples by {len(held_out)} images of {patients} held-out patients, which takes minutes")
        found = examine(sets, Path(cfg.cache).expanduser() / "evaluation", audited)
        tell(cfg, {"settings": about, "cost": per_image(cost)} | report.as_dict(found), found, sets, out)


def settings(cfg: DictConfig, ckpt: Path) -> dict[str, Any]:
    """What the samples follow from."""
    asked = {key: plain(cfg[key]) for key in ("num_samples", "seed", "steps", "sampler", "guidance", "clamp")}
    weaker = OmegaConf.select(cfg, "guidance.weaker.ckpt")
    if weaker:
        asked["guided by"] = results.digest(weaker)
    asked = {"checkpoint": str(ckpt), "sha256": results.digest(ckpt), **asked}
    return json.loads(json.dumps(asked), parse_constant=str)  # JSON has no infinity


def folder(cfg: DictConfig, ckpt: Path) -> Path:
    """In the run's folder, named by checkpoint and options: the same command finds what it left. Raises InputError for a file."""
    asked = HydraConfig.get().job.override_dirname.replace("+", "")
    name = folder_name(f"{ckpt.stem}_{asked}" if asked else ckpt.stem)
    out = job_folder(cfg.out) if cfg.out else checkpoint.results_of(ckpt, "evaluation", name)
    results.check_folder(out)
    cfg.run = str(out.resolve())
    return out


def per_image(cost: Cost) -> dict[str, float]:
    return {"evaluations_per_image": cost.evaluations / cost.drawn, "seconds_per_image": cost.seconds / cost.drawn}


def tell(cfg: DictConfig, about: dict[str, Any], found: Examination, sets: Sets, out: Path) -> None:
    """To the folder everything; to the loggers all numbers and no image of a patient; to the terminal the table."""
    (out / "evaluation.json").write_text(json.dumps(about, indent=2, allow_nan=False) + "\n")
    of = about["settings"]
    heading = f"{of['checkpoint']} · {of['sampler']['walk']['_target_'].split('.')[-1]}, {of['steps']} steps"
    page(found, sets, heading).savefig(out / "evaluation.png", dpi=80)
    for logger in (instantiate(part) for part in (cfg.get("logger") or {}).values()):
        logger.log_hyperparams(about["settings"] | {"summary": about["summary"], "notes": about["notes"]})
        logger.log_metrics(report.flat(about))
        if hasattr(logger, "log_table"):
            logger.log_table("evaluation", *report.long(about))
            logger.log_image("evaluation page", [as_image(shareable(found, sets, heading))])
        logger.finalize("success")
    Console(width=WIDTH).print(report.table(found, about["cost"]))
    print(about["summary"], *(f"note: {note}" for note in found.notes), sep="\n")
    print(f"scores      {out}/evaluation.json\npage        {out}/evaluation.png (holds real images)")


if __name__ == "__main__":
    main()
