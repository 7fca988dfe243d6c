"""A trained model as one object: to sample, translate, reconstruct and measure from a notebook in a line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from torch import Tensor

from condiff.checkpoint import Checkpoint
from condiff.configuration import chosen, compose, with_options
from condiff.data.conditioning import NOTHING
from condiff.data.image_spec import ImageSpec
from condiff.diffusion.guidance import Guidance, classifier_free, identity
from condiff.diffusion.model import DiffusionModel
from condiff.diffusion.samplers import Sampler
from condiff.errors import InputError, check_number, check_whole
from condiff.evaluation.likelihood import bound_bits
from condiff.export.folder import save as export
from condiff.images import Images
from condiff.progress import progress_bar
from condiff.reconstruction.arrays import Arrays
from condiff.reconstruction.prior import Prior
from condiff.reconstruction.result import Reconstruction
from condiff.sampling import ANY, SampleRequest, Sampling, make_requests, resolve_contrasts, sample
from condiff.sampling.translation import Source, steps_of, translate


def load(path: str | Path, device: str | torch.device = "cpu", trust: Sequence[str] = (), precision: str = "32-true") -> "Model":
    """A trained model.

    Args:
        path: a checkpoint, a run's folder, a folder of runs, of which the newest is taken, a folder that `Model.save` wrote, or
            the name of a model that comes with condiff: "phantom", magnitude images of four contrasts, or "phantom_prior",
            complex images, for `reconstruct`.
        trust: names of your own classes and functions that the checkpoint may construct.
        precision: of the network's computations: 32-true; bf16-mixed or 16-mixed, faster on GPUs.

    Raises:
        InputError: no such file, damaged, not a checkpoint of condiff, or one that names what the registry does not admit.
    """
    checkpoint = Checkpoint.read(path, trust)
    network, sigma_data = checkpoint.model().in_precision(precision), checkpoint.statistics["sigma_data"]
    return Model(network, checkpoint.spec(), Sampling.of_run(checkpoint), sigma_data, checkpoint).to(device)


@dataclass(frozen=True)
class Model:
    """A diffusion model, its image spec, and its default way of sampling.

    Attributes:
        network: denoiser, noise levels and codec.
        spec: what an image is; contrasts and parameters.
        sampling: sampler, guidance and steps of its run, the defaults of `sample` and `translate`.
        sigma_data: root mean square of its training images.
        checkpoint: that it was loaded from.
    """

    network: DiffusionModel
    spec: ImageSpec
    sampling: Sampling
    sigma_data: float
    checkpoint: Checkpoint = field(repr=False)
    _typical_images: dict[str | None, Tensor] = field(default_factory=dict, repr=False, compare=False)

    @property
    def contrasts(self) -> tuple[str, ...]:
        """The contrasts that it can generate; none for an unconditional model."""
        return self.spec.contrasts if self.network.conditional else ()

    def to(self, device: str | torch.device) -> "Model":
        """The model on a device. Raises InputError for one that is not here."""
        try:
            return replace(self, network=self.network.to(torch.device(device)))
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"device={device}: {str(error).splitlines()[0]}") from None

    def save(
        self,
        folder: str | Path,
        *,
        float16: bool = False,
        patients: bool = True,
        evaluation: str | Path | None = None,
        accept_copies: bool = False,
    ) -> Path:
        """Writes the model as a folder to give away, with a card; arguments and errors of `condiff.export.folder.save`."""
        return export(
            self.checkpoint, folder, float16=float16, patients=patients, evaluation=evaluation, accept_copies=accept_copies
        )

    def sample(
        self,
        contrast: str | Sequence[str] | None = None,
        n: int = 8,
        seed: int = 0,
        *,
        shared_noise: bool = False,
        extrapolate: bool = False,
        sampler: str | Sampler | None = None,
        steps: int | None = None,
        guidance: float | Guidance | None = None,
        batch_size: int = 32,
        **parameters: Any,
    ) -> Images:
        """n images of each contrast, of all by default.

        Args:
            seed: of the first image; the others count up. An image depends on its seed and contrast alone.
            shared_noise: the same noise for every contrast.
            extrapolate: allow parameters outside the range of the training images.
            sampler: a name in conf/sampler, or a function; the run's by default, as steps and guidance.
            guidance: scale of classifier-free guidance, or denoiser -> denoiser.
            parameters: of the acquisition, for models of model=acquisition: te, tr, ti in ms, flip in degrees, field in T, slice
                from 0 to 1 (axial: skull base to vertex; coronal: back to front; sagittal: left to right), agent, sequence, site.

        Raises:
            InputError: an argument that the model does not know, by name.
        """
        check_whole("n", n)
        how = self.sampling_with(sampler, steps, guidance, batch_size)
        names = resolve_contrasts(contrast, self.spec.contrasts, self.network.conditional)
        requests = make_requests(names, n, seed, shared_noise, parameters, extrapolate)
        with progress_bar("Sampling", -(-len(requests) // batch_size) * (how.steps + 1)) as tick:
            states = sample(self.network, self.spec, requests, how, tick)
        labels, seeds = (tuple(getattr(request, name) for request in requests) for name in ("label", "seed"))
        return Images(torch.cat(states), self.spec, labels, seeds, _given(parameters))

    def translate(
        self,
        images: Images | str | Path,
        to: str,
        *,
        source: str | None = None,
        strength: float | None = None,
        seed: int = 0,
        extrapolate: bool = False,
        sampler: str | Sampler | None = None,
        steps: int | None = None,
        guidance: float | Guidance | None = None,
        batch_size: int = 32,
        **parameters: Any,
    ) -> Images:
        """Images of another contrast made of the given ones.

        Args:
            images: of this model; or a file: a fastMRI volume, samples of sample.py, or a NIfTI volume.
            source: their contrast, where the images or the file do not give one.
            strength: of SDEdit, from 0 to 1; None: DDIM inversion, which needs the source's contrast.

        Raises:
            InputError: an unconditional model, contrasts that it does not know, or images of another model.
        """
        source_images = Source.of(images, self.spec).named(source)
        check_whole("seed", seed, at_least=None)
        [contrast] = resolve_contrasts([to], self.spec.contrasts, self.network.conditional, "to")
        how, target = (
            self.sampling_with(sampler, steps, guidance, batch_size),
            SampleRequest(contrast, seed, parameters, extrapolate),
        )
        with progress_bar("Translating", -(-len(source_images.images) // batch_size) * steps_of(how, strength)) as tick:
            values = translate(self.network, self.spec, source_images, target, how, strength, tick)
        n = len(values)
        return Images(values, self.spec, (to,) * n, tuple(range(seed, seed + n)), _given(parameters), source_images.scan)

    def bits_per_dim(self, images: Images, *, steps: int = 80, width: float = 2 / 255, seed: int = 0) -> np.ndarray:
        """Upper bounds [N] on the bits per dimension of images, by the variational bound (Ho et al. 2020, eq. 5).

        Seconds of CPU time for 16 images of 64 x 64 and the default network; proportional to images and steps.

        Args:
            steps: noise levels, one evaluation of the network each.
            width: of the quantization bins of the images.

        Raises:
            InputError: a model of codes, or images of another model.
        """
        if not isinstance(images, Images):
            raise InputError(f"images: is {type(images).__name__}; give Images, as sample and translate return")
        images.check_fit(self.spec)
        if self.network.codec.is_latent:
            raise InputError("bits_per_dim: this is a model of codes, which gives no probability of an image")
        bits = np.zeros(len(images), dtype=np.float32)
        for label in dict.fromkeys(images.contrasts):
            of_label = np.array([contrast == label for contrast in images.contrasts])
            values, contrast = images.values[torch.from_numpy(of_label)], None if label == ANY else label
            bits[of_label] = bound_bits(self.network, self.spec, values, contrast, steps, width, seed).numpy()
        return bits

    def reconstruct(
        self,
        kspace: Any,
        mask: Any = None,
        *,
        method: str = "dds",
        samples: int = 1,
        contrast: str | None = None,
        maps: Any = None,
        fov_mm: float | tuple[float, float] | None = None,
        coils: int = 8,
        steps: int | None = None,
        guidance: float | Guidance = identity,
        seed: int = 0,
        batch_size: int = 8,
        extrapolate: bool = False,
        options: Mapping[str, Any] = NOTHING,
        **parameters: Any,
    ) -> Reconstruction:
        """Images of undersampled multicoil k-space.

        Args:
            kspace: complex [K, H, W] or [S, K, H, W]; zero frequency at [H // 2, W // 2]; without readout oversampling.
            mask: [W] or [H, W], true where sampled; by default where the k-space is not zero.
            method: a name in conf/method: dds, posterior, sense …
            samples: of the posterior, for an uncertainty: 8 and more with method="posterior".
            contrast: what the prior is conditioned on; none by default.
            maps: coil maps of your own [K, H, W] or [S, K, H, W]; by default ESPIRiT's.
            fov_mm: field of view along rows and columns; by default that of the model's images.
            coils: number of virtual coils, at most.
            guidance, extrapolate, parameters: as of `sample`.
            options: of the method, {"prior_weight": 2.0}.

        Raises:
            InputError: arrays that do not fit, a mask that samples nothing, slices without coil maps, or a method, an option, a
                contrast or a parameter that is not known.
        """
        scan = Arrays.of(kspace, mask, maps, self.spec.transform.fov_mm if fov_mm is None else fov_mm)
        prior = Prior(self.network, self.spec, self._guidance(guidance), batch_size, typical_images=self._typical_images)
        cfg = chosen("method", method, "reconstruct", f"sigma_data={self.sigma_data}", f"samples={samples}", f"seed={seed}")
        steps = cfg.method.steps if steps is None else steps
        solver = instantiate(with_options(cfg.method, method, options)).solver(prior, steps, samples, seed)
        slices = len(scan.kspace)
        cond = prior.encode(contrast, parameters, slices, extrapolate)
        typical = prior.typical(None if contrast == ANY else contrast) if cfg.method.needs_prior else None
        measurement = scan.measure(prior.grid, instantiate(cfg.estimate_maps), coils, typical, self.network.device)
        with progress_bar("Reconstructing", slices) as tick:
            streams = [("array", index) for index in range(slices)]
            images, _ = solver(measurement, range(slices), streams, cond, lambda share: tick(share * slices))
        return scan.result(measurement, images)

    def sampling_with(
        self, sampler: str | Sampler | None, steps: int | None, guidance: float | Guidance | None, batch_size: int
    ) -> Sampling:
        """The run's settings of sampling, with the given arguments in their place; None: those of the run."""
        how = replace(self.sampling, batch_size=batch_size)
        if isinstance(sampler, str):
            cfg = chosen("sampler", sampler, "sample").sampler
            how = replace(how, sampler=instantiate(cfg.fn), steps=cfg.steps)
        elif callable(sampler):
            how = replace(how, sampler=sampler)
        elif sampler is not None:
            raise InputError(f"sampler={sampler!r}: give one of condiff.diffusion.samplers, or a name in conf/sampler")
        if guidance is not None:
            how = replace(how, guidance=self._guidance(guidance))
        how = how if steps is None else replace(how, steps=steps)
        how.check(self.network)
        return how

    @staticmethod
    def _guidance(guidance: float | Guidance) -> Guidance:
        """Classifier-free guidance of a scale, in the interval of conf/guidance; or the given guidance."""
        if callable(guidance):
            return guidance
        check_number("guidance", guidance, at_least=0)
        return partial(classifier_free, scale=guidance, interval=tuple(compose("sample", []).guidance.interval))

    def __repr__(self) -> str:
        channels, rows, columns = self.spec.shape
        kind = ("latent " if self.network.codec.is_latent else "") + ("complex" if channels == 2 else "magnitude")
        return f"Model({kind} images of {rows} x {columns}, {', '.join(self.contrasts) or 'unconditional'})"


def _given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that have a value."""
    return {name: value for name, value in parameters.items() if value is not None}
