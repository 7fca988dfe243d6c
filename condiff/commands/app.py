"""Open a page to generate, reconstruct and translate images: python app.py [ckpt=…] [port=7860] [size_limit_mb=…]."""

import os
from importlib.util import find_spec

import lightning as L
from omegaconf import DictConfig

from condiff.app.folder import temporary_folder
from condiff.commands.cli import entry
from condiff.errors import InputError


@entry("app")
def main(cfg: DictConfig) -> None:
    if find_spec("gradio") is None:
        raise InputError('app: gradio is not installed; pip install -e ".[app]"')
    device = L.Fabric(accelerator=cfg.accelerator, devices=1).device
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with temporary_folder() as folder:
        from condiff.app.models import Models  # gradio reads the folder's name when it is imported
        from condiff.app.page import build, serve

        models = Models(cfg.ckpt, device, cfg.trust)
        print(f"checkpoint  {models.default}")
        serve(build(models, folder, cfg.size_limit_mb), cfg.port, cfg.size_limit_mb)
