"""Lightning modules: what is trained, with which loss, by which optimizer."""

from condiff.systems.autoencoder import AutoencoderSystem
from condiff.systems.diffusion import DiffusionSystem

__all__ = ["AutoencoderSystem", "DiffusionSystem"]
