"""Which images are drawn, what they cost, and folders that never mix those of two commands."""

import pytest
import torch

from condiff import sampling
from condiff.data.conditioning import ContrastCondition
from condiff.diffusion.guidance import classifier_free
from condiff.diffusion.samplers import dpmpp_2m
from condiff.diffusion.schedules import Karras
from condiff.errors import InputError
from condiff.files.results import check_folder, digest, keep
from condiff.nn import Pixels

CONDITION = ContrastCondition(("AXT1", "AXT2"))


class System:
    """A conditional model whose x0 is the sum of its condition; it counts the images that it sees."""

    conditional, device, codec, schedule, images = True, torch.device("cpu"), Pixels(), Karras(0.01, 10.0), 0

    def __call__(self, x, sigma, cond):
        self.images += len(x)
        return x * 0 + (0 if cond is None else cond.sum(1).view(-1, 1, 1, 1))


@pytest.mark.parametrize(("contrast", "evaluations", "value"), [(None, 4, 0.0), ("AXT2", 8, 3.0)])
def test_guidance_costs_nothing_where_no_contrast_is_asked_for(contrast, evaluations, value):
    system, draws = System(), [sampling.Draw(contrast, 0)]
    (states,) = sampling.draw(system, CONDITION, draws, (1, 4, 4), dpmpp_2m, lambda d: classifier_free(d, 3.0), 4)
    assert system.images == evaluations and states[-1].mean().item() == pytest.approx(value, abs=1e-3)


def test_results_of_other_settings_are_refused(tmp_path):
    out = tmp_path / "a/b"
    check_folder(out, {"seed": 0}, ["samples.h5"])
    assert not out.parent.exists()  # a check leaves nothing
    keep(out, {"seed": 0})
    (out / "samples.h5").touch()
    check_folder(out, {"seed": 0}, ["samples.h5"])
    check_folder(out)
    with pytest.raises(InputError, match="holds results of other settings"):
        check_folder(out, {"seed": 1}, ["samples.h5"])
    (out / "settings.json").unlink()
    with pytest.raises(InputError, match="holds results of other settings"):
        check_folder(out, {"seed": 0}, ["samples.h5"])


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("abc")
    for path in (tmp_path / "file", tmp_path / "file/out"):
        with pytest.raises(InputError, match="is a file; give a folder"):
            check_folder(path)
    assert digest(tmp_path / "file").startswith("ba7816bf")
