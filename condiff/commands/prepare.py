"""Prepare the images of a data set: python prepare.py data.root=DIR [data.transform=complex] [data.shard=3/16] [verify=true]."""

import logging

from hydra.utils import instantiate
from omegaconf import DictConfig

from condiff.commands.cli import entry
from condiff.data.selection import take_shard
from condiff.errors import printable

log = logging.getLogger(__name__)


@entry("prepare")
def main(cfg: DictConfig) -> None:
    data = instantiate(cfg.data)
    volumes = take_shard(data.volumes.split().all, cfg.data.shard)
    if cfg.verify:
        for damaged in data.volumes.cache.verify(volumes):
            log.warning("was damaged, is prepared again: %s", printable(damaged.path))
    data.prepare_data()
    failed = data.volumes.cache.failures(volumes)
    print(f"prepared    {len(volumes) - len(failed)} of {len(volumes)} volumes in {data.volumes.cache.folder}")
    print(f"skipped     {len(data.volumes.index.skipped)} files, with the reasons in {data.volumes.index.report}")
