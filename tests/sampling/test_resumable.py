"""Many images: resumed where a call was killed, at a cost that grows with their number."""

import math
from types import SimpleNamespace

import h5py
import lightning as L
import numpy as np
import pytest
import torch

from condiff.errors import InputError
from condiff.files import samples_h5
from condiff.sampling import SampleRequest, Sampling
from condiff.sampling.resumable import sample_resumable

REQUESTS = [SampleRequest("AXT1" if seed < 6 else "AXT2", seed) for seed in range(10)]
SPEC = SimpleNamespace(shape=(1, 2, 2))


class Sampler:
    """Images that are their seed; fails after so many batches."""

    def __init__(self, batches=None):
        self.batches, self.seeds = batches, []

    def __call__(self, model, spec, requests, how, on_step):
        if self.batches == 0:
            raise KeyboardInterrupt
        self.batches = None if self.batches is None else self.batches - 1
        self.seeds += [request.seed for request in requests]
        return [torch.full((1, 1, 2, 2), float(request.seed)) for request in requests]


@pytest.fixture
def draw(tmp_path, monkeypatch):
    fabric = L.Fabric(accelerator="cpu", devices=1)

    def run(sampler, batch_size=4, requests=REQUESTS):
        monkeypatch.setattr("condiff.sampling.batch.sample_batch", sampler)
        how = Sampling(None, None, 1, batch_size)
        return sample_resumable(fabric, None, SPEC, requests, how, tmp_path / "samples.h5")

    return run


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_resumes_where_it_was_killed(draw, tmp_path, batches):
    with pytest.raises(KeyboardInterrupt):
        draw(Sampler(batches))
    (tmp_path / "samples.parts").mkdir(exist_ok=True)
    (tmp_path / "samples.parts" / "00000008.4711").write_bytes(b"\x89HDF cut")  # of a process killed while it wrote
    rest = Sampler()
    images, cost = draw(rest, batch_size=3)  # of any size
    assert rest.seeds == list(range(4 * batches, 10))
    assert images[:, 0, 0, 0].tolist() == list(range(10)) and cost.num_images == 10
    with h5py.File(tmp_path / "samples.h5") as file:
        assert np.array_equal(file["images"][()], images) and list(file["seed"]) == list(range(10))
        assert list(file["contrast"].asstr())[5:7] == ["AXT1", "AXT2"] and file.attrs["drawn"] == 10
    assert [path.name for path in tmp_path.iterdir()] == ["samples.h5"]
    again = Sampler()
    assert torch.equal(draw(again)[0], images) and not again.seeds


def test_killed_between_the_whole_and_the_removal_of_its_parts(draw, tmp_path):
    images, _ = draw(Sampler())
    (tmp_path / "samples.parts").mkdir()
    samples_h5.save_h5(tmp_path / "samples.parts/00000000.h5", images[:4] + 100, ["a"] * 4, [0] * 4, drawn=4)
    (tmp_path / "samples.parts/notes.h5").write_bytes(b"no part")
    assert torch.equal(draw(Sampler(0))[0], images)


def test_every_image_is_written_twice_however_many(draw, monkeypatch):
    """By its round and into the whole: not once for every later round."""
    save, written = samples_h5.save_h5, []

    def counted(path, images, *rest, **about):
        written.append(len(images))
        save(path, images, *rest, **about)

    monkeypatch.setattr(samples_h5, "save_h5", counted)
    draw(Sampler(), batch_size=1, requests=[SampleRequest(None, seed) for seed in range(100)])
    assert sum(written) == 200


def test_a_damaged_part_is_named(draw, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        draw(Sampler(1))
    (tmp_path / "samples.parts/00000000.h5").write_bytes(b"damaged")
    with pytest.raises(InputError, match="00000000.h5: not readable .* delete it"):
        draw(Sampler())


def _elsewhere(file):
    file["images"] = h5py.ExternalLink("other.h5", "images")


def _virtual(file):
    layout = h5py.VirtualLayout((10, 1, 2, 2), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "images", (10, 1, 2, 2))
    file.create_virtual_dataset("images", layout)


def _of(shape, value=0.0, **about):
    def write(file):
        file["images"] = np.full(shape, value, np.float32)
        file.attrs.update({"drawn": 1, "evaluations": 1, "seconds": 1.0} | about)

    return write


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_elsewhere, "images is a link"),
        (_virtual, "images is stored in other files"),
        (_of((10, 1, 4, 4)), r"lacks images of \[1, 2, 2\], or their cost"),
        (_of(10), "lacks images"),
        (_of((10, 1, 2, 2), seconds="long"), "lacks images"),
        (_of((10, 1, 2, 2), drawn=0), "lacks images"),
        (_of((10, 1, 2, 2), seconds=math.nan), "lacks images"),
        (_of((10, 1, 2, 2), value=math.nan), "its images are not finite"),
        (_of((11, 1, 2, 2)), "holds 11 samples of an earlier evaluation, 10 expected"),
        (lambda file: None, "lacks images"),
    ],
)
def test_samples_of_a_stranger_bring_nothing_in(draw, tmp_path, write, message):
    samples_h5.save_h5(tmp_path / "other.h5", torch.zeros(10, 1, 2, 2), ["a"] * 10, [0] * 10)
    with h5py.File(tmp_path / "samples.h5", "w") as file:
        write(file)
    with pytest.raises(InputError, match=f"samples.h5: .*{message}.*delete it to draw them again"):
        draw(Sampler())
