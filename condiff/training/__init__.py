"""Lightning modules for training: model, loss and optimizer."""

from condiff.training.autoencoder import AutoencoderSystem
from condiff.training.diffusion import DiffusionSystem

__all__ = ["AutoencoderSystem", "DiffusionSystem"]
