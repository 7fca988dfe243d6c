"""A model that begins with the weights of a model of other contrasts."""

import h5py
import pytest
import torch

from condiff.data.conditioning import PARAMETERS, AcquisitionCondition, ContrastCondition, piecewise_linear
from condiff.errors import InputError
from condiff.nn import ContextUNet, UNet
from condiff.training.init_weights import dropped, with_condition
from tests.conftest import TINY_RUN

RANGES = {name: {"te": [10.0, 100.0], "tr": [500.0, 9000.0]} for name in ("T1", "T2", "PD")}
KNOWN = {
    "contrast": ContrastCondition(["T1", "T2", "PD"]),
    "acquisition": AcquisitionCondition(["T1", "T2", "PD"], RANGES, piecewise_linear),
}
NETWORKS = {
    "unet": lambda cond: UNet(1, cond.dim, channels=[8, 8], blocks=[1, 1], attention=[False, True]),
    "tokens": lambda cond: UNet(1, cond.dim, channels=[8, 8], blocks=[1, 1], attention=[False, True], fields=cond.fields),
    "context_unet": lambda cond: ContextUNet(1, cond.dim, features=8, window=2),
}


def wanted_of(known):
    """The same condition of two of the contrasts, in another order, and a new one."""
    names = ["FLAIR", "PD", "T1"]
    return ContrastCondition(names) if known.ranges is None else AcquisitionCondition(names, known.ranges, piecewise_linear)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", KNOWN)
def test_known_contrasts_stay_and_new_ones_begin_as_none(network, kind):
    known = KNOWN[kind]
    wanted = wanted_of(known)
    torch.manual_seed(0)
    old, new = NETWORKS[network](known), NETWORKS[network](wanted)
    for parameter in old.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    state = {f"model.denoiser.net.{name}": weight for name, weight in old.state_dict().items()}
    adapted = with_condition(state, known, wanted)
    new.load_state_dict({name.removeprefix("model.denoiser.net."): weight for name, weight in adapted.items()})
    x, noise = torch.randn(1, 1, 8, 8), torch.zeros(1)
    given = {} if known.ranges is None else {"te": 30.0, "agent": "with"}
    for contrast in ("PD", "T1", None):
        before, after = (cond.encode(contrast, given)[None] for cond in (known, wanted))
        torch.testing.assert_close(new(x, noise, after), old(x, noise, before))
    assert not torch.allclose(old(x, noise, known.encode("T1")[None]), old(x, noise, known.encode("PD")[None]))
    nothing, flair = (wanted.encode(contrast)[None] for contrast in (None, "FLAIR"))
    torch.testing.assert_close(new(x, noise, flair), new(x, noise, nothing))


def test_parameters_of_a_model_that_knew_contrasts_alone():
    """Their columns are new, those of the contrasts known."""
    wanted = AcquisitionCondition(["T2", "T1"], RANGES, piecewise_linear)
    weight = torch.randn(5, 3)
    adapted = with_condition({"net.cond.weight": weight}, KNOWN["contrast"], wanted)["net.cond.weight"]
    assert torch.equal(adapted[:, :2], weight[:, [1, 0]]) and not adapted[:, 2:].any()


def test_what_is_dropped_is_named():
    assert dropped(KNOWN["acquisition"], KNOWN["contrast"]) == ["agent", "sequence", *PARAMETERS]
    assert dropped(KNOWN["contrast"], wanted_of(KNOWN["contrast"])) == ["contrast T2"] and not dropped(*2 * [KNOWN["contrast"]])


def test_ranges_of_contrasts_that_the_model_lacks_are_no_advice():
    """A checkpoint of an earlier version may have them, and is encoded by them."""
    known = KNOWN["acquisition"]
    assert known.with_ranges_of([]) is known
    fewer = AcquisitionCondition(["T1"], {"T1": {"te": [10.0, 20.0]}, "T2": {"te": [80.0, 100.0]}}, piecewise_linear)
    with pytest.raises(InputError, match="te=90: the training images of T1 have 10 to 20; stay within, or set"):
        fewer.encode("T1", {"te": 90})
    assert fewer.scale("te") == (10, 100) and fewer.range_of("te", None) == (10, 20)


def test_the_command_samples_as_before(run_entry, tmp_path, capsys):
    """Trained on two contrasts, begun again with one of them and a new one, and not trained."""
    settings = [*TINY_RUN[:-1], "trainer.max_epochs=1"]
    run_entry("train.py", *settings, "data.contrasts=[AXT1,AXT2]", "hydra.run.dir=runs/old")
    words = ["init=runs/old", "data.contrasts=[AXFLAIR,AXT2]", "model.optimizer.lr=0", "hydra.run.dir=runs/new"]
    run_entry("train.py", *settings, *words)
    log = (tmp_path / "runs/new/train.log").read_text()
    assert "init: AXFLAIR new to the model, which knows AXT1, AXT2" in log
    for run in ("old", "new"):
        run_entry("sample.py", f"ckpt=runs/{run}", "contrast=AXT2", "num_samples=2", "steps=3", "accelerator=cpu", f"out={run}")
    with h5py.File("old/samples.h5") as old, h5py.File("new/samples.h5") as new:
        assert old["images"][()] == pytest.approx(new["images"][()], abs=1e-5)
