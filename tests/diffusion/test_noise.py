"""Noise from seeds: the words of Philox, normal, and a function of the image's seed and the number of the draw alone."""

import pytest
import torch
from scipy.stats import kstest, pearsonr

from condiff.diffusion.noise import WORD, SeededNoise, philox
from condiff.seeds import derive_seed


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # kat_vectors of Random123, by the authors of Philox
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([WORD] * 4, [WORD] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_words_are_those_of_the_paper(counter, key, words):
    assert [word.item() for word in philox(torch.tensor(counter), torch.tensor(key))] == words


def test_noise_is_normal_and_independent():
    noise = SeededNoise([0, 1])
    first, second = (noise.draw((1, 200, 250)).flatten(1).numpy() for _ in range(2))
    for one, other in ((first[0], first[1]), (first[0], second[0]), (first[0, 1:], first[0, :-1])):
        assert kstest(one, "norm").pvalue > 1e-3
        assert pearsonr(one, other).pvalue > 1e-3 and pearsonr(one**2, other**2).pvalue > 1e-3


def test_noise_depends_on_seed_and_draw_alone():
    seeds = [3, 4, -5, 2**40 + 3, derive_seed("reconstruct", 1)]
    together, alone = SeededNoise(seeds), SeededNoise(seeds[2:3])
    x = torch.zeros(5, 1, 3, 3, dtype=torch.float64)
    draws = [(together(x), alone(x[:1])) for _ in range(3)]
    assert all(torch.equal(batch[2:3], one) and one.dtype == torch.float64 for batch, one in draws)
    assert len(torch.cat([batch for batch, _ in draws]).unique()) == 3 * x.numel()  # no number twice
    assert SeededNoise([]).draw((1, 2)).shape == (0, 1, 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_noise_is_that_of_the_cpu():
    host, device = (SeededNoise([1, 2**62]).draw((2, 65, 33), name) for name in ("cpu", "cuda"))
    torch.testing.assert_close(device.cpu(), host, rtol=1e-5, atol=1e-6)
