"""A function in a forked process: bounded in time and memory, stopped on demand, and watched from within.

Forked from a process that has imported everything, so that a signal meets work and not imports.
"""

import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

GB = 2**30
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
STARTS = {"os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn"}
CONNECTS = {"socket.connect", "socket.getaddrinfo", "socket.sendto"}
CHANGES = {"os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink", "os.chmod", "os.chown", "shutil.rmtree"}
PATIENCE = 4  # times the seconds of the processor that a process may use: it may wait for other processes
GRACE = 30.0  # seconds that started processes have to notice that their parent is gone; those that still import need them
CRASHED = 99  # the exit code of an exception that nothing caught


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        code: exit code; minus the signal that ended it.
        stopped: "" or why it was killed: "time" or "memory".
        text: what it printed.
        started: processes and connections that it started.
        outside: files that it wrote or deleted outside its own folders.
        left: processes of its session that were still there half a minute after it ended.
    """

    code: int
    seconds: float
    stopped: str
    text: str
    started: list[str]
    outside: list[str]
    left: int

    @property
    def last(self) -> str:
        """The last line that it printed."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        return lines[-1][:300] if lines else ""

    def faults(self, codes: Sequence[int] = (0, 1)) -> dict[str, str]:
        """What should not have happened, by column of the table; ``codes`` are those that a good end has."""
        found = {}
        if self.stopped:
            found["hang"] = f"{self.stopped}, {self.seconds:.0f} s"
        elif "Traceback (most recent" in self.text or self.code not in codes:
            found["traceback"] = f"code {self.code}: {self.last}"
        if self.started:
            found["code"] = "; ".join(self.started[:3])
        if self.outside:
            found["outside"] = "; ".join(self.outside[:3])
        return found


class Room:
    """A fresh folder with those that a command may write to: results, a run, cache, temporary files, runs/ where it is called."""

    def __init__(self, folder: Path, cache: Path | None = None):
        shutil.rmtree(folder, ignore_errors=True)
        self.folder, self.work, self.home = folder, folder / "work", folder / "home"
        self.out, self.run, self.tmp = folder / "out", folder / "run", folder / "tmp"
        self.cache = cache or folder / "cache"
        for path in (self.work, self.tmp, self.home, self.cache):
            path.mkdir(parents=True, exist_ok=True)

    @property
    def writable(self) -> tuple[str, ...]:
        own = (self.work / "runs", self.work / "samples", self.out, self.run, self.tmp, self.cache)
        return (*map(str, own), "/dev/null", "/dev/shm", "/proc")

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def run(
    main: Callable[[], object],
    room: Room,
    arguments: Sequence[str] = (),
    seconds: float = 60,
    memory: int = 6 * GB,
    file_size: int = GB,
    stop: tuple[Callable[[float], bool], int] | None = None,
    environment: dict[str, str] | None = None,
) -> Outcome:
    """Call ``main`` with a command line in a process of its own, and wait for its end.

    Args:
        seconds: of the processor at most, and four times as many in all.
        memory, file_size: bytes at most, resident and of one file.
        stop: seconds since the start -> whether to send the signal beside it now; once.
    """
    log, seen = room.folder / "log", room.folder / "seen"
    begin, pid = time.monotonic(), os.fork()
    if not pid:
        try:
            _settle(room, log, seen, memory, file_size, environment or {})
            os._exit(_exit_code(main, arguments))
        finally:
            os._exit(CRASHED)
    stopped, status = _wait(pid, begin, seconds, memory, stop)
    spent = time.monotonic() - begin
    left = _end_session(pid)
    events = seen.read_text(errors="replace").splitlines() if seen.exists() else []
    return Outcome(
        os.waitstatus_to_exitcode(status), spent, stopped, log.read_text(errors="replace") if log.exists() else "",
        sorted({line[6:] for line in events if line.startswith("start ")}),
        sorted({line[6:] for line in events if line.startswith("write ")}), left,
    )  # fmt: skip


def _wait(
    pid: int, begin: float, seconds: float, memory: int, stop: tuple[Callable[[float], bool], int] | None
) -> tuple[str, int]:
    """Why the process was killed, if it was, and its status."""
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        elapsed = time.monotonic() - begin
        if done:
            return "", status
        if stop and stop[0](elapsed):
            os.kill(pid, stop[1])
            stop = None
        if (late := elapsed > PATIENCE * seconds or _cpu(pid) > seconds) or _resident(pid) > memory:
            os.kill(pid, signal.SIGKILL)
            return "time" if late else "memory", os.waitpid(pid, 0)[1]
        time.sleep(0.01)


def _settle(room: Room, log: Path, seen: Path, memory: int, file_size: int, environment: dict[str, str]) -> None:
    """Make this process's session, folders, output and limits its own."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where the campaign runs in the background
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.chdir(room.work)
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    os.environ |= {
        "TMPDIR": str(room.tmp),
        "HOME": str(room.home),
        "CONDIFF_CACHE": str(room.cache),
        "COLUMNS": "200",
    } | environment
    tempfile.tempdir = None
    events = os.open(seen, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    address_space = memory + 6 * GB  # torch maps more than it uses
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _watch(events, room.writable)


def _watch(events: int, writable: tuple[str, ...]) -> None:
    """Write a line for every process started, connection made, and file changed outside ``writable``."""

    def outside(path: object) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False  # an open file
        return not f"{os.path.realpath(os.fsdecode(path))}/".startswith(tuple(f"{folder}/" for folder in writable))

    def hook(event: str, arguments: tuple) -> None:
        if event in STARTS | CONNECTS:
            line = f"start {event} {str(arguments)[:150]}"
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES and outside(arguments[0]):
            line = f"write open {os.fsdecode(arguments[0])}"
        elif event in CHANGES and outside(arguments[0]) and arguments[-1] in (-1, None):  # not relative to a folder that is open
            if event == "os.mkdir" and os.path.isdir(arguments[0]):
                return
            line = f"write {event} {os.fsdecode(arguments[0])}"
        elif event == "os.rename" and (outside(arguments[0]) or outside(arguments[1])):
            line = f"write {event} {arguments[:2]}"
        else:
            return
        os.write(events, line.replace("\n", " ").encode(errors="replace") + b"\n")

    sys.addaudithook(hook)


def _exit_code(main: Callable[[], object], arguments: Sequence[str]) -> int:
    sys.argv = ["command", *arguments]
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
        code = CRASHED
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _cpu(pid: int) -> float:
    try:
        user, system = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    except (OSError, ValueError):
        return 0.0
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def _session(pid: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = (path / "stat").read_text().rsplit(")", 1)[1].split()[:4]
        except (OSError, ValueError):
            continue
        if int(session) == pid and state != "Z":
            found.append(int(path.name))
    return found


def _end_session(pid: int) -> int:
    """Wait for the processes that a process has started, then kill those that are left; how many."""
    deadline = time.monotonic() + GRACE
    while (left := _session(pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in left:
        os.kill(process, signal.SIGKILL)
    return len(left)
