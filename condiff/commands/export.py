"""Write a model as a folder to give away: python export.py out=FOLDER [ckpt=…] [format=onnx] [dtype=float16]."""

from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from condiff.checkpoint import Checkpoint, newest
from condiff.commands.cli import entry, job_folder
from condiff.export import diffusers, folder, hub, onnx, web

WRITERS: dict[str, Callable[..., Path]] = {
    "safetensors": folder.save,
    "onnx": onnx.save,
    "diffusers": diffusers.save,
    "web": web.save,
}


@entry("export")
def main(cfg: DictConfig) -> None:
    checkpoint = Checkpoint.read(cfg.ckpt or newest("runs"), cfg.trust)
    out = WRITERS[cfg.format](
        checkpoint,
        job_folder(cfg.out),
        float16=cfg.dtype == "float16",
        patients=cfg.patients,
        evaluation=cfg.evaluation,
        accept_copies=cfg.copies == "accept",
    )
    print(f"checkpoint  {checkpoint.title}")
    for file in sorted(path for path in out.rglob("*") if path.is_file()):
        print(f"{file.relative_to(out)!s:<32}{file.stat().st_size / 1e3:10,.0f} kB")
    print(f"model       {out}; read its card, README.md, and fill in the licence")
    if cfg.push:
        print(f"uploaded    {hub.push(out, cfg.push)} (private)")
