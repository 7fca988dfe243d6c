"""Export of the denoiser as ONNX, for other programs and other languages."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch

from condiff.checkpoint import Checkpoint
from condiff.data.image_spec import ImageSpec
from condiff.diffusion.model import DiffusionModel
from condiff.errors import InputError
from condiff.export import folder

FILE = "model.onnx"
LARGEST = 4096  # images of a batch; pixels along a side
STEPS = 20  # noise levels that the file suggests


def save(checkpoint: Checkpoint, target: str | Path, **settings: Any) -> Path:
    """Writes a model folder with `model.onnx` in addition: x [B, C, H, W], sigma [B], cond [B, D] -> x0, all float32.

    B, H and W are free. Metadata of the file, as JSON: `columns`, names of the D numbers of the condition, all zero for none;
    `shape` of the images, `sigmas` of a sampler of 20 steps.

    Args:
        settings: of `condiff.export.folder.save`.

    Raises:
        InputError: as there; a latent model, or one of few steps; or the packages of the extra `onnx` are missing.
    """
    check(checkpoint, "onnx")
    model, spec = checkpoint.model(), checkpoint.spec()
    program = exported(model, spec)
    program.model.metadata_props.update({key: json.dumps(value) for key, value in description(model, spec).items()})
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # lines of the program, with paths of this machine
    out = folder.save(checkpoint, target, **settings)
    program.save(out / FILE)
    return out


def check(checkpoint: Checkpoint, format: str) -> None:
    """Raises InputError for a latent model, or one of few steps."""
    if checkpoint.model().codec.is_latent:
        raise InputError(f"format={format}: {checkpoint.path} is a model of codes; ONNX files are written of models of pixels")
    folder.check_sampler(checkpoint, format)


def exported(model: DiffusionModel, spec: ImageSpec) -> Any:
    """Returns the denoiser as a `torch.onnx.ONNXProgram`; without ``cond`` for an unconditional model."""
    for library in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(library).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "# The axis name")
    multiple, cond = getattr(model.denoiser.net, "size_multiple", 1), torch.zeros(2, spec.conditioning.dim)
    inputs = (torch.zeros(2, *spec.shape), torch.ones(2), cond)[: 3 if model.conditional else 2]
    batch = torch.export.Dim("batch", min=1, max=LARGEST)
    rows, columns = (multiple * torch.export.Dim(name, min=1, max=LARGEST // multiple) for name in ("rows", "columns"))
    shapes = ({0: batch, 2: rows, 3: columns}, {0: batch}, {0: batch})[: len(inputs)]
    names: dict[str, Any] = {"input_names": ["x", "sigma", "cond"][: len(inputs)], "output_names": ["x0"]}
    try:
        return torch.onnx.export(model.denoiser, inputs, dynamo=True, dynamic_shapes=shapes, verbose=False, **names)
    except ImportError as error:
        raise InputError(f'format: onnx and web need the package {error.name}; pip install "condiff[onnx]"') from None


def description(model: DiffusionModel, spec: ImageSpec) -> dict[str, Any]:
    """Returns what a program needs to sample with the denoiser alone."""
    columns = spec.conditioning.columns if model.conditional else ()
    return {"columns": [*columns], "shape": [*spec.shape], "sigmas": model.schedule.steps(STEPS).tolist()}
