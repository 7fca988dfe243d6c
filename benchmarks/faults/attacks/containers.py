"""Containers that are not what they seem: what looks through them and what uses them may see different things.

``torch.load(weights_only=True)`` restores more than plain types: attributes of an OrderedDict, a Counter, a parameter or a tensor
can replace their methods.
"""

from collections import Counter, OrderedDict
from typing import Any

import torch

from benchmarks.faults.attacks.names import COMMAND
from benchmarks.faults.attacks.table import Aim, Attack, Content, Reduced, config, filled, placing, put

ATTACKS: dict[str, Attack] = {}
METHODS = ("keys", "values", "items", "get", "pop", "copy", "update")


def shadowed(mapping: dict, *methods: str) -> OrderedDict:
    """An OrderedDict some of whose methods return nothing: a class is an allowed value, and calling it makes an empty one."""
    made = OrderedDict(mapping)
    made.__dict__.update(dict.fromkeys(methods, OrderedDict))
    return made


def counted(mapping: dict, *methods: str) -> Reduced:
    """As `shadowed`, a Counter."""
    return Reduced(Counter, (), dict.fromkeys(methods, OrderedDict), None, iter(mapping.items()))


def hiding(place: str, more: Any, made: Any, *methods: str) -> Attack:
    def attack(content: Content, aim: Aim) -> Content:
        *parents, last = place.split(".")
        tree = content
        for key in parents:
            tree = tree[key]
        tree[last] = made(tree[last] | filled(more, aim), *methods)
        return content

    return attack


for place, more in {
    "hyper_parameters": {"codec": COMMAND},
    "hyper_parameters.model": {"fields": COMMAND},
    "hyper_parameters.model.codec": {"_args_": [COMMAND]},
    "hyper_parameters.model.denoiser.net": {"x": COMMAND},
    "hyper_parameters.data": {"augment": COMMAND},
    "hyper_parameters.sampler.fn": {"x": COMMAND, "_partial_": False},
    "hyper_parameters.guidance": {"x": COMMAND, "_partial_": False},
    "hyper_parameters.clamp": {"x": COMMAND, "_partial_": False},
    "state_dict": {},
}.items():
    name = place.rpartition(".")[2]
    ATTACKS[f"shadowed_{name}"] = hiding(place, more, shadowed, "keys", "values")
    ATTACKS[f"shadowed_wholly_{name}"] = hiding(place, more, shadowed, *METHODS)
    ATTACKS[f"shadowed_counter_as_{name}"] = hiding(place, more, counted, "keys", "values", "items")


def words(made: Any) -> Attack:
    """The overrides that run a command, in a container of another kind."""

    def attack(content: Content, aim: Aim) -> Content:
        config(content)["overrides"] = made(
            ["+hydra.callbacks.x._target_=torch.utils.collect_env.run", f"+hydra.callbacks.x.command='touch {aim.pwn}/x'"]
        )
        return content

    return attack


for name, made in {
    "list": list,
    "set": set,
    "tuple": tuple,
    "dict": lambda some: dict.fromkeys(some, 1),
    "dict_values": lambda some: dict(enumerate(some)),
    "joined": "\n".join,
    "nested": lambda some: [[some]],
    "shadowed": lambda some: shadowed(dict.fromkeys(some), "keys", "values"),
    "counter": Counter,
    "bytes": lambda some: [bytearray(word.encode()) for word in some],
    "tuples": lambda some: [(word,) for word in some],
    "text": lambda some: some[0],
    "none": lambda _: None,
    "number": lambda _: 5,
    "numbers": lambda _: [1, None, 2.5],
    "true": lambda _: True,
    "size": lambda _: torch.Size([1]),
    "tensor": lambda _: torch.zeros(3),
    "empty_words": lambda _: ["", " ", "=", "a=", "=b"],
}.items():
    ATTACKS[f"overrides_as_{name}"] = words(made)

VALUES = {
    "set": {("_target_", "os.system")},
    "set_of_text": {"${oc.env:HOME}"},
    "size": torch.Size([10**9] * 4),
    "parameter": torch.nn.Parameter(torch.zeros(3)),
    "tensor": torch.tensor(3),
    "dtype": torch.float32,
    "device": torch.device("cuda:7"),
    "layout": torch.sparse_coo,
    "complex": 1j,
    "bytes": bytearray(b"x"),
    "function": torch._utils._rebuild_tensor_v2,
    "class": OrderedDict,
    "counter": Counter("abc"),
    "ordered": OrderedDict(a=1),
    "tuple": (1, (2, [3])),
    "number_as_text": "0.1",
    "huge_int": 10**400,
    "nan": float("nan"),
    "negative": -1,
    "none": None,
    "true": True,
}
for number, (name, value) in enumerate(VALUES.items()):
    ATTACKS[f"value_{name}"] = placing(("model.p_uncond", "data.matrix")[number % 2], value)
KEYS = {
    "int": 1,
    "none": None,
    "true": True,
    "nan": float("nan"),
    "tuple": (1, 2),
    "size": torch.Size([1]),
    "complex": 1j,
    "dtype": torch.float32,
    "class": OrderedDict,
    "empty": "",
    "nul": "\0",
    "long": "k" * 10**6,
    "dotted": "a.b[0]",
}
for name, key in KEYS.items():

    def keyed(content: Content, aim: Aim, key: Any = key) -> Content:
        for place in ("model", "data", "sampler"):
            config(content)[place][key] = 1
        return content

    ATTACKS[f"key_{name}"] = keyed


def content_as(made: Any) -> Attack:
    return lambda content, aim: made(content)


for name, made in {
    "list": lambda c: [c],
    "tuple": lambda c: (c,),
    "ordered": OrderedDict,
    "shadowed": lambda c: shadowed(c, "get", "items"),
    "tensor": lambda _: torch.zeros(2),
    "empty": lambda _: {},
    "none": lambda _: None,
    "set": lambda c: {*c},
    "number": lambda _: 5,
    "text": lambda _: "x",
    "counter": lambda c: counted(c, "get", "items"),
}.items():
    ATTACKS[f"content_as_{name}"] = content_as(made)


def shared(content: Content, aim: Aim) -> Content:
    """One dictionary in several places: what is checked as one and changed as the other."""
    one = {"_target_": "condiff.nn.Pixels"}
    put(config(content), "model.codec", one)
    put(config(content), "codec", one)
    put(config(content), "model.fields", one)
    return content


ATTACKS["shared_dictionary"] = shared
