"""Work without an end: numbers, containers and tensors that cost memory or time far beyond the size of the file."""

import _codecs
import os
import pathlib
from typing import Any

import torch

from benchmarks.faults.attacks.table import Attack, Reduced, placing

ATTACKS: dict[str, Attack] = {}
NUMBERS: dict[str, list[Any]] = {
    "model.denoiser.net.channels": [[10**6, 10**6], [8] * 10**5, [0], [-8, 8], [10**30, 8], 5],
    "model.denoiser.net.blocks": [[10**7, 1], [200, 200], [-1, 1], [0, 0]],
    "model.denoiser.net.image_channels": [10**9, 0, -1, 2.5],
    "model.denoiser.net.cond_dim": [10**9, 0, -4, float("nan")],
    "model.denoiser.net.patch": [10**6, 0, -1],
    "model.denoiser.net.attention": [[True] * 10**5, "yes"],
    "model.schedule.sigma_max": [float("nan"), float("inf"), -1.0, 0, 1e300],
    "model.schedule.sigma_min": [float("nan"), 0.0, 1e300],
    "model.denoiser.parameterization.sigma_data": [float("nan"), 0.0, -1.0, 1e-300],
    "model.fields": [[10**9], list(range(10**5)), [-4], "x" * 10**7],
    "model.p_uncond": [float("nan"), 1e300, -1, "x"],
    "data.matrix": [10**6, 0, -32, 10**30, 33.5],
    "data.downsample": [0, -2, 10**9, 1e-9],
    "data.contrasts": [[f"C{i}" for i in range(10**5)], [], ["AXT1"] * 4, [5, None], ["x" * 10**7], "AXT1"],
    "data.phantom.patients": [10**7, 0, -1],
    "data.phantom.matrix": [10**6, 0],
    "data.phantom.slices": [10**7],
    "data.volumes_per_contrast": [10**9, -1, "x"],
    "data.held_out_per_contrast": [10**9, -1, "abc"],
    "data.select": [None, "x"],
    "data.batch_size": [10**9, 0],
    "data.workers": [4000, -3],
    "data.num_workers": [4000, -3],
    "data.shard": ["1/1000000000", "0/0", "x"],
    "data.seed": [10**400, -1, "x", None],
    "sampler.steps": [10**9, 0, -1, float("nan"), 10**400],
    "sampler.fn.eta": [float("nan"), 1e300],
    "guidance.scale": [float("nan"), float("inf"), 1e300, [1] * 10**5],
    "guidance.interval": [[float("nan"), 1], [1], [2, 1], "x"],
    "guidance": [{}, None],
    "clamp": [{}],
    "sampler.fn": [None, {}],
    "data.conditioning": ["x", {}],
}
for path, values in NUMBERS.items():
    for number, value in enumerate(values):
        ATTACKS[f"number_{path.rpartition('.')[2]}_of_{path.split('.')[0]}_{number}"] = placing(path, value)
ATTACKS["number_linear"] = placing("model.fields", {"_target_": "torch.nn.Linear", "in_features": 10**6, "out_features": 10**6})


def deep(levels: int) -> Any:
    tree: Any = {}
    for _ in range(levels):
        tree = {"a": tree}
    return tree


def doubled(levels: int) -> Any:
    """Every level holds the one below twice: 2^levels paths in a few bytes."""
    tree: Any = ["x"]
    for _ in range(levels):
        tree = [tree, tree]
    return tree


def ring(kind: type) -> Any:
    made = kind()
    made.update(a=made) if kind is dict else made.append(made)
    return made


def deep_tuple(levels: int) -> Any:
    tree: Any = ()
    for _ in range(levels):
        tree = (tree,)
    return tree


SHAPES = {
    "deep": deep(250),
    "doubled": doubled(40),
    "ring_list": ring(list),
    "ring_dict": ring(dict),
    "deep_tuple": deep_tuple(200),
    "wide": list(range(10**6)),
    "many_keys": dict.fromkeys(map(str, range(10**5)), 0),
    "long_text": "x" * 10**7,
    "many_texts": ["x" * 1000] * 10**5,
}
PLACES = ("model.fields", "data", "overrides", "sampler", "guidance", "data.conditioning", "callbacks", "nothing.that.is.known")
for number, (name, value) in enumerate(SHAPES.items()):
    for place in (PLACES[0], PLACES[1 + number % (len(PLACES) - 1)]):
        ATTACKS[f"shape_{name}_as_{place.rpartition('.')[2]}"] = placing(place, value)


def beside(key: str, value: Any) -> Attack:
    """Outside the configuration."""
    return lambda content, aim: content | {key: value}


for number, (name, value) in enumerate(SHAPES.items()):
    ATTACKS[f"shape_{name}_beside"] = beside("more", value) if number % 2 else beside("loops", {"fit_loop": value})


def reduced(key: str, *call: Any) -> Attack:
    return lambda content, aim: content | {key: Reduced(*call)}


for name, call in {  # functions that torch's reader may call
    "bytes_without_end": (bytearray, (10**12,)),
    "unknown_encoding": (_codecs.encode, ("x", "no.such")),
    "set_of_text": (set, ("x" * 10**7,)),
    "size_of_text": (torch.Size, ("x",)),
    "device_unknown": (torch.device, ("evil:0",)),
    "tensor_of_numbers": (torch.Tensor, (10**6, 10**6)),
    "complex_of_text": (complex, ("x",)),
    "foreign_function": (os.system, ("exit 3",)),
    "foreign_class": (pathlib.PurePosixPath, ("x",)),
    "eval": (eval, ("1",)),
}.items():
    ATTACKS[f"call_{name}"] = reduced("more", *call)
