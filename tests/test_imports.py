"""Which room may import which: the rooms stand in the order of `ROOMS`, and every import points down it."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "condiff"
ROOMS = {  # room -> the libraries that it may import besides the standard one; of rooms it may import its own and those below
    "commands": {"torch", "lightning", "hydra", "omegaconf", "yaml", "rich", "filelock"},
    "app": {"torch", "numpy", "hydra", "gradio", "starlette", "PIL"},
    "model": {"torch", "numpy", "hydra"},
    "training": {"torch", "numpy", "lightning", "wandb", "hydra", "omegaconf", "filelock", "matplotlib", "PIL"},
    "reconstruction": {"torch", "numpy", "h5py", "torchmetrics", "lightning", "rich", "PIL"},
    "export": {"torch", "diffusers", "huggingface_hub"},
    "evaluation": {"torch", "numpy", "torchmetrics", "scipy", "matplotlib", "PIL", "rich"},
    "sampling": {"torch", "numpy", "lightning", "rich"},
    "images": {"torch", "numpy", "PIL"},
    "checkpoint": {"torch", "omegaconf", "yaml", "safetensors"},
    "data": {"torch", "numpy", "h5py", "nibabel", "pydicom", "lightning", "scipy", "rich", "filelock"},
    "diffusion": {"torch"},
    "nn": {"torch"},
    "mri": {"torch", "numpy", "sigpy"},
    "files": {"torch", "numpy", "h5py", "nibabel", "pydicom", "PIL"},
    "configuration": {"hydra", "omegaconf"},
    "linear": {"torch"},
    "progress": {"lightning", "rich"},
    "renamed": set(),
    "seeds": set(),
    "errors": {"torch"},
}
APART = {("diffusion", "mri"), ("nn", "mri"), *((core, "files") for core in ("diffusion", "nn", "mri"))}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports(path):
    order, here = list(ROOMS), path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imports(path):
        library, _, rest = name.partition(".")
        if library == "condiff":
            room = rest.partition(".")[0]
            down = order.index(room) >= order.index(here) and (here, room) not in APART
            assert down, f"{path.name} imports {name}"
        else:
            assert library in sys.stdlib_module_names or library in ROOMS[here], f"{path.name} imports {name}"
