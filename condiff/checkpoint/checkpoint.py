"""A checkpoint: a file that describes itself and may be of unknown origin.

`Checkpoint.read` returns plain values (`condiff.files.torch_archive`); objects are built from the names in
`condiff.checkpoint.registry` alone. Checkpoints hold no paths, and none is followed: the data folder comes from the folder of the
run or the command line.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from condiff.checkpoint import model_folder, registry
from condiff.checkpoint.run import checkpoint_file, data_fields
from condiff.checkpoint.weights import BUILD_ERRORS, build_filled, submodule_weights
from condiff.configuration import cache_folder
from condiff.data.datamodule import MRIDataModule
from condiff.data.image_spec import ImageSpec, Read
from condiff.data.patients import Fingerprints, PatientRecord
from condiff.data.scans import reading
from condiff.diffusion import Denoiser
from condiff.diffusion.model import DiffusionModel
from condiff.errors import InputError, command
from condiff.files import torch_archive
from condiff.nn import Codec
from condiff.renamed import upgraded_checkpoint

SAMPLING = ("sampler", "guidance", "clamp")  # groups that decide how samples are drawn
LOCAL = (
    "root",
    "patterns",
    "patient",
    "site",
    "cache",
    "workers",
    "num_workers",
    "shard",
)  # fields of the data that belong to a machine
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint; methods build what it describes.

    Attributes:
        path: of its file.
        content: plain values.
        trust: names of the user's own classes and functions that it may construct.
    """

    path: Path
    content: dict[str, Any]
    trust: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: str | Path, trust: Sequence[str] = ()) -> "Checkpoint":
        """Reads a checkpoint: a file, or what `checkpoint_file` finds.

        Raises:
            InputError: missing, damaged, or not a checkpoint of condiff.
        """
        path = checkpoint_file(path)
        if not path.is_file():
            names = f", or a model that comes with condiff: {', '.join(known)}" if (known := model_folder.shipped()) else ""
            raise InputError(f"{path}: no such checkpoint; train one ({command('train')}), or give another path{names}")
        content = (model_folder if path.name == model_folder.WEIGHTS else torch_archive).read(path)
        config, state = (content.get(key) if isinstance(content, dict) else None for key in ("hyper_parameters", "state_dict"))
        described = isinstance(config, dict) and all(
            isinstance(config.get(key), kind) for key, kind in (("model", dict), ("data", dict), ("overrides", list))
        )
        if not described or not isinstance(state, dict):
            raise InputError(f"{path}: not a checkpoint of condiff (no configuration inside); give one made by train.py")
        if not all(isinstance(name, str) and isinstance(weight, Tensor) for name, weight in state.items()):
            raise InputError(f"{path}: its weights are not tensors; was it edited?")
        return cls(path, upgraded_checkpoint(content), tuple(trust))

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration of the run."""
        return self.content["hyper_parameters"]

    @property
    def title(self) -> str:
        """The path, and how long it was trained."""
        steps = self.content.get("global_step")
        return f"{self.path} ({steps:,} steps)" if isinstance(steps, int) else str(self.path)

    @property
    def is_simulated(self) -> bool:
        """Whether it was trained on simulated heads, not on patients."""
        return "phantom" in self.config["data"]

    @property
    def is_autoencoder(self) -> bool:
        """Whether it is the first stage of a latent model."""
        return "denoiser" not in self.config["model"]

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def model(self) -> DiffusionModel:
        """Returns the model with its averaged weights, on the CPU, in evaluation mode, without gradients.

        Raises:
            InputError: the file names objects that the registry does not admit, or its weights are of another model.
        """
        if self.is_autoencoder:
            raise InputError(
                f"{self.path}: is an autoencoder; first train a model of its codes, {command('train')} model=latent "
                f"model.autoencoder={self.path}"
            )
        for key in (*SAMPLING, "net"):
            described = self.config.get(key)
            registry.check(key, described, self.path, self.trust)
            described = described.get("fn") if key == "sampler" and isinstance(described, dict) else described
            if not isinstance(described, dict) or "_target_" not in described:
                raise InputError(f"{self.path}: its configuration has no {key}; made by another version, or edited")
        registry.check("model", self.config["model"], self.path, self.trust)
        parts = self._denoiser(), self._schedule(), self.codec()
        return DiffusionModel(*parts, self._is_conditional).requires_grad_(False).eval()

    def codec(self) -> Codec:
        """Returns the codec, in evaluation mode. Raises InputError as `model` does."""
        return self._part("codec", self.weights).eval()

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The weights of denoiser and codec, or of the autoencoder."""
        state = self.content["state_dict"]
        return state if self.is_autoencoder else submodule_weights(state, "model")

    def spec(self) -> ImageSpec:
        """Returns the specification of its images.

        Raises:
            InputError: as `model` does, or the network does not fit the images or conditions.
        """
        data_config = self.config["data"]
        registry.check("data", data_config, self.path, self.trust)
        spec = ImageSpec(
            self._read(data_config),
            self._build_completed("transform", matrix=data_config.get("matrix"), downsample=data_config.get("downsample")),
            self._build_completed("conditioning", contrasts=data_config.get("contrasts")),
            (data_config.get("select") or {}).get("merge") or {},
        )
        if self.is_autoencoder:
            return spec
        cond_dim, expected = spec.conditioning.dim, self.config["net"].get("cond_dim")
        if cond_dim != expected:
            raise InputError(
                f"{self.path}: its network takes conditions of {expected} numbers, this version of condiff makes them of "
                f"{cond_dim}; train it again, or use the version that made it"
            )
        if not registry.trusted(self.config["model"], self.trust):
            self._check_output_shape(spec.shape, cond_dim)
        return spec

    def data(self, requested: Mapping[str, Any] = NOTHING) -> MRIDataModule:
        """Returns the data module of the run, not set up; ``requested`` fields of the command line replace its own.

        The root comes from the run's folder, the cache (which is written to) from this machine, unless requested otherwise.
        Raises InputError as `model` does.
        """
        data_config = _without(LOCAL, self.config["data"])
        registry.check("data", data_config, self.path, self.trust)
        merged = OmegaConf.to_container(OmegaConf.merge(data_config, _without(LOCAL, requested)))
        root = {} if self.is_simulated else {"root": ""} | data_fields(self.path)
        local = {"cache": cache_folder()} | root | {key: requested[key] for key in LOCAL if key in requested}
        return registry.build("data", merged, self.path, self.trust, **local)

    @property
    def patients(self) -> PatientRecord:
        """The patients that it was trained and validated on. Raises InputError if they are not recorded."""
        state = self.data_state
        if "patients" not in state:
            raise InputError(
                f"{self.path}: does not record its training patients, so none is known to be held out; train it again"
            )
        try:
            return PatientRecord.of_state(state)
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{self.path}: its record of patients is damaged; use an intact copy, or train again") from None

    @property
    def training_patients(self) -> list[Fingerprints]:
        """The patients that it was trained on, then those of earlier stages, such as its autoencoder."""
        return [self.patients.train, *self.patients.elsewhere]

    @property
    def statistics(self) -> dict[str, float]:
        """Statistics of the training images, `condiff.data.statistics`. Raises InputError if they are not recorded."""
        statistics = self.data_state.get("statistics")
        sigma_data = statistics.get("sigma_data") if isinstance(statistics, dict) else None
        if not isinstance(statistics, dict) or not isinstance(sigma_data, float) or not 0 < sigma_data < 1e6:
            raise InputError(
                f"{self.path}: the statistics of its training images are damaged; use a copy that is not, or train again"
            )
        return statistics

    @property
    def _is_conditional(self) -> bool:
        p_uncond = self.config["model"].get("p_uncond", 0.0)
        if isinstance(p_uncond, bool) or not isinstance(p_uncond, int | float) or not 0 <= p_uncond <= 1:
            raise InputError(f"{self.path}: its model has p_uncond={str(p_uncond)[:60]!r}; expected a share from 0 to 1")
        return p_uncond < 1

    def _denoiser(self) -> Denoiser:
        return self._part("denoiser", self.weights)

    def _schedule(self) -> Any:
        return registry.build("schedule", self.config["model"].get("schedule"), self.path, self.trust)

    def _part(self, name: str, weights: Mapping[str, Tensor]) -> Any:
        return build_filled(name, self.config["model"].get(name), submodule_weights(weights, name), self.path, self.trust)

    def _build_completed(self, slot: str, **arguments: Any) -> Any:
        """Builds a transform or conditioning, with its last arguments."""
        return registry.complete(slot, self.config["data"].get(slot), self.path, self.trust, **arguments)

    def _check_output_shape(self, shape: tuple[int, int, int], dim: int) -> None:
        """Raises InputError unless the model makes images of a shape [C, H, W] from conditions [D]; runs on the meta device."""
        config = self.config["model"]
        try:
            with torch.device("meta"):
                denoiser, codec = (registry.build(slot, config[slot], self.path).eval() for slot in ("denoiser", "codec"))
                code = torch.zeros(1, *codec.shape(shape))
                images = codec.decode(denoiser(code, torch.ones(1), torch.zeros(1, dim)), shape[1:])
            reason = "" if images.shape[1:] == shape else f"it makes {list(images.shape[1:])}"
        except BUILD_ERRORS as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        if reason:
            raise InputError(f"{self.path}: its network does not make images of {list(shape)} ({reason}); was it edited?")

    def _read(self, data_config: Mapping[str, Any]) -> Read:
        """Returns its reader, with the plane and the sizes that scans are read with."""
        read = registry.build("read", data_config.get("read"), self.path, self.trust)
        return reading(read, data_config)

    @property
    def data_key(self) -> str:
        """The key of the state of the data module in `content`: Lightning stores it under the name of its class."""
        return str(self.config["data"].get("_target_")).rpartition(".")[2]

    @property
    def data_state(self) -> dict[str, Any]:
        """The state of the data module: statistics of the images and, where they are recorded, patients."""
        state = self.content.get(self.data_key)
        return state if isinstance(state, dict) else {}


def _without(keys: Sequence[str], config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}
