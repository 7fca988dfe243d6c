"""The tests that need a GPU."""

import re
import subprocess
import sys
from pathlib import Path

from benchmarks.gpu.report import Add, Bench

ROOT = Path(__file__).parents[2]
MOST = 180.0  # seconds
TAIL = 40  # lines


def measure(bench: Bench, add: Add) -> None:
    """How many of ``pytest -m gpu`` passed, failed and were skipped; the end of what failed is in gpu.tests.txt."""
    files = [
        str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()
    ]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-n", "3", "--tb=short", "--durations=5", *files]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=min(MOST, bench.left(60)))
        output, ended = done.stdout + done.stderr, f"exit code {done.returncode}"
    except subprocess.TimeoutExpired as late:
        output = "".join(part.decode() if isinstance(part, bytes) else part or "" for part in (late.stdout, late.stderr))
        ended = f"stopped after {late.timeout:.0f} s"
    (bench.out / "gpu.tests.txt").write_text(output)
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", output)}
    outcomes = {word: counts.get(word, 0) for word in ("passed", "failed", "skipped", "error")}
    add(command="pytest -m gpu -n 3", ended=ended, **outcomes)
    if "exit code 0" not in ended:
        print("\n".join(output.splitlines()[-TAIL:]), flush=True)
    for line in re.findall(r"^(?:FAILED|ERROR) .*", output, re.MULTILINE):
        add(failure=line[:300])
