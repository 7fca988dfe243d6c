"""The Python API: what a command can do, a notebook does in one line, with the same result."""

import h5py
import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

import condiff
from condiff.errors import InputError
from condiff.evaluation.likelihood import bits_per_dimension
from condiff.images import Images
from condiff.mri.fourier import center_crop, fft2c, ifft2c
from condiff.mri.masks import equispaced


@pytest.fixture(scope="module")
def model(trained_once):
    return condiff.load(trained_once)


def head(size=32):
    """A smooth bright disc with a phase, complex [H, W]."""
    axis = torch.linspace(-1.4, 1.4, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    inside = torch.sigmoid(12 * (0.8 - (x**2 + y**2).sqrt()))
    return torch.polar(inside * (1 + 0.5 * x), 0.6 * y)


def coil_maps(coils=4, size=32):
    """Smooth maps [K, H, W] with a root sum of squares of 1."""
    axis = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    angles = 2 * torch.pi * torch.arange(coils) / coils
    maps = torch.stack([torch.polar(torch.exp(-(((x - a.cos()) ** 2 + (y - a.sin()) ** 2) / 2)), a + x) for a in angles])
    return maps / maps.abs().square().sum(dim=0).sqrt()


def scan(noise=1e-3, coils=4, size=32):
    """K-space [K, H, W] of `head` by `coil_maps`."""
    generator = torch.Generator().manual_seed(0)
    kspace = fft2c(coil_maps(coils, size) * head(size))
    return kspace + noise * torch.randn(kspace.shape, generator=generator, dtype=torch.complex64)


def of_another():
    """An image of the model `phantom`."""
    return Images(torch.zeros(1, 1, 128, 128), condiff.load("phantom").spec, ("AXT2",), (0,))


def test_parameters_without_a_value_are_unknown(tmp_path):
    images = condiff.load("phantom").sample("AXT2", n=1, steps=1, te=None, tr=4000.0)
    assert dict(images.parameters) == {"tr": 4000.0}
    for name in ("a.h5", "a.dcm", "a.nii.gz"):
        assert images.save(tmp_path / name).exists()


def test_a_sample_is_that_of_the_command(model, trained_once, run_entry, tmp_path):
    words = ["contrast=AXT2", "num_samples=3", "seed=5", "sampler=ddim", "steps=4", "guidance.scale=2", "accelerator=cpu"]
    run_entry("sample.py", f"ckpt={trained_once}/checkpoints/last.ckpt", *words, "guidance=classifier_free", "out=drawn")
    images = model.sample("AXT2", n=3, seed=5, sampler="ddim", steps=4, guidance=2.0)
    with h5py.File(tmp_path / "drawn/samples.h5") as file:
        assert np.array_equal(images.values, file["images"][()]) and images.seeds == (5, 6, 7)
    again = model.sample(["AXT1", "AXT2"], n=2, seed=4, sampler="ddim", steps=4, guidance=2.0, batch_size=3)
    assert torch.allclose(again.values[again.seeds.index(6)], images.values[1], atol=1e-5)  # its seed and contrast alone


def test_half_precision_and_a_compiled_network(model, trained_once, run_entry, tmp_path, monkeypatch):
    """Both change the images by rounding alone; without compiling, the command and the notebook draw the same."""
    compile_network, compiled = torch.nn.Module.compile, []

    def traced(network):
        """As `compile`, without the minute that generating code takes."""
        compiled.append(type(network).__name__)
        compile_network(network, backend="aot_eager")

    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    words = [f"ckpt={trained_once}/checkpoints/last.ckpt", "contrast=AXT2", "num_samples=2", "steps=3", "accelerator=cpu"]
    drawn = {}
    for name, more in {"half": [], "compiled": ["compile=true"]}.items():
        run_entry("sample.py", *words, "precision=bf16-mixed", *more, f"out={name}")
        with h5py.File(tmp_path / name / "samples.h5") as file:
            drawn[name] = file["images"][()]
    assert compiled == ["UNet"]
    half = condiff.load(trained_once, precision="bf16-mixed").sample("AXT2", n=2, steps=3)
    assert np.array_equal(half.values, drawn["half"])
    full = model.sample("AXT2", n=2, steps=3)
    assert not np.array_equal(full.values, drawn["half"])
    for images in drawn.values():
        assert images == pytest.approx(full.values.numpy(), abs=5e-2)


def test_a_checkpoint_and_the_folder_of_its_run_are_the_same_model(model, trained_once):
    other = condiff.load(trained_once / "checkpoints/last.ckpt")
    assert all(torch.equal(a, b) for a, b in zip(model.network.parameters(), other.network.parameters(), strict=True))
    assert not any(weight.requires_grad for weight in model.network.parameters()) and model.network.device.type == "cpu"
    assert repr(model).startswith("Model(magnitude images of 16 x 16, AXT1,")


def test_images_are_saved_by_suffix(model, tmp_path):
    images = model.sample(n=2, seed=0, steps=2)
    assert images.magnitude.shape == (8, 16, 16) and images.magnitude.min() >= 0 and len(images[:3]) == 3
    assert [image.seeds[0] for image in images] == [*images.seeds] and images[-1].contrasts == images.contrasts[-1:]
    with pytest.raises(IndexError):
        images[8]
    volume = nib.load(images.save(tmp_path / "deep/a.nii.gz"))
    assert np.array_equal(volume.get_fdata(dtype=np.float32), images.magnitude.transpose(2, 1, 0))
    assert volume.header.get_zooms()[:2] == pytest.approx((images.pixel_mm,) * 2)
    assert volume.header["sform_code"] == 0 and b"synthetic" in volume.header["descrip"].tobytes()
    with h5py.File(images.save(tmp_path / "a.h5")) as file:
        assert np.array_equal(file["images"][()], images.values) and list(file["seed"]) == list(images.seeds)
    assert Image.open(images.save(tmp_path / "a.gif")).n_frames == 8
    with Image.open(images.save(tmp_path / "a.png")) as picture:
        assert picture.height > 4 * 100  # four rows, a contrast each
    assert images._repr_png_()[:4] == b"\x89PNG"


def test_translation_keeps_the_image_under_its_own_contrast(model):
    """The ODE up and down under one condition is the identity, but for the error of its steps."""
    images = model.sample("AXT2", n=2, seed=0, steps=10)
    same = model.translate(images, to="AXT2", steps=60, guidance=1.0)
    other = model.translate(images, to="AXFLAIR", steps=60, guidance=1.0)
    change = [(made.values - images.values).abs().mean().item() for made in (same, other)]
    assert change[0] < 0.1 * images.values.std().item() and same.contrasts == ("AXT2", "AXT2")
    assert change[1] != change[0] and other.contrasts == ("AXFLAIR", "AXFLAIR")


def test_bits_of_each_image_depend_on_it_alone(model):
    images = model.sample(["AXT1", "AXT2"], n=2, seed=0, steps=2)
    bits = model.bits_per_dim(images, steps=6)
    assert bits.shape == (4,) and np.isfinite(bits).all()
    assert bits[:2] == pytest.approx(model.bits_per_dim(images[:2], steps=6), rel=1e-5)
    columns = bits_per_dimension(model.network, model.spec, images.values[:2], "AXT1", steps=6, width=2 / 255)
    assert bits[:2] == pytest.approx(columns["bound"].numpy(), rel=1e-5)  # those of likelihood.py


def test_own_maps_and_all_samples_give_the_image(model):
    """y = A x with known maps: SENSE finds x, in units of the root sum of squares, at the model's resolution."""
    kspace = scan(noise=1e-4)
    result = model.reconstruct(kspace.numpy(), method="sense", maps=coil_maps())
    truth = ifft2c(center_crop(fft2c(head()), (16, 16))).abs() / 2  # as the model's images; the transform is unitary
    assert result.mean.shape == (1, 16, 16) and result.std.max() == 0
    error = (torch.from_numpy(result.magnitude[0]) - truth).abs()[truth > 0.3]
    assert error.max() < 0.1 and error.mean() < 0.03


def test_reconstruction_with_a_prior(model, tmp_path):
    kspace = scan()
    mask = equispaced((32, 32), 2.0, center_fraction=0.3, generator=torch.Generator().manual_seed(0))[0]
    few = {"method": "posterior", "samples": 3, "steps": 3, "contrast": "AXT2", "seed": 1}
    result = model.reconstruct(torch.stack([kspace, 2 * kspace]), mask, **few)
    assert result.samples.shape == (3, 2, 16, 16) and result.samples.dtype == np.complex64 and result.std.max() > 0
    assert np.allclose(result.mean, result.samples.mean(axis=0))
    by_plane = model.reconstruct(torch.stack([kspace, 2 * kspace]), mask.expand(32, 32), **few)
    assert np.array_equal(result.samples, by_plane.samples)
    one = nib.load(result.save(tmp_path / "r.nii.gz"))
    assert np.allclose(one.get_fdata(), result.magnitude.transpose(2, 1, 0))
    with h5py.File(result.save(tmp_path / "r.h5")) as file:
        assert {*file} == {"reconstruction", "combined", "standard_deviation", "samples", "zero_filled"}
        assert np.array_equal(file["reconstruction"], result.magnitude) and np.array_equal(file["standard_deviation"], result.std)
    assert Image.open(result.save(tmp_path / "r.gif")).n_frames == 3 and result.save(tmp_path / "r.png").is_file()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.sample("AXT9"), "contrast=AXT9: unknown"),
        (lambda m: m.sample("AXT2", te=90), "^te: this model knows contrasts alone"),
        (lambda m: m.sample(sampler="nope"), "sampler=nope: no such choice; there are .*ddim"),
        (lambda m: m.sample(sed=80), "^sed: is no argument, and no parameter of the acquisition: those are agent, "),
        (lambda m: m.sample(3), "^contrast=3: unknown"),
        (lambda m: m.sample(sampler=5), "^sampler=5: give one of condiff.diffusion.samplers"),
        (lambda m: m.sample(steps="a"), "^steps='a': give a whole number of at least 1"),
        (lambda m: m.sample(seed="a"), "^seed='a': give a whole number"),
        (lambda m: m.sample(guidance=-1.0), "^guidance=-1.0: give a number of at least 0"),
        (lambda m: m.sample(guidance="strong"), "^guidance='strong': give a number of at least 0"),
        (lambda m: m.sample(n=0), "^n=0: give a whole number of at least 1"),
        (lambda m: m.sample(n="4"), "^n='4': give a whole number"),
        (lambda m: m.sample(n=2.5), "^n=2.5: give a whole number"),
        (lambda m: m.sample("AXT1", n=1, steps=2).save("x.jpg"), r"x.jpg: unknown suffix; there are .png"),
        (lambda m: m.translate(m.sample(n=1, steps=2), to="AXT1", steps=2), "source: the contrast of the images is unknown"),
        (lambda m: m.translate(np.ones((1, 16, 16)), "AXT1"), "^images: is ndarray; give Images"),
        (
            lambda m: m.translate(of_another(), "AXT1"),
            r"^images: are \[1, 128, 128\] with pixels of 1.72 mm, and the model's \[1, 16",
        ),
        (lambda m: m.bits_per_dim(of_another()), r"^images: are \[1, 128, 128\] with pixels of 1.72 mm, and the model's \[1, 16"),
        (lambda m: m.translate(m.sample("AXT2", n=1, steps=2), "FLAIR"), "^to=FLAIR: unknown"),
        (lambda m: m.translate(m.sample("AXT2", n=1, steps=2), "AXT1", source="AXT1"), "^source=AXT1: the images are AXT2"),
        (lambda m: m.translate(m.sample("AXT2", n=1, steps=2), "AXT1", strength="a"), "^strength='a': give a number"),
        (lambda m: m.reconstruct(np.zeros((3, 4))), "^kspace: is of float64; give complex numbers"),
        (lambda m: m.reconstruct(np.zeros((3, 4), complex)), r"^kspace: is \[3, 4\]; give \[K, H, W\]"),
        (lambda m: m.reconstruct(scan() * torch.nan), "^kspace: 4096 of its numbers are not finite"),
        (lambda m: m.reconstruct(scan(), maps=coil_maps() * torch.inf), "^maps: 4096 of its numbers are not finite"),
        (lambda m: m.reconstruct(scan(), ["a"] * 32), "^mask: is of <U1; give real numbers"),
        (lambda m: m.reconstruct(scan(), np.arange(32) % 2), "^mask: .* sample more of the center [(]center_fraction"),
        (lambda m: m.reconstruct(scan(), np.ones(5)), r"mask: is \[5\]; give \[32\] or \[32, 32\]"),
        (lambda m: m.reconstruct(scan(), maps=np.ones((5, 32, 32))), "maps: of 1 slices and 5 coils, the k-space has 1 and 4"),
        (lambda m: m.reconstruct(scan(), method="nope"), "method=nope: no such choice"),
        (lambda m: m.reconstruct(scan(), method="sense", samples=4), "samples=4 .*: this method has no prior"),
        (lambda m: m.reconstruct(scan(), contrast="AXT9"), "contrast=AXT9: unknown"),
        (lambda m: m.reconstruct(scan(), te=90), "^te: this model knows contrasts alone"),
        (lambda m: m.reconstruct(scan(), samples=0), "^samples=0: give a whole number of at least 1"),
        (lambda m: m.reconstruct(scan(), steps=-1), "^steps=-1: give a whole number of at least 1"),
        (lambda m: m.reconstruct(scan(), coils=0), "^coils=0: give a whole number of at least 1"),
        (lambda m: m.reconstruct(scan(), batch_size=0), "^batch_size=0: give a whole number of at least 1"),
        (lambda m: m.reconstruct(scan(), steps=0), "^steps=0: give a whole number of at least 1"),
        (lambda m: m.reconstruct(scan(), True), r"^mask: is \[\]; give \[32\]"),
        (lambda m: m.reconstruct(scan(), options={"iterations": 2.5}), "^options: iterations=2.5: give a whole number"),
        (lambda m: m.reconstruct(scan(), coils="4"), "^coils='4': give a whole number"),
        (lambda m: m.reconstruct(scan(), fov_mm="a"), "^fov_mm='a': give one number or two"),
        (lambda m: m.reconstruct(scan(), fov_mm=-1), "^fov_mm=-1: give one number or two, from 20 to 1000 mm"),
        (lambda m: m.reconstruct(scan(), options={"foo": 1}), "^options: method=dds has no foo; it has prior_weight, eta"),
        (lambda m: m.reconstruct(scan(), options={"prior_weight": "a"}), "^options: prior_weight='a': give a number"),
        (lambda m: m.bits_per_dim(m.sample(n=1, steps=2), width=0), "^width=0: give a number of at least 1e-06"),
        (lambda m: m.bits_per_dim(np.ones((1, 1, 16, 16))), "^images: is ndarray; give Images"),
        (lambda m: m.sample(batch_size=0), "^batch_size=0: give a whole number of at least 1"),
        (lambda m: m.translate("nofile.h5", "AXT2"), "^nofile.h5: no such file"),
        (lambda m: condiff.load("nowhere"), "nowhere: no such checkpoint"),
        (lambda m: m.to("abacus"), "^device=abacus: "),
    ],
)
def test_errors_name_the_argument(model, call, message):
    with pytest.raises(InputError, match=message):
        call(model)
