"""Provenance of results, stored beside them: the checkpoint, and the options that change them."""

import json
from collections.abc import Collection
from typing import Any

from omegaconf import DictConfig, OmegaConf

from condiff.checkpoint import Checkpoint
from condiff.checkpoint.checkpoint import SAMPLING
from condiff.checkpoint.run import checkpoint_file
from condiff.configuration import plain
from condiff.files import results


def settings_of(cfg: DictConfig, checkpoint: Checkpoint, without: Collection[str]) -> dict[str, Any]:
    """Returns all options except ``without``, and the digest of the checkpoint."""
    return {key: value for key, value in plain(cfg).items() if key not in without} | {"checkpoint": checkpoint.sha256}


def settings_of_samples(cfg: DictConfig, checkpoint: Checkpoint) -> dict[str, Any]:
    """Returns the settings that determine the samples of an evaluation, as JSON reads them."""
    settings = {key: plain(cfg[key]) for key in ("num_samples", "seed", "steps", "sampler", "guidance", "clamp", "precision")}
    if OmegaConf.select(cfg, "guidance.weaker.ckpt"):
        settings["guided by"] = results.digest(checkpoint_file(cfg.guidance.weaker.ckpt))
    settings = {"checkpoint": str(checkpoint.path), "sha256": checkpoint.sha256, **settings}
    return json.loads(json.dumps(settings), parse_constant=str)  # JSON has no infinity


def attributes_of(cfg: DictConfig, checkpoint: Checkpoint) -> dict[str, Any]:
    """Returns the settings that determine samples besides their requests, as attributes of their file."""
    sampling = {key: json.dumps(plain(cfg[key])) for key in SAMPLING}
    return {"checkpoint": str(checkpoint.path), **sampling, "steps": cfg.steps}
