"""Diffusion models of brain MR images: train, sample, and choose the contrast."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from condiff.model import Model, load

__version__ = "0.2.0"
__all__ = ["Model", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """`load` and `Model`, imported when they are first used: torch takes seconds."""
    if name not in ("load", "Model"):
        raise AttributeError(f"module 'condiff' has no attribute {name!r}")
    import condiff.model

    return getattr(condiff.model, name)
