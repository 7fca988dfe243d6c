"""Say how good samples are: python evaluate.py [ckpt=…] [num_samples=…] [sampler=…] [steps=…] [data=…] [logger=wandb]."""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from torch import Tensor

from condiff import sampling
from condiff.checkpoint import checkpoint
from condiff.commands.cli import as_trained, check_clamp, entry, folder_name, guide_of, job_folder, own_or_other, plain
from condiff.commands.command_line import reaching
from condiff.data.datamodule import MRIDataModule
from condiff.evaluation import inputs, table
from condiff.evaluation.evaluate import FEWEST, Examination, check_patients, examine
from condiff.evaluation.figure import as_image, page, shareable
from condiff.evaluation.sets import Sets
from condiff.files import results
from condiff.sampling.distributed import Cost, resumable

WIDTH = 130  # of the table, whatever the terminal


@entry("evaluate", reaching("data", *checkpoint.SAMPLING))
def main(cfg: DictConfig) -> None:
    ckpt = Path(cfg.ckpt) if cfg.ckpt else checkpoint.newest("runs")
    cfg.ckpt = str(ckpt)
    system = checkpoint.load(ckpt, cfg.trust)
    as_trained(cfg, system.hparams, checkpoint.SAMPLING)
    fabric = L.Fabric(accelerator=cfg.accelerator, devices=cfg.devices)
    fabric.launch()
    data, audited = inputs.prepare(system, ckpt, own_or_other(cfg, system.hparams["data"]), cfg.trust, guide_of(cfg))
    check_clamp(cfg, data.transform.shape[0], system.latent)
    known = data.conditioning.contrasts
    splits, note = independent(data, ckpt, known if system.conditional else [])
    parts = [getattr(data, split) for split in splits]
    held_out, training = (inputs.real(data, *some, most=cfg.real_images) for some in (parts, [data.train]))
    partly: list[str] = []
    for title, taken, available in (
        ("held-out images: compared with", held_out, sum(map(len, parts))),
        ("training images: copies are looked for among", training, len(data.train)),
    ):
        if len(taken) < available:
            partly.append(f"real_images={cfg.real_images}: {title} {len(taken)} of {available}")
    check_patients(held_out, known if system.conditional else [])
    draws = sampling.plan(sampling.requested(None, known, system.conditional), cfg.num_samples, cfg.seed, shared_noise=False)
    about = settings(cfg, ckpt)
    out = folder(cfg, ckpt)
    with fabric.device:  # a guiding model is loaded there
        how = {"sampler": instantiate(cfg.sampler.fn), "guidance": instantiate(cfg.guided), "steps": cfg.steps}
    drawn = partial(sampling.draw, system.to(fabric.device), data.conditioning, shape=data.transform.shape, **how)
    system.schedule.steps(cfg.steps), how["guidance"](system)  # complain before anything is spent
    path = out / f"samples-{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:8]}.h5"
    images, cost = resumable(fabric, draws, data.transform.shape, cfg.batch_size, cfg.steps, drawn, path)
    if fabric.is_global_zero:
        sets = Sets(inputs.generated(data, images, draws), held_out, training, known, system.conditional)
        patients = len(held_out.patient.unique())
        print(f"judging {len(images)} samples by {len(held_out)} images of {patients} held-out patients, which takes minutes")
        found = examine(sets, Path(cfg.cache).expanduser() / "evaluation", audited)
        found.notes.extend([*([note] if note else []), *partly])
        seen = {"splits": splits, "patients": patients, "images": len(held_out)}
        result = {"settings": about, "held_out": seen, "cost": per_image(cost)} | table.as_dict(found)
        result["named"] = [
            row | {"contrast": draws[row["sample"]].label, "seed": draws[row["sample"]].seed} for row in result["named"]
        ]
        tell(cfg, result, found, sets, out, inputs.sources(data.train, cfg.real_images))


def settings(cfg: DictConfig, ckpt: Path) -> dict[str, Any]:
    """What the samples follow from."""
    asked = {key: plain(cfg[key]) for key in ("num_samples", "seed", "steps", "sampler", "guidance", "clamp")}
    if OmegaConf.select(cfg, "guidance.weaker.ckpt"):
        asked["guided by"] = results.digest(cfg.guidance.weaker.ckpt)
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


def chosen_by_validation(ckpt: Path, content: Mapping[str, Any]) -> bool:
    """Whether the checkpoint was kept for the best validation metric of its run, as ``best.ckpt`` is."""
    if ckpt.stem in ("best", "last"):
        return ckpt.stem == "best"
    callbacks = content.get("callbacks")
    states = callbacks.values() if isinstance(callbacks, dict) else ()
    scores = [[state.get(key) for key in ("current_score", "best_model_score")] for state in states if isinstance(state, dict)]
    return any(isinstance(now, Tensor) and isinstance(best, Tensor) and torch.equal(now, best) for now, best in scores)


def independent(data: MRIDataModule, ckpt: Path, contrasts: Sequence[str]) -> tuple[list[str], str]:
    """The splits to compare with, and a note on them: the test patients alone where validation chose the checkpoint."""
    content = checkpoint.read(ckpt)
    if not chosen_by_validation(ckpt, content):
        return ["val", "test"], ""
    chose, validated = checkpoint.validation_patients(content, ckpt), {volume.patient for volume in data.val.volumes}
    number = len(chose.hashes) if chose else len(validated)
    why = f"the checkpoint was chosen by its loss on {number} validation patients"
    groups = [[contrast] for contrast in contrasts] or [[*data.conditioning.contrasts]]  # without contrasts all are one
    tested = [{volume.patient for volume in data.test.volumes if volume.contrast in group} for group in groups]
    if min(map(len, tested)) >= FEWEST and not (chose and chose.known(set().union(*tested))):
        return ["test"], f"{why}; compared with the test patients alone"
    return ["val", "test"], f"{why}, and without them the test patients are too few: not independent"


def tell(
    cfg: DictConfig, about: dict[str, Any], found: Examination, sets: Sets, out: Path, sources: list[tuple[Path, int]]
) -> None:
    """To the folder everything; to the loggers numbers and no image of a patient, or nothing; to the terminal the table."""
    (out / "evaluation.json").write_text(json.dumps(about, indent=2, allow_nan=False) + "\n")
    of = about["settings"]
    heading = f"{of['checkpoint']} · {of['sampler']['fn']['_target_'].split('.')[-1]}, {of['steps']} steps"
    page(found, sets, heading).savefig(out / "evaluation.png", dpi=80)
    if about["named"]:
        write_copies(out / "copies.csv", about["named"], found, sources)
    else:
        (out / "copies.csv").unlink(missing_ok=True)  # of an earlier evaluation
    loggers = cfg.get("logger") or {}
    if loggers and table.private(found):
        print("logger: nothing of this evaluation is sent; samples may be copies of training patients")
        loggers = {}
    for logger in (instantiate(part) for part in loggers.values()):
        logger.log_hyperparams(about["settings"] | {"summary": about["summary"], "notes": about["notes"]})
        logger.log_metrics(table.flat(about))
        if hasattr(logger, "log_table"):
            logger.log_table("evaluation", *table.long(about))
            logger.log_image("evaluation page", [as_image(shareable(found, sets, heading))])
        logger.finalize("success")
    Console(width=WIDTH).print(table.table(found, about["cost"]))
    print(table.BLIND_SPOTS, about["summary"], *(f"note: {note}" for note in found.notes), sep="\n")
    if about["named"]:
        print(f"copies      {out}/copies.csv (samples and the training files they resemble)")
    print(f"scores      {out}/evaluation.json\npage        {out}/evaluation.png (holds real images)")


def write_copies(path: Path, named: list[dict[str, Any]], found: Examination, sources: list[tuple[Path, int]]) -> None:
    """A row per sample that is named and space that names it: which training file and slice it resembles."""
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["sample", "contrast", "seed", "space", "distance_over_limit", "file", "slice", "mirrored"])
        for row in named:
            for space, ratio in row["distance_over_limit"].items():
                near, index = found.copies[space].samples, row["sample"]
                mirrored = ("", "left-right", "front-back", "both")[int(near.flip[index])]
                sample = row["sample"], row["contrast"], row["seed"]
                table.writerow([*sample, space, f"{ratio:.3f}", *sources[int(near.which[index])], mirrored])
