"""The walls of the house: which room may know which."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "condiff"
KNOWS = {  # room or file -> what it may import besides the standard library and condiff.errors
    "diffusion": {"torch", "condiff.diffusion"},
    "nn": {"torch", "condiff.nn"},
    "mri": {"torch", "numpy", "condiff.mri"},
    "data": {"torch", "numpy", "h5py", "lightning", "nilearn", "scipy", "rich", "filelock"}
    | {"condiff.data", "condiff.mri", "condiff.renamed", "condiff.seeds"},
    "systems": {"torch", "lightning", "condiff.systems", "condiff.diffusion", "condiff.nn", "condiff.data", "condiff.seeds"},
    "evaluation": {"torch", "numpy", "torchmetrics", "scipy", "matplotlib", "PIL", "rich", "condiff.evaluation"},
    "reconstruction": {
        "torch",
        "numpy",
        "h5py",
        "sigpy",
        "condiff.reconstruction",
        "condiff.data",
        "condiff.diffusion",
        "condiff.drawing",
    }
    | {"condiff.evaluation", "condiff.export", "condiff.mri", "condiff.nn", "condiff.sampling", "condiff.seeds"},
    "translating.py": {"torch", "numpy", "h5py", "nibabel", "condiff.data", "condiff.diffusion"},
    "averaging.py": {"torch"},
    "posthoc.py": {"torch", "condiff.archive", "condiff.averaging", "condiff.checkpoint", "condiff.systems"},
    "callbacks": {"torch", "lightning", "condiff.averaging", "condiff.callbacks", "condiff.data", "condiff.diffusion"}
    | {"condiff.evaluation", "condiff.export", "condiff.judging", "condiff.sampling", "condiff.systems"},
    "errors.py": set(),
    "seeds.py": set(),
    "renamed.py": set(),
    "precision.py": {"torch"},
    "export.py": {"torch", "numpy", "h5py", "nibabel", "PIL", "condiff.data"},
    "tracking.py": {"lightning", "wandb"},
    "sampling.py": {"torch", "condiff.diffusion", "condiff.data", "condiff.systems"},
    "drawing.py": {"torch", "numpy", "lightning", "rich"}
    | {"condiff.data", "condiff.diffusion", "condiff.export", "condiff.sampling"},
    "signatures.py": set(),
    "judging.py": {"torch", "hydra", "omegaconf", "condiff.checkpoint", "condiff.data", "condiff.evaluation", "condiff.sampling"}
    | {"condiff.seeds", "condiff.systems"},
    "archive.py": {"torch"},
    "checkpoint.py": {"torch", "omegaconf", "yaml", "condiff.archive", "condiff.data", "condiff.registry", "condiff.renamed"}
    | {"condiff.systems"},
    "registry.py": {"torch", "hydra", "condiff.data", "condiff.diffusion", "condiff.mri", "condiff.nn"}
    | {"condiff.signatures", "condiff.systems"},
    "resume.py": {"torch", "hydra", "condiff.checkpoint", "condiff.registry"},
    "latent.py": {"torch", "filelock", "condiff.checkpoint", "condiff.data", "condiff.nn", "condiff.seeds"},
    "checks.py": {"torch", "hydra", "omegaconf", "condiff.checkpoint", "condiff.data", "condiff.entry"} | {"condiff.resume"},
    "beginning.py": {"torch", "hydra", "omegaconf", "condiff.checkpoint", "condiff.checks", "condiff.latent", "condiff.entry"}
    | {"condiff.data", "condiff.diffusion", "condiff.nn", "condiff.registry", "condiff.systems"},
    "folders.py": {"hydra", "omegaconf", "lightning", "filelock", "condiff.data"},
    "entry.py": {
        "hydra",
        "omegaconf",
        "lightning",
        "condiff.commandline",
        "condiff.data",
        "condiff.explaining",
        "condiff.folders",
        "condiff.options",
    },
    "explaining.py": {"torch", "hydra", "omegaconf", "condiff.commandline", "condiff.data"},
    "commandline.py": {"hydra", "omegaconf", "condiff.data"},
    "options.py": {"hydra", "omegaconf", "condiff.signatures"},
    "results.py": set(),
    "__init__.py": set(),
}
STANDARD = __import__("sys").stdlib_module_names


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports(path):
    allowed = KNOWS[path.relative_to(PACKAGE).parts[0]] | {"condiff.errors"}
    for name in imports(path):
        known = name.split(".")[0] in STANDARD or any(f"{name}.".startswith(f"{room}.") for room in allowed)
        assert known, f"{path.name} imports {name}"
