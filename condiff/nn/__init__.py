"""Networks, which get ``c_noise = log(sigma) / 4`` and ``cond`` instead of sigma itself; and codecs."""

from condiff.nn.autoencoder import KLAutoencoder
from condiff.nn.codec import Codec, Pixels
from condiff.nn.context_unet import ContextUNet
from condiff.nn.discriminator import PatchDiscriminator
from condiff.nn.perceptual import PerceptualDistance
from condiff.nn.unet import UNet

__all__ = ["Codec", "ContextUNet", "KLAutoencoder", "PatchDiscriminator", "PerceptualDistance", "Pixels", "UNet"]
