"""Lightning callbacks: averaged weights, pictures and measurements of what the model can do so far."""

from condiff.callbacks.averaging import PowerEMA
from condiff.callbacks.pictures import SampleGrid
from condiff.callbacks.quality import Quality

__all__ = ["PowerEMA", "Quality", "SampleGrid"]
