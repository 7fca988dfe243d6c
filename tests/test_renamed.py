"""What version 0.1 left: its checkpoints, and images that it prepared."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

from condiff.checkpoint import Checkpoint
from condiff.commands.command_line import quote_for_hydra
from condiff.data.cache import VolumeCache, cache_key
from condiff.data.fastmri.layout import FastMRI
from condiff.data.fastmri.reader import read_magnitude
from condiff.data.header import Header
from condiff.data.index import index, table_path
from condiff.data.latents import codes_name
from condiff.data.phantom.volumes import Phantom
from condiff.data.transforms import Magnitude
from condiff.data.volume import Volume
from condiff.diffusion.guidance import classifier_free
from condiff.diffusion.noise import SeededNoise
from condiff.diffusion.samplers import dpmpp_2m_sde
from condiff.renamed import KEYS, RENAMED, first_name, upgraded, upgraded_word
from condiff.sampling import Sampling, make_requests, sample
from tests.conftest import ROOT, write_volume

FIXTURES = Path(__file__).parent / "fixtures"
MIRROR = "condiff.data.augment.mirror", [], [("probability", "0.5")]
AUGMENT = {  # as named in 0.1; codes are kept by it
    "magnitude": MIRROR,
    "complex": ("condiff.data.augment.chain", [], [("steps", [MIRROR, ("condiff.data.augment.turn_phase", [], [])])]),
}
OLD = FIXTURES / "version-0.1.ckpt"  # experiment=smoke model=acquisition net.channels=[8] …, 8 steps, at commit abe7237


class NoiseOfVersion01(SeededNoise):
    """Drawn by a generator of torch per image."""

    def __init__(self, seeds):
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw(self, shape, device="cpu"):
        return torch.stack([torch.randn(shape, generator=generator) for generator in self.generators])


def test_a_checkpoint_of_version_0_1_samples_the_same_images(monkeypatch):
    """Those of `python sample.py ckpt=OLD num_samples=1 seed=3 steps=4` of that version, from its noise."""
    monkeypatch.setattr("condiff.diffusion.generate.SeededNoise", NoiseOfVersion01)
    checkpoint = Checkpoint.read(OLD)
    spec = checkpoint.spec()
    requests = make_requests(spec.contrasts, 1, seed=3)

    def guidance(denoise):
        return classifier_free(denoise, scale=1.5, interval=(0.05, 1.5))

    drawn = sample(checkpoint.model(), spec, requests, Sampling(dpmpp_2m_sde, guidance, steps=4))
    expected = np.load(FIXTURES / "version-0.1.npy")
    assert np.abs(torch.cat(drawn).numpy() - expected).max() < 1e-4 * np.abs(expected).max()


def test_images_are_kept_under_the_names_of_version_0_1(tmp_path):
    """Of magnitude, complex and codes; the names are those that version 0.1 gave."""
    names = {"magnitude": "images-cd0ab0a2af02", "complex": "images-6732c0270b55"}
    for transform, name in names.items():
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = compose("train", ["data=phantom_small", f"data/transform={transform}", f"data.cache={tmp_path}"])
        data = instantiate(cfg.data)
        assert data.volumes.cache.folder.name == name
        assert cache_key(data.augment) == AUGMENT[transform]


def test_the_cache_is_found_under_the_names_of_version_0_1():
    """Whoever changes one of these names makes everybody's images, index, phantom or codes again."""
    header = Header((256, 128), (440.0, 220.0), (220.0, 220.0), (0, 128), "7", 2.9, 446.0, 9.0, None, 140.0, "TurboSpinEcho")
    stamp = 10, 20, 30
    volume = Volume(Path("/brains/a.h5"), "AXT1", "p", "AXT1", "train", 8, 4, 256, 128, 0.5, "abc", *stamp, header)
    cache = VolumeCache(Path("/cache"), read_magnitude, Magnitude(128, 2))
    assert cache.file(volume) == Path("/cache/images-702e119f83a1/bd3962bdd14f357ab932.images")
    assert table_path(Path("/brains"), Path("/cache")) == Path("/cache/index-1241d51335c0/index.csv")
    assert Phantom().key == "phantom-c02c3c66f3b4"
    assert codes_name("images-1", [1], 4, 0, torch.arange(3.0)) == "codes-23f4de964430"


def test_the_columns_of_an_index(tmp_path):
    """A table with others is made again."""
    (tmp_path / "data").mkdir()
    write_volume(tmp_path / "data" / "a.h5")
    index(tmp_path / "data", tmp_path, FastMRI())
    columns = (
        "file patient acquisition slices coils rows cols norm digest size mtime_ns ctime_ns matrix fov_mm recon_fov_mm columns "
        "measurement field_t tr te ti flip sequence reason"
    )
    assert table_path(tmp_path / "data", tmp_path).read_text().splitlines()[0].split(",") == columns.split()


def test_a_renamed_dataclass_keeps_its_images(monkeypatch):
    """As a renamed function does."""
    monkeypatch.setitem(RENAMED, "condiff.data.transforms.Modulus", "condiff.data.transforms.Magnitude")
    assert cache_key(Magnitude(128, 2))[0] == "Modulus"


def test_every_new_name_is_there_and_belongs_to_one_old():
    assert len({*RENAMED.values()}) == len(RENAMED)
    for old, new in RENAMED.items():
        assert callable(get_object(new)), new
        assert first_name(new) == old and upgraded({"a": [{"_target_": old}]}) == {"a": [{"_target_": new}]}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("mask.centre=0.1", "mask.center_fraction=0.1"),
        ("+sampler.walk.eta=1", "+sampler.fn.eta=1"),
        ("method.walk.trust=3", "method.fn.prior_weight=3"),
        ("method=csgm_normalised", "method=csgm_normalized"),
        ("first.data.loaders=2", "first.data.num_workers=2"),
        (
            "++first.data.order._target_=condiff.data.order.balanced",
            "++first.data.sampling_order._target_=condiff.data.index_sampler.balanced",
        ),
        ("clamp._target_=condiff.diffusion.guidance.unguided", "clamp._target_=condiff.diffusion.guidance.identity"),
        ("mask.centred=1", "mask.centred=1"),
        ("name=mask.centre=1", "name=mask.centre=1"),
        ("-m", "-m"),
    ],
)
def test_words_of_a_command_line(old, new, capsys):
    """The present name is used, and told once where it differs."""
    assert upgraded_word(old) == new
    assert quote_for_hydra([old])[0] in (new, f"name='{new[5:]}'") and ("note: " in capsys.readouterr().err) is (old != new)


def test_every_new_key_stands_in_conf():
    for new in KEYS.values():
        group, *path = new.split(".")
        files = [*(ROOT / "conf" / group).glob("*.yaml"), *(ROOT / "conf").glob("*.yaml")]
        keys = ".".join(path), new  # the second in a command's own file, and in one of the package _global_
        assert any(OmegaConf.select(OmegaConf.load(file), key) is not None for file in files for key in keys), new


def test_keys_of_a_checkpoint():
    old = {"sampler": {"walk": {"_target_": "f"}, "steps": 2}, "clamp": {"centre": -1.0}, "overrides": ["sampler.walk.eta=1", 3]}
    new = {"sampler": {"fn": {"_target_": "f"}, "steps": 2}, "clamp": {"center": -1.0}, "overrides": ["sampler.fn.eta=1", 3]}
    assert upgraded(old) == new == upgraded(new)
    assert [*upgraded(old)["sampler"]] == ["fn", "steps"]


def test_a_checkpoint_of_version_0_1_is_resumed(run_entry):
    """For one epoch more; its configuration has ``sampler.walk`` and functions under the names of that version."""
    epochs = Checkpoint.read(OLD).content["epoch"] + 1
    run_entry("train.py", f"resume={OLD}", f"trainer.max_epochs={epochs + 1}", "hydra.run.dir=resumed")
    assert Checkpoint.read("resumed/checkpoints/last.ckpt").content["epoch"] == epochs


def test_what_has_no_name_of_its_own_names_no_images():
    with pytest.raises(TypeError, match="cannot be named by a object"):
        cache_key({"maps": object()})
