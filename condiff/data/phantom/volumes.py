"""The phantom: a folder of multicoil HDF5 volumes in fastMRI's schema, made from nothing but a seed.

Each volume is another patient in one of four contrasts: `anatomy` gives tissue fractions, `mri.signal`
what the sequence makes of them, and here come coils, phase, finite k-space and noise. The protocols are
those of fastMRI's brain set; tissue parameters are for 3 T: white matter as Wansapura et al. 1999 measured,
grey matter's T1 between their 1331 ms and the 1820 ms of Stanisz et al. 2005, blood's T1 after the latter;
the rest, and all proton densities, are round figures that give the contrasts radiologists know. Fat's T1 follows
B0 as in Bottomley et al. 1984.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from condiff.data.fastmri import ismrmrd
from condiff.data.phantom.anatomy import draw_subject, smooth_field
from condiff.data.phantom.scanner import acquire, background_phase, coil_maps
from condiff.data.workers import alone, available_cpus, worker_pool
from condiff.errors import InputError, check_number, check_whole
from condiff.files.atomic import atomic_write_hdf5
from condiff.mri.fourier import center_crop, ifft2c, rss
from condiff.mri.signal import Protocol, Tissue, inversion_recovery, spin_echo
from condiff.progress import track
from condiff.seeds import derive_seed

VERSION = 3  # part of the cache key: raise it when the files change
FOV_MM = 220.0
LARGEST, ALL = 1 << 30, 1 << 35  # bytes of a volume and of all
THICKNESS_MM = 5.0
SPACING_MM = 9.0
FIELD_T = 2.8936
VOLUMES_PER_PROCESS, MOST_PROCESSES = 16, 8  # fewer volumes are not worth the start of a process
YOUNGER = {"spacing_mm": SPACING_MM, "ti_factors": [1.0], "fields_t": [FIELD_T]}  # of `Phantom.key`
KSPACE_SCALE = 1e-4  # fastMRI's k-space is of this order

TISSUES = {
    "white": Tissue(830, 72, 0.72),
    "grey": Tissue(1500, 105, 0.80),
    "csf": Tissue(4200, 1500, 1.00, dispersion=0),
    "bone": Tissue(900, 10, 0.10),
    "marrow": Tissue(550, 60, 0.45),
    "fat": Tissue(380, 90, 0.65, dispersion=0.17),
    "skin": Tissue(1000, 45, 0.60),
    "dura": Tissue(1200, 50, 0.70),
    "vein": Tissue(1900, 60, 0.80),
    "plexus": Tissue(1800, 250, 0.90),
}
BRAIN = ("white", "grey", "csf")  # whose shares of every pixel a volume tells, as ``tissue``
AGENT = {"skin": 0.4, "dura": 1.5, "vein": 3.0, "plexus": 1.5, "fat": 0.15}  # gadolinium, mmol/l


@dataclass(frozen=True)
class Contrast:
    """How one contrast is made: the signal equation, its parameters, the agent given before, the field strength [T]."""

    signal: Callable[[Tissue, Protocol], float]
    protocol: Protocol
    agent: dict[str, float]
    field_t: float = FIELD_T


CONTRASTS = {
    "AXT1": Contrast(spin_echo, Protocol(446, 9, flip=140), {}),
    "AXT1POST": Contrast(spin_echo, Protocol(446, 9, flip=140), AGENT),
    "AXT2": Contrast(spin_echo, Protocol(6000, 103, flip=150), {}),
    "AXFLAIR": Contrast(inversion_recovery, Protocol(9000, 81, 2500, 150), {}),
}


@dataclass(frozen=True)
class Phantom:
    """What there is to make; equal phantoms make equal bytes.

    Args:
        patients: volumes of each contrast, every one another patient.
        slices, coils: of each volume.
        matrix: pixels along the 220 mm field of view; the readout is oversampled twice.
        seed: of everything random.
        spacing_mm: between the centers of neighbouring slices; up to a sixth more, another in each volume.
        tr_factors, te_factors, ti_factors: TR, TE and TI of every volume are those of its contrast times one of these.
        fields_t: the field strength of every volume is one of these [T].
    """

    patients: int = 16
    slices: int = 8
    coils: int = 4
    matrix: int = 128
    seed: int = 0
    spacing_mm: float = SPACING_MM
    tr_factors: Sequence[float] = (1.0,)
    te_factors: Sequence[float] = (1.0,)
    ti_factors: Sequence[float] = (1.0,)
    fields_t: Sequence[float] = (FIELD_T,)

    def __post_init__(self) -> None:
        for name in ("patients", "slices", "coils", "matrix"):
            check_whole(f"data.phantom.{name}", getattr(self, name))
        check_number("data.phantom.spacing_mm", self.spacing_mm, at_least=1)
        for name in ("tr_factors", "te_factors", "ti_factors", "fields_t"):
            for value in getattr(self, name) or [None]:
                check_number(f"data.phantom.{name}", value, at_least=0.1)
        volume = self._bytes() / (self.patients * len(CONTRASTS))
        if volume > LARGEST or self._bytes() > ALL:
            raise InputError(
                f"data.phantom: a volume of {volume / 2**30:.3g} GiB, {self._bytes() / 2**30:.3g} GiB in all; at most "
                f"{LARGEST >> 30} and {ALL >> 30} are made"
            )

    @property
    def key(self) -> str:
        """Name of the folder: all that shapes the files, hashed. Younger fields are left out while they have their default,
        so that files made before them keep their name."""
        fields = {name: value if isinstance(value, int | float) else [*value] for name, value in asdict(self).items()}
        for name, default in YOUNGER.items():
            if fields[name] == default:
                del fields[name]
        return f"phantom-{hashlib.sha256(repr((VERSION, fields)).encode()).hexdigest()[:12]}"

    def build(self, cache: Path) -> Path:
        """The folder with the volumes inside ``cache``, made first where it is not there yet.

        It takes its name only when whole, so an interrupted build is never mistaken for one; the
        next call goes on from the files that were finished. Two processes that ask at once: one builds.

        Raises:
            InputError: the folder cannot be written, or the disk is full.
        """
        root, partial = cache / self.key, cache / f"{self.key}.partial"
        if root.exists():
            return root
        try:
            cache.mkdir(parents=True, exist_ok=True)
            if self._bytes() > shutil.disk_usage(cache).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            with alone(cache / f"{self.key}.lock"):
                if not root.exists():
                    partial.mkdir(exist_ok=True)
                    volumes = [(partial, contrast, patient) for patient in range(self.patients) for contrast in CONTRASTS]
                    processes = min(len(available_cpus()), len(volumes) // VOLUMES_PER_PROCESS, MOST_PROCESSES)
                    with worker_pool(processes, "try again; what is finished is kept") as run:
                        for _ in track(run(self._write, *zip(*volumes, strict=True)), "Making phantom volumes", len(volumes)):
                            pass
                    for unfinished in partial.glob("*.part"):  # of a process that was killed
                        unfinished.unlink()
                    os.replace(partial, root)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                shutil.rmtree(partial, ignore_errors=True)
            raise InputError(
                f"data.cache: cannot make the phantom in {cache} ({error}); it needs "
                f"{self._bytes() / 1e6:.0f} MB: free some, or choose another folder with data.cache=DIR"
            ) from None
        return root

    def make_volume(self, folder: Path, contrast: str, patient: int = 0) -> Path:
        """Writes one volume, without the others, into a folder. Returns its path. Raises InputError for an unknown contrast."""
        if contrast not in CONTRASTS:
            raise InputError(f"contrast={contrast}: the phantom has {', '.join(CONTRASTS)}")
        folder.mkdir(parents=True, exist_ok=True)
        return self._write(folder, contrast, patient)

    def _bytes(self) -> int:
        pixels = self.patients * len(CONTRASTS) * self.slices * self.matrix**2
        return pixels * (self.coils * 2 * 8 + 4 + len(BRAIN))

    def _write(self, folder: Path, contrast: str, patient: int) -> Path:
        identity = f"{self.seed}-{contrast}-{patient}"
        number = derive_seed("phantom", identity)
        target = folder / f"file_brain_{contrast}_900_{number % 10**7:07d}.h5"
        if target.exists():
            return target
        generator = torch.Generator().manual_seed(number)
        made = self._varied(CONTRASTS[contrast], identity)
        kspace, tissue = self._acquired(made, generator)
        image = center_crop(rss(ifft2c(kspace)), (self.matrix, self.matrix))
        with atomic_write_hdf5(target) as file:
            file["kspace"], file["reconstruction_rss"] = kspace.numpy(), image.numpy()
            file["tissue"] = tissue.numpy()
            file["ismrmrd_header"] = self._header(contrast, made, identity).encode()
            file.attrs["acquisition"] = contrast
            file.attrs["patient_id"] = hashlib.sha256(f"patient {identity}".encode()).hexdigest()
            file.attrs["max"], file.attrs["norm"] = image.max().item(), image.norm().item()
        return target

    def _acquired(self, contrast: Contrast, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A newly drawn patient: noisy multicoil k-space [slices, coils, 2 matrix, matrix] and the truth, `shares`."""
        subject, signal = draw_subject(generator), _signals(contrast, generator)
        texture = smooth_field(generator, 1, 25.0)
        shift = 4 * torch.randn(2, generator=generator)
        lowest = -22 + 8 * torch.rand((), generator=generator)
        gap = self.spacing_mm + self.spacing_mm / 6 * torch.rand((), generator=generator)
        phase, maps = background_phase(generator, 2 * self.matrix), coil_maps(generator, self.coils, 2 * self.matrix)
        volume, tissue = [], []
        for index in range(self.slices):
            points = _plane(2 * self.matrix, shift, lowest + index * gap)
            tissues = subject(points)
            image = sum(signal[name] * fraction for name, fraction in tissues.items())
            image = image * (1 + 0.04 * texture(points)[0])
            volume.append(acquire(image * phase * maps, self.matrix))
            tissue.append(shares(tissues))
        kspace = torch.stack(volume)
        level = 0.012 * (1 + 0.3 * torch.rand((), generator=generator))
        kspace = kspace + level * torch.randn(kspace.shape, dtype=torch.complex64, generator=generator)
        return KSPACE_SCALE * kspace, torch.stack(tissue)

    def _varied(self, contrast: Contrast, identity: str) -> Contrast:
        """With a volume's own protocol and field strength."""
        generator = torch.Generator().manual_seed(derive_seed("protocol", identity))
        choices = (self.tr_factors, self.te_factors, self.ti_factors, self.fields_t)
        tr, te, ti, field = (values[int(torch.randint(len(values), (), generator=generator))] for values in choices)
        own = contrast.protocol
        return replace(contrast, protocol=replace(own, tr=own.tr * tr, te=own.te * te, ti=own.ti * ti), field_t=field)

    def _header(self, contrast: str, made: Contrast, identity: str) -> str:
        protocol = made.protocol
        return ismrmrd.TEMPLATE.format(
            measurement=identity, acquisition=contrast, coils=self.coils, rows=2 * self.matrix, cols=self.matrix,
            readout=2 * FOV_MM, fov=FOV_MM, recon=FOV_MM, thickness=THICKNESS_MM, last=self.matrix - 1, center=self.matrix // 2,
            tr=protocol.tr, te=protocol.te, ti=protocol.ti, flip=protocol.flip, field=made.field_t, sequence="TurboSpinEcho",
        )  # fmt: skip


def shares(tissues: dict[str, Tensor]) -> Tensor:
    """Tissue fractions on the fine grid [2M, 2M] -> those of `BRAIN` on the coarse one, [3, M, M], uint8 with 255 for all."""
    fractions = torch.nn.functional.avg_pool2d(torch.stack([tissues[name] for name in BRAIN])[None], 2)[0]
    return (255 * fractions).round().to(torch.uint8)


def _signals(contrast: Contrast, generator: torch.Generator) -> dict[str, float]:
    """Signal of each tissue in one patient, whose relaxation times and densities differ by a few percent."""
    signals = {}
    for name, tissue in TISSUES.items():
        t1, t2, pd, agent = (1 + 0.05 * torch.randn(4, generator=generator).clamp(-2, 2)).tolist()
        own = replace(tissue, t1=tissue.t1 * t1, t2=tissue.t2 * t2, pd=tissue.pd * pd).in_field(contrast.field_t / FIELD_T)
        signals[name] = contrast.signal(own.enhanced(contrast.agent.get(name, 0.0) * agent), contrast.protocol)
    return signals


def _plane(size: int, shift: Tensor, height: Tensor) -> Tensor:
    """Points [size, size, 3] of an axial slice; rows run from back to front, as in fastMRI's arrays."""
    axis = ((torch.arange(size) + 0.5) / size - 0.5) * FOV_MM
    y, x = torch.meshgrid(axis + shift[0] - 16, axis + shift[1], indexing="ij")
    return torch.stack([x, y, height.expand_as(x)], dim=-1)
