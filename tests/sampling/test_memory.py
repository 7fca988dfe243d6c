"""Batches that become smaller when memory runs out, and stay so."""

from types import SimpleNamespace

import pytest
import torch

from condiff.diffusion.samplers import dpmpp_2m_sde
from condiff.evaluation.likelihood import bound_bits
from condiff.sampling import SampleRequest, Sampling, sample
from condiff.sampling.memory import Batches
from condiff.sampling.translation import Source, translate
from tests.sampling.test_batch import SPEC, Model

NAMED = SimpleNamespace(**vars(SPEC), contrasts=SPEC.conditioning.contrasts)


def limited(most, error=torch.OutOfMemoryError):
    """Work that fits ``most`` items; the sizes it was given."""
    sizes = []

    def work(batch):
        sizes.append(len(batch))
        if len(batch) > most:
            raise error("out of memory: DefaultCPUAllocator")
        return list(batch)

    return work, sizes


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_batches_are_halved_and_stay_small(error):
    (work, sizes), batches = limited(3, error), Batches(10)
    assert [item for part in batches.map(work, range(11)) for item in part] == list(range(11))
    assert sizes == [10, 5, 2, 2, 2, 2, 2, 1]
    assert [*batches.map(work, [7, 8, 9])] == [[7, 8], [9]] and batches.size == 2


def test_what_never_fits_is_an_error():
    for most, error in ((0, torch.OutOfMemoryError), (3, ValueError)):
        work, _ = limited(most, error)
        with pytest.raises(error):
            [*Batches(4).map(work, range(5))]
    with pytest.raises(RuntimeError, match="a fault"):
        [*Batches(4).map(lambda batch: (_ for _ in ()).throw(RuntimeError("a fault")), range(5))]


class Small(Model):
    """A model whose device fits two images."""

    def __call__(self, x, sigma, cond):
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA")
        return super().__call__(x, sigma, cond) + 0.1 * x


class Large(Model):
    """The same with room for all."""

    def __call__(self, x, sigma, cond):
        return super().__call__(x, sigma, cond) + 0.1 * x


def test_results_do_not_depend_on_the_memory():
    requests = [SampleRequest("AXT2", seed) for seed in range(5)]
    source = Source(torch.rand(5, 1, 4, 4), "AXT1")

    def results(model):
        how = Sampling(dpmpp_2m_sde, lambda denoise: denoise, steps=4, batch_size=5)
        yield torch.cat(sample(model, SPEC, requests, how))
        yield translate(model, NAMED, source, requests[0], how, strength=0.8)
        yield bound_bits(model, SPEC, source.images, "AXT1", steps=4, width=0.1)
        assert how.batches.size == (2 if isinstance(model, Small) else 5)

    for small, large in zip(results(Small()), results(Large()), strict=True):
        assert torch.equal(small, large)
