"""A trained model as one object: to sample, translate, reconstruct and measure from a notebook in a line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate

from condiff.checkpoint import Checkpoint
from condiff.configuration import chosen, compose
from condiff.data import image_files
from condiff.data.conditioning import NOTHING
from condiff.data.image_spec import ImageSpec
from condiff.diffusion.guidance import Guidance, classifier_free, identity
from condiff.diffusion.model import DiffusionModel
from condiff.diffusion.samplers import Sampler
from condiff.errors import InputError
from condiff.evaluation.likelihood import bits_per_dimension
from condiff.images import Images
from condiff.progress import progress_bar
from condiff.reconstruction.arrays import as_tensors
from condiff.reconstruction.measurement import ImageGrid, measure
from condiff.reconstruction.prior import Prior
from condiff.reconstruction.result import Reconstruction
from condiff.sampling import ANY, SampleRequest, Sampling, make_requests, resolve_contrasts, sample
from condiff.sampling.translation import Source, steps_of, translate


def load(path: str | Path, device: str | torch.device = "cpu", trust: Sequence[str] = ()) -> "Model":
    """A trained model, of a checkpoint or of a run's folder, whose last checkpoint is taken.

    Args:
        trust: names of your own classes and functions that the checkpoint may construct.

    Raises:
        InputError: no such file, damaged, not a checkpoint of condiff, or one that asks for more than the registry admits.
    """
    path = Path(path)
    last = path / "checkpoints/last.ckpt"
    checkpoint = Checkpoint.read(last if last.is_file() else path, trust)
    network = checkpoint.model()
    return Model(network, checkpoint.spec(), Sampling.of_run(checkpoint), checkpoint.statistics["sigma_data"]).to(device)


@dataclass(frozen=True)
class Model:
    """A diffusion model, what its images are, and how it is sampled unless a call says otherwise.

    Attributes:
        network: denoiser, noise levels and codec.
        spec: what an image is, and which contrasts and parameters there are.
        sampling: how its run sampled.
        sigma_data: root mean square of its training images.
    """

    network: DiffusionModel
    spec: ImageSpec
    sampling: Sampling
    sigma_data: float

    @property
    def contrasts(self) -> tuple[str, ...]:
        """Those that it can be asked for; none for an unconditional model."""
        return self.spec.contrasts if self.network.conditional else ()

    def to(self, device: str | torch.device) -> "Model":
        """The model on a device."""
        return replace(self, network=self.network.to(torch.device(device)))

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
                from 0, the base of the skull, to 1, the vertex, agent, sequence.

        Raises:
            InputError: what the model does not know, named by the argument.
        """
        if n < 1:
            raise InputError(f"n={n}: give at least one image of each contrast")
        how = self._how(sampler, steps, guidance, batch_size)
        names = resolve_contrasts(contrast, self.spec.contrasts, self.network.conditional)
        requests = make_requests(names, n, seed, shared_noise, parameters, extrapolate)
        with progress_bar("Sampling", -(-len(requests) // batch_size) * (how.steps + 1)) as tick:
            states = sample(self.network, self.spec, requests, how, tick)
        labels, seeds = (tuple(getattr(request, name) for request in requests) for name in ("label", "seed"))
        return Images(torch.cat(states), self.spec, labels, seeds, parameters)

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
            source: their contrast, where it is not known or not one.
            strength: of SDEdit, from 0 to 1; without one dual diffusion bridges, which need the source's contrast.

        Raises:
            InputError: an unconditional model, or contrasts that it does not know.
        """
        given = self._source(images, source)
        resolve_contrasts(to, self.spec.contrasts, self.network.conditional)
        how, target = self._how(sampler, steps, guidance, batch_size), SampleRequest(to, seed, parameters, extrapolate)
        with progress_bar("Translating", -(-len(given.images) // batch_size) * steps_of(how, strength)) as tick:
            values = translate(self.network, self.spec, given, target, how, strength, tick)
        n = len(values)
        return Images(values, self.spec, (to,) * n, tuple(range(seed, seed + n)), parameters)

    def bits_per_dim(self, images: Images, *, steps: int = 80, width: float = 2 / 255, seed: int = 0) -> np.ndarray:
        """Upper bounds [N] on the bits per dimension of images, by the variational bound (Ho et al. 2020, eq. 5).

        Args:
            steps: noise levels.
            width: of the bins that images are thought to be quantized to.

        Raises:
            InputError: a model of codes.
        """
        if self.network.codec.is_latent:
            raise InputError("bits_per_dim: the model is one of codes, from which no probability of an image follows")
        bits = np.zeros(len(images), dtype=np.float32)
        for label in dict.fromkeys(images.contrasts):
            of_label = np.array([other == label for other in images.contrasts])
            values, contrast = images.values[torch.from_numpy(of_label)], None if label == ANY else label
            columns = bits_per_dimension(self.network, self.spec, values, contrast, steps, width, seed)
            bits[of_label] = columns["bound"].numpy()
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
        guidance: Guidance = identity,
        seed: int = 0,
        batch_size: int = 8,
        options: Mapping[str, Any] = NOTHING,
    ) -> Reconstruction:
        """Images of undersampled multicoil k-space.

        Args:
            kspace: complex array [K, H, W], or [S, K, H, W] of several slices; without oversampling of the readout.
            mask: [W] or [H, W], true where sampled; by default where the k-space is not zero.
            method: a name in conf/method: dds, posterior, sense …
            samples: of the posterior, for an uncertainty: 8 and more with method="posterior".
            contrast: what the prior is conditioned on; none by default.
            maps: coil maps of your own [K, H, W] or [S, K, H, W]; by default ESPIRiT's.
            fov_mm: field of view along rows and columns; by default that of the model's images.
            coils: at most so many virtual ones.
            options: of the method, {"prior_weight": 2.0}.

        Raises:
            InputError: arrays that do not fit, a mask that samples nothing, or a method or contrast that is not known.
        """
        arrays = as_tensors(kspace, mask, maps)
        prior = Prior(self.network, self.spec, guidance, batch_size)
        cfg = chosen("method", method, "reconstruct", f"sigma_data={self.sigma_data}", f"samples={samples}", f"seed={seed}")
        cfg.method.fn = {**cfg.method.fn, **options}
        cfg.steps = steps or cfg.method.steps
        grid = ImageGrid.of(self.spec.transform)
        solver = instantiate(cfg.method).solver(prior, cfg.steps, samples, seed)
        device, slices = self.network.device, len(arrays[0])
        fov = (fov_mm, fov_mm) if isinstance(fov_mm, int | float) else fov_mm or (grid.fov_mm, grid.fov_mm)
        typical = prior.typical(contrast) if cfg.method.needs_prior else None
        y, sampled, own = (None if array is None else array.to(device) for array in arrays)
        assert y is not None and sampled is not None
        measurement = measure(y, sampled, fov, grid, instantiate(cfg.estimate_maps), coils, typical=typical, own_maps=own)
        cond = self.spec.conditioning.encode(contrast).expand(slices, -1) if self.network.conditional else None
        with progress_bar("Reconstructing", slices) as tick:
            streams = [("array", index) for index in range(slices)]
            images, _ = solver(measurement, list(range(slices)), streams, cond, lambda share: tick(share * slices))
        measurement = measurement.to(torch.device("cpu"))
        zero_filled = torch.view_as_complex(
            measurement.operator(range(slices)).adjoint(measurement.kspace).movedim(1, -1).contiguous()
        )
        resolution = (measurement.mask.numel() / sampled.numel()) ** 0.5  # of the unitary transform of fewer samples
        unit = measurement.coil_rss * resolution
        return Reconstruction((images * unit).numpy(), (zero_filled * unit).numpy(), grid.fov_mm / grid.size)

    def _how(
        self, sampler: str | Sampler | None, steps: int | None, guidance: float | Guidance | None, batch_size: int
    ) -> Sampling:
        """The run's way of sampling with what a call gives in place of it."""
        how = replace(self.sampling, batch_size=batch_size)
        if isinstance(sampler, str):
            cfg = chosen("sampler", sampler, "sample").sampler
            how = replace(how, sampler=instantiate(cfg.fn), steps=cfg.steps)
        elif sampler is not None:
            how = replace(how, sampler=sampler)
        if isinstance(guidance, int | float):
            interval = compose("sample", []).guidance.interval
            how = replace(how, guidance=partial(classifier_free, scale=guidance, interval=tuple(interval)))
        elif guidance is not None:
            how = replace(how, guidance=guidance)
        how = how if steps is None else replace(how, steps=steps)
        how.check(self.network)
        return how

    def _source(self, images: Images | str | Path, contrast: str | None) -> Source:
        if isinstance(images, Images):
            known = {*images.contrasts}
            return Source(images.values, contrast or (known.pop() if len(known) == 1 and known != {ANY} else None))
        values, own = image_files.read(Path(images), self.spec)
        return Source(values, contrast or own)

    def __repr__(self) -> str:
        channels, rows, columns = self.spec.shape
        kind = ("latent " if self.network.codec.is_latent else "") + ("complex" if channels == 2 else "magnitude")
        return f"Model({kind} images of {rows} x {columns}, {', '.join(self.contrasts) or 'unconditional'})"
