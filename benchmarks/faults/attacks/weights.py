"""Weights that are not the floating-point tensors of the network: other kinds, shapes and names, attributes of their own."""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from benchmarks.faults.attacks.table import Aim, Attack, Content, config, put
from condiff.checkpoint import registry

ATTACKS: dict[str, Attack] = {}
WEIGHTS = {
    "expanded": lambda w: torch.zeros(1).expand(10**6, 10**6),
    "expanded_alike": lambda w: torch.zeros(1).expand(w.shape),
    "nan": lambda w: w * float("nan"),
    "huge": lambda w: w.double() * 1e300,
    "flat": lambda w: w.reshape(-1),
    "text": lambda w: "x",
    "none": lambda w: None,
    "number": lambda w: 1.0,
    "list": lambda w: w.tolist(),
    "complex": lambda w: w.to(torch.complex64),
    "integer": lambda w: w.to(torch.int64),
    "boolean": lambda w: w > 0,
    "float8": lambda w: w.float().to(torch.float8_e4m3fn),
    "half": lambda w: w.half(),
    "double": lambda w: w.double(),
    "meta": lambda w: w.to("meta"),
    "meta_huge": lambda w: torch.empty(10**7, 10**7, device="meta"),
    "sparse": lambda w: w.reshape(-1).to_sparse(),
    "sparse_huge": lambda w: torch.sparse_coo_tensor(torch.zeros(2, 1, dtype=torch.int64), torch.ones(1), (2**31, 2**31)),
    "sparse_rows": lambda w: w.reshape(1, -1).to_sparse_csr(),
    "quantized": lambda w: torch.quantize_per_tensor(w.float(), 0.1, 0, torch.qint8),
    "parameter": lambda w: torch.nn.Parameter(w.float()),
    "conjugate": lambda w: torch.conj(w.to(torch.complex64)),
    "negated": lambda w: torch._neg_view(w.float()),
    "transposed": lambda w: w.clone().reshape(-1, 1).T,
    "empty": lambda w: torch.empty(0),
    "nested": lambda w: torch.nested.nested_tensor([w.reshape(-1), w.reshape(-1)]),
    "overlapping": lambda w: torch.zeros(9).as_strided((3, 3), (1, 1)),
}
STATES = {
    "missing": lambda state: dict(list(state.items())[1:]),
    "renamed": lambda state: {f"x.{key}": weight for key, weight in state.items()},
    "more": lambda state: state | {f"x{number}": torch.zeros(1) for number in range(3000)},
    "one_storage": lambda state: dict.fromkeys(state, next(iter(state.values()))),
    "keyed_by_numbers": lambda state: dict(enumerate(state.values())),
}


def changed(change: Callable[[dict[str, Tensor]], dict]) -> Attack:
    """The attack that passes the state dict through a function."""
    return lambda content, aim: content | {"state_dict": change(dict(content["state_dict"]))}


def each(change: Callable[[Tensor], Any]) -> Attack:
    """The attack that passes every weight through a function."""
    return changed(lambda state: {key: change(weight) for key, weight in state.items()})


ATTACKS |= {f"weights_{name}": each(change) for name, change in WEIGHTS.items()}
ATTACKS |= {f"weights_{name}": changed(change) for name, change in STATES.items()}


def rebuilt(path: str, value: Any) -> Attack:
    """Another number in the description of the network, and the weights that go with it."""

    def attack(content: Content, aim: Aim) -> Content:
        model = config(content)["model"]
        put(model, path, value)
        with suppress(Exception):  # what cannot be built has the weights of before
            state = registry.build("denoiser", model["denoiser"], "x").state_dict()
            content["state_dict"] = {f"model.denoiser.{name}": weight for name, weight in state.items()}
        return content

    return attack


REBUILT: dict[str, list[Any]] = {
    "denoiser.net.patch": [0, -1, 64], "denoiser.net.fields": [[1, 2, 3]], "denoiser.net.image_channels": [2],
    "denoiser.net.cond_dim": [0],
}  # fmt: skip
for path, values in REBUILT.items():
    for number, value in enumerate(values):
        ATTACKS[f"rebuilt_{path.rpartition('.')[2]}_{number}"] = rebuilt(path, value)


def shadowed(kind: Callable[[Tensor], Tensor], *methods: str) -> Attack:
    """Weights some of whose methods return something else: their attributes are restored with them."""

    def change(weight: Tensor) -> Tensor:
        made = kind(weight)
        for method in methods:
            setattr(made, method, OrderedDict)
        return made

    return each(change)


for kind in (torch.nn.Parameter, Tensor.clone):
    for methods in (
        ("numel", "isfinite", "size", "dim", "is_floating_point"),
        ("to", "clone", "detach", "cpu", "float", "copy_"),
    ):
        ATTACKS[f"weights_{kind.__name__}_without_{methods[0]}"] = shadowed(kind, *methods)
