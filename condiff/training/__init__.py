"""Lightning modules: what is trained, with which loss, by which optimizer."""

from condiff.training.autoencoder import AutoencoderSystem
from condiff.training.diffusion import DiffusionSystem

__all__ = ["AutoencoderSystem", "DiffusionSystem"]
