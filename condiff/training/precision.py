"""Choice of the training precision: weights are float32, the network computes in it or in half precision."""

import hashlib
import json
import logging
import platform
from pathlib import Path

import torch
from filelock import FileLock

from condiff.files.atomic import atomic_write, friendly_disk_errors
from condiff.training.step_time import StepTimer

log = logging.getLogger(__name__)


def fastest(timer: StepTimer, cache: str) -> str:
    """Returns Lightning's name of the fastest precision; on CPUs that advertise bfloat16, of the one that is measured to be so.

    Those without AMX may take 1.5 times as long in bfloat16 as in float32 (docs/benchmarks.md).

    Args:
        cache: folder that keeps the choice, for this machine and network, so that it does not change between runs.
    """
    choices = candidates(timer.device)
    if len(choices) == 1:
        return choices[0]
    folder = Path(cache).expanduser()
    path = folder / f"precision-{_key(timer)}.json"
    with friendly_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # processes of one machine measure one after the other
            is_new = not path.is_file()
            if is_new:
                with atomic_write(path) as file:
                    file.write(json.dumps(timer.seconds(choices)).encode())
    times = json.loads(path.read_text())
    best, *others = sorted(choices, key=times.__getitem__)
    slower = " and ".join(f"{1e3 * times[name]:.0f} ms in {name}" for name in others)
    when = "measured" if is_new else "an earlier run measured"
    log.info("precision %s: %s %.0f ms a step on this %s, %s", best, when, 1e3 * times[best], processor(), slower)
    return best


def candidates(device: torch.device) -> tuple[str, ...]:
    """Returns the precisions that may be the fastest on a device."""
    if device.type == "cuda":
        return ("bf16-mixed",) if torch.cuda.is_bf16_supported(including_emulation=False) else ("16-mixed",)
    abilities: dict = getattr(torch.cpu, "get_capabilities", dict)()  # absent from older torch
    has_bf16 = any(abilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    return ("32-true", "bf16-mixed") if device.type == "cpu" and has_bf16 else ("32-true",)


def processor() -> str:
    """Returns the name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "processor")


def _key(timer: StepTimer) -> str:
    """Returns a name of machine, network and batch."""
    shapes = [tuple(tensor.shape) for tensor in (*timer.system.state_dict().values(), *timer.batch)]
    what = processor(), torch.get_num_threads(), torch.__version__, shapes
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]
