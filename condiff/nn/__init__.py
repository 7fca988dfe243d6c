"""Networks. They see ``c_noise = log(sigma) / 4`` and ``cond``, never sigma itself."""

from condiff.nn.codec import Codec, Pixels
from condiff.nn.context_unet import ContextUNet
from condiff.nn.unet import UNet

__all__ = ["Codec", "ContextUNet", "Pixels", "UNet"]
