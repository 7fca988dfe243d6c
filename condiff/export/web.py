"""Export as a web page that draws images in the visitor's browser, for any server of static files."""

import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from shutil import copyfile, which
from typing import Any

from condiff.checkpoint import Checkpoint
from condiff.data.conditioning import PARAMETERS, AcquisitionCondition, piecewise_linear
from condiff.data.image_spec import ImageSpec
from condiff.errors import InputError
from condiff.export import onnx
from condiff.files.atomic import atomic_write

PAGE = Path(__file__).with_name("page")
RUNTIME = "onnxruntime-web@1.30.0"  # of npm, MIT licence
PATIENCE = 300  # seconds
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
LEVELS = 100  # of the noise schedule, between which the page interpolates
WHITE = 2.0  # magnitude of complex images that is shown white


def save(checkpoint: Checkpoint, target: str | Path, **settings: Any) -> Path:
    """Writes a page, its ONNX model and the runtime, which npm brings; the model folder, without patients, is beside them.

    Args:
        settings: of `condiff.export.folder.save`.

    Raises:
        InputError: as `condiff.export.onnx.save`; npm is missing, or cannot bring the runtime.
    """
    if which("npm") is None:
        raise InputError("format=web: needs npm, which brings the program that runs the model in a browser; install Node.js")
    onnx.check(checkpoint, "web")
    runtime = fetch_runtime()
    out = onnx.save(checkpoint, target, **settings | {"patients": False})  # a page is public
    with atomic_write(out / "model.json") as file:
        file.write(json.dumps(description(checkpoint)).encode())
    for page in sorted(PAGE.iterdir()):
        copyfile(page, out / page.name)
    for name, content in runtime.items():
        with atomic_write(out / name) as file:
            file.write(content)
    return out


def description(checkpoint: Checkpoint) -> dict[str, Any]:
    """Returns what the page reads: the sizes, noise levels, guidance, contrasts and ranges of the parameters."""
    model, spec = checkpoint.model(), checkpoint.spec()
    guidance = checkpoint.config.get("guidance") or {}
    return onnx.description(model, spec) | {
        "levels": model.schedule.steps(LEVELS)[:-1].tolist(),
        "guidance": {"scale": guidance.get("scale", 1.0), "interval": _finite(guidance.get("interval"))},
        "contrasts": [*spec.contrasts] if model.conditional else [],
        "parameters": parameters(spec) if model.conditional else {},
        "slice_ends": spec.slice_ends,
        "white": WHITE,
    }


def _finite(interval: list[float] | None) -> list[float] | None:
    """The interval as JSON holds it, with a large number for infinity."""
    return interval and [min(end, 1e9) for end in interval]


def parameters(spec: ImageSpec) -> dict[str, Any]:
    """Returns for each parameter which values are encoded as -1 and 1, whether by logarithm, and its range in each contrast."""
    condition = spec.conditioning
    if not isinstance(condition, AcquisitionCondition) or condition.ranges is None:
        return {}
    if getattr(condition.features, "func", condition.features) is not piecewise_linear:
        raise InputError("format=web: the model encodes its parameters as an older version did; train it again")
    found: dict[str, Any] = {}
    for name in PARAMETERS:
        ranges = {contrast: condition.range_of(name, contrast) for contrast in spec.contrasts}
        ranges = {contrast: (low, high) for contrast, (low, high) in ranges.items() if low <= high}
        if ranges:
            low, high = condition.scale(name)
            found[name] = {"low": low, "high": high, "log": PARAMETERS[name] is not float, "ranges": ranges}
    return found


def fetch_runtime() -> dict[str, bytes]:
    """Returns the files of onnxruntime-web by name. Raises InputError where npm does not bring them."""
    with tempfile.TemporaryDirectory() as temporary:
        try:
            packed = subprocess.run(["npm", "pack", RUNTIME], cwd=temporary, capture_output=True, text=True, timeout=PATIENCE)
            reason = (packed.stderr.strip().splitlines() or ["no archive"])[-1]
        except subprocess.TimeoutExpired:
            reason = f"no answer in {PATIENCE} s"
        archives = [*Path(temporary).glob("*.tgz")]
        if not archives:
            raise InputError(f"format=web: npm pack {RUNTIME} failed ({reason}); is there a network?")
        with tarfile.open(archives[0]) as archive:
            files = {name: archive.extractfile(f"package/dist/{name}") for name in RUNTIME_FILES}
            return {name: file.read() for name, file in files.items() if file is not None}
