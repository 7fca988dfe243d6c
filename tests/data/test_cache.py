"""Ready images: made once, whole, by any number of processes, whatever happens meanwhile."""

import functools
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from condiff.data import cache as caching
from condiff.data.cache import VolumeCache, cache_key
from condiff.data.fastmri.layout import FastMRI
from condiff.data.fastmri.reader import probe, read_kspace, read_magnitude
from condiff.data.index import index
from condiff.data.transforms import Complex, Magnitude
from condiff.errors import InputError
from condiff.files.foreign import BLOCK, BLOCKS, digest
from condiff.mri.maps import espirit, walsh
from tests.conftest import ROOT, write_raw, write_volume


@pytest.fixture
def volumes(tmp_path):
    return [probe(write_volume(tmp_path / f"{i}.h5", patient=f"p{i}", slices=i + 1)) for i in range(3)]


@pytest.fixture
def cache(tmp_path):
    return VolumeCache(tmp_path / "cache", read_magnitude, Magnitude(matrix=32, downsample=1))


def test_ready_images_are_those_of_the_transform(cache, volumes):
    cache.prepare(volumes, 0, "some")
    for volume in volumes:
        stack, (images, scale) = cache.open(volume), cache.transform(*read_magnitude(volume.path))
        assert (len(stack), stack.shape, stack.scale) == (volume.slices, tuple(images.shape), scale)
        for i, image in enumerate(images):
            torch.testing.assert_close(stack[i], image, rtol=1e-3, atol=1e-3)


def test_nothing_is_made_twice(cache, volumes, monkeypatch):
    cache.prepare(volumes, 0, "some")
    monkeypatch.setattr(caching, "prepare_one", lambda cache, volume: pytest.fail(f"made {volume} again"))
    cache.prepare(volumes, 0, "some")


def test_the_key_holds_all_that_shapes_the_images(tmp_path):
    transforms = [
        Magnitude(matrix=32), Magnitude(matrix=32, quantile=0.9), Complex(matrix=32), Complex(matrix=32, coils=4),
        Complex(matrix=32, maps=walsh), Complex(matrix=32, maps=functools.partial(espirit, kernel=5)),
    ]  # fmt: skip
    assert len({VolumeCache(tmp_path, read_kspace, transform).folder for transform in transforms}) == len(transforms)
    assert VolumeCache(tmp_path, read_kspace, transforms[0]).folder != VolumeCache(tmp_path, read_magnitude, transforms[0]).folder
    assert "0x" not in repr(cache_key(transforms[-1]))  # no addresses, which differ from process to process


def test_a_changed_file_is_made_again(cache, volumes, tmp_path):
    cache.prepare(volumes, 0, "some")
    changed = probe(write_volume(tmp_path / "0.h5", patient="p0", slices=4))
    cache.prepare([changed], 0, "some")
    assert len(cache.open(changed)) == 4


def test_equal_names_sizes_and_times_are_other_volumes(cache, tmp_path):
    """As archives and object stores unpack folders of patients."""
    volumes = []
    for i in range(3):
        (tmp_path / f"sub-{i}").mkdir()
        path = write_volume(tmp_path / f"sub-{i}" / "AXT1.h5", patient=f"p{i}")
        with h5py.File(path, "r+") as file:
            file["reconstruction_rss"][:, i, i] = 1e-4
        os.utime(path, (1_600_000_000, 1_600_000_000))
        volumes.append(probe(path))
    assert len({(volume.size, volume.mtime_ns) for volume in volumes}) == 1
    cache.prepare(volumes, 0, "some")
    for volume in volumes:
        truth, _ = cache.transform(*read_magnitude(volume.path))
        torch.testing.assert_close(cache.open(volume)[0], truth[0], rtol=1e-3, atol=1e-3)


def test_a_file_written_over_with_equal_size_and_time_is_made_again(cache, volumes, tmp_path):
    path = volumes[0].path
    before = index(tmp_path, tmp_path / "index", FastMRI()).volumes[0]
    with h5py.File(path, "r+") as file:
        file["reconstruction_rss"][0, 0, 0] = 2e-4
    os.utime(path, ns=(before.mtime_ns, before.mtime_ns))
    after = index(tmp_path, tmp_path / "index", FastMRI()).volumes[0]
    assert (after.size, after.mtime_ns) == (before.size, before.mtime_ns)
    assert cache.file(before) != cache.file(after)


@pytest.mark.parametrize("size", [1, BLOCK * BLOCKS, BLOCK * BLOCKS + 1, 3 * BLOCK * BLOCKS])
def test_digest_sees_the_ends_and_every_byte_of_small_files(tmp_path, size):
    content = bytearray(os.urandom(size))
    (tmp_path / "a").write_bytes(content)
    first, places = digest(tmp_path / "a"), {0, size - 1, size // 2 if size <= BLOCK * BLOCKS else size - 1}
    for place in places:
        changed = content.copy()
        changed[place] ^= 1
        (tmp_path / "a").write_bytes(changed)
        assert digest(tmp_path / "a") != first


def test_a_fault_of_the_program_removes_no_volume(cache, volumes):
    """Readers and transforms call a file bad by `DataFault` alone; their own errors name the file and end the preparation."""

    def broken(slices, geometry):
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug") as error:
        VolumeCache(cache.root, cache.read, broken).prepare(volumes, 0, "some")
    assert "while preparing" in error.value.__notes__[0] and ".h5" in error.value.__notes__[0]
    assert not list(cache.root.rglob("*.images"))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e5])
def test_no_transform_keeps_images_that_float16_cannot_hold(cache, volumes, value):
    def broken(slices, geometry):
        return torch.full((1, 1, 32, 32), value), 1.0

    broken = VolumeCache(cache.root, cache.read, broken)
    broken.prepare(volumes, 0, "some")
    assert len(broken.failures(volumes)) == 3


def test_what_cannot_be_read_says_why_and_is_tried_again(cache, volumes, tmp_path):
    whole = (tmp_path / "1.h5").read_bytes()
    (tmp_path / "1.h5").write_bytes(b"gone bad")
    cache.prepare(volumes, 0, "some")
    with pytest.raises(ValueError, match="^cannot be read .*copy it again"):
        cache.open(volumes[1])
    assert cache.failures(volumes).keys() == {volumes[1].path} and len(cache.open(volumes[2])) == 3
    (tmp_path / "1.h5").write_bytes(whole)
    cache.prepare(volumes, 0, "some")
    assert len(cache.open(volumes[1])) == 2 and not cache.failures(volumes)


def test_what_is_no_good_is_not_tried_again(cache, volumes, tmp_path, monkeypatch):
    with h5py.File(tmp_path / "1.h5", "a") as file:
        file["reconstruction_rss"][...] = np.nan
    cache.prepare(volumes, 0, "some")
    assert "not finite" in cache.failures(volumes)[volumes[1].path]
    monkeypatch.setattr(caching, "prepare_one", lambda cache, volume: pytest.fail(f"made {volume} again"))
    cache.prepare(volumes, 0, "some")


def test_memory_that_is_short_is_nobodys_fault(cache, volumes):
    def large(path):
        raise MemoryError("Unable to allocate 1 TiB")

    with pytest.raises(InputError, match=r"data.workers: ..h5 does not fit into memory .*set fewer"):
        VolumeCache(cache.root, large, cache.transform).prepare(volumes, 0, "some")
    assert not list(cache.root.rglob("*.images"))


def test_several_processes_make_the_same(cache, volumes, tmp_path):
    cache.prepare(volumes, 2, "some")
    other = VolumeCache(tmp_path / "other", cache.read, cache.transform)
    other.prepare(volumes, 0, "some")
    for volume in volumes:
        assert all(torch.equal(cache.open(volume)[i], other.open(volume)[i]) for i in range(volume.slices))


def test_damage_is_found_and_mended(cache, volumes):
    cache.prepare(volumes, 0, "some")
    assert cache.verify(volumes) == []
    for volume, change in ((volumes[1], lambda content: content[:-1] + b"!"), (volumes[2], lambda content: content[:-10])):
        path = cache.file(volume)
        path.write_bytes(change(path.read_bytes()))
    assert cache.verify(volumes) == volumes[1:]
    cache.prepare(volumes, 0, "some")
    assert cache.verify(volumes) == []


@pytest.fixture
def full_disk():
    """No file may grow beyond 100 kB: the write that crosses it fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, previous)


def test_full_disk_leaves_no_half_file(tmp_path, full_disk):
    volumes = [probe(write_volume(tmp_path / "a.h5", slices=1, size=100))]
    cache = VolumeCache(tmp_path / "cache", read_magnitude, Magnitude(matrix=320, downsample=1))
    with pytest.raises(InputError, match=r"data.cache: cannot write to .*what is done is kept: free some space.*data.cache=DIR"):
        cache.prepare(volumes, 0, "some")
    assert not list(cache.folder.glob("*.images")) and not list(cache.folder.glob("*.part"))


SCRIPT = """
import sys, time
from contextlib import contextmanager
from pathlib import Path
from condiff.data import cache
from condiff.data.fastmri.reader import probe, read_magnitude
from condiff.data.transforms import Magnitude
folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
atomic_write = cache.atomic_write
class Slow:
    def __init__(self, file): self.file = file
    def write(self, content): self.file.write(content); self.file.flush(); time.sleep(seconds)
@contextmanager
def slow(path):
    with atomic_write(path) as file: yield Slow(file)
cache.atomic_write = slow
volumes = [probe(path) for path in sorted(folder.glob("*.h5"))]
print("begin", flush=True)
cache.VolumeCache(folder / "cache", read_magnitude, Magnitude(matrix=32, downsample=1)).prepare(volumes, 0, "some")
print("done", flush=True)
"""


def started(folder, seconds, number=1):
    """Processes that prepare the same volumes, each of which has begun."""
    command = [sys.executable, "-c", SCRIPT, str(folder), str(seconds)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(number)]
    assert [process.stdout.readline() for process in processes] == ["begin\n"] * number
    return processes


def test_killed_and_resumed(cache, volumes, tmp_path):
    (process,) = started(tmp_path, 5)
    deadline = time.monotonic() + 30
    while not list(cache.folder.glob("*.part")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert list(cache.folder.glob("*.part")) and not list(cache.folder.glob("*.images"))
    cache.prepare(volumes, 0, "some")
    assert cache.verify(volumes) == [] and [len(cache.open(volume)) for volume in volumes] == [1, 2, 3]


def test_two_at_once(cache, volumes, tmp_path):
    processes = started(tmp_path, 0.1, number=2)
    assert [process.communicate()[0] for process in processes] == ["done\n"] * 2
    assert cache.verify(volumes) == [] and [len(cache.open(volume)) for volume in volumes] == [1, 2, 3]
    assert not list(cache.folder.glob("*.part"))


def test_complex_images_are_kept(tmp_path):
    volume = probe(write_raw(tmp_path / "a.h5"))
    cache = VolumeCache(tmp_path / "cache", read_kspace, Complex(matrix=32))
    cache.prepare([volume], 0, "some")
    assert cache.open(volume)[1].shape == (2, 32, 32)


def test_workers_end_with_who_started_them(tmp_path):
    script = """
import time
from condiff.data.workers import worker_pool
if __name__ == "__main__":
    with worker_pool(2, "") as run:
        list(run(abs, range(4)))
        import multiprocessing
        print(*(process.pid for process in multiprocessing.active_children()), flush=True)
        time.sleep(60)
"""
    path = tmp_path / "script.py"
    path.write_text(script)
    parent = subprocess.Popen(
        [sys.executable, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(alive(pid) for pid in workers)


def test_a_script_without_a_main_guard_is_told(tmp_path):
    """Its workers run it again as they start, and would wait for its lock for ever."""
    script = """
from pathlib import Path
from condiff.data.workers import alone, worker_pool
with alone(Path("lock")), worker_pool(2, "") as run:
    list(run(abs, range(4)))
"""
    (tmp_path / "script.py").write_text(script)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 1 and "begin it with if __name__ == '__main__':, or set data.workers=0" in ended.stderr


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False
