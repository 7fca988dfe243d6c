"""Validation of the options of each command, before any work.

Three rules: a value on the command line has the type of the default that it replaces (`check_kind`); the options of `OPTIONS`
lie in a range; and a function gets only arguments that it takes (`check_arguments`).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from condiff.checkpoint.signatures import misfit
from condiff.diffusion.model import AUTOCAST
from condiff.errors import InputError

ANY_KIND = {"devices", "trainer.devices", "acceleration", "trainer.precision"}  # of several types
MAY_BE_NULL = {
    "data.volumes_per_contrast",
    "data.slice_mm",
    "guidance.interval",
    "trainer.gradient_clip_val",
}  # with a default that is not null


@dataclass(frozen=True)
class Rule:
    """A condition on a value, in words and as a test."""

    expected: str
    holds: Callable[[Any], bool]


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def whole(low: int = 1, high: float = math.inf) -> Rule:
    expected = f"a whole number, at least {low}" + (f" and at most {high:.0f}" if high < math.inf else "")
    return Rule(expected, lambda value: is_number(value) and isinstance(value, int) and low <= value <= high)


def number(low: float, high: float = math.inf) -> Rule:
    expected = f"a number, at least {low:g}" + (f" and at most {high:g}" if high < math.inf else "")
    return Rule(expected, lambda value: is_number(value) and math.isfinite(value) and low <= value <= high)


def above(low: float) -> Rule:
    return Rule(f"a number above {low:g}", lambda value: is_number(value) and low < value < math.inf)


def one_of(*choices: Any) -> Rule:
    return Rule(" or ".join(map(str, choices)), lambda value: value in choices and not isinstance(value, bool))


def maybe(rule: Rule) -> Rule:
    return Rule(f"{rule.expected}, or null", lambda value: value is None or rule.holds(value))


def or_function(rule: Rule) -> Rule:
    """Returns the rule of a value that a function of conf/ may decide."""
    return Rule(rule.expected, lambda value: (isinstance(value, dict) and "_target_" in value) or rule.holds(value))


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(is_number(size) and size > 0 for size in value)


def several(rule: Rule, example: str) -> Rule:
    """Returns the rule of a list whose entries fulfil ``rule``: not empty, no duplicates."""

    def holds(value: Any) -> bool:
        return isinstance(value, list) and bool(value) and all(map(rule.holds, value)) and len({*value}) == len(value)

    return Rule(f"a list such as {example}, not empty, no duplicates", holds)


WORD = Rule("a word", lambda value: isinstance(value, str) and bool(value))
WORDS = several(WORD, "[AXT1,AXT2]")
CONTRAST = Rule(f"a contrast or {WORDS.expected}", lambda value: WORD.holds(value) or WORDS.holds(value))
SLICES = several(Rule("", whole(0).holds), "[3,4], counted from 0")
LEVELS = Rule("two sigmas, the lower first, [0.05,1.5], or null for all", lambda value: value is None or _pair(value))
DEVICES = Rule(
    "a whole number of devices, a list of their numbers, or auto",
    lambda value: value == "auto" or whole().holds(value) or (isinstance(value, list) and all(map(whole(0).holds, value))),
)
PRECISION = one_of(*AUTOCAST)
ACCELERATOR = one_of("auto", "cpu", "gpu", "cuda", "mps", "tpu")
STEPS = whole(1, 10_000)
FORMAT = one_of("h5", "nifti", "dicom")
BATCH = whole(1, 10_000)
SEED = whole(0, 2**62)  # counted up per sample; torch takes 63 bits
SAMPLING = {"sampler.steps": STEPS, "guidance.interval": LEVELS}
COMPUTING = {"batch_size": BATCH, "accelerator": ACCELERATOR, "precision": PRECISION}
DRAWING = SAMPLING | COMPUTING | {"seed": SEED, "steps": STEPS, "devices": DEVICES}
PARAMETER = maybe(number(0))
DATA = {
    "seed": SEED,
    "data.seed": SEED,
    "data.matrix": whole(1, 4096),
    "data.downsample": whole(),
    "data.patterns": maybe(
        Rule("a pattern for each contrast, {T1w: '*_t1*', FLAIR: '*flair*'}", lambda value: isinstance(value, dict))
    ),
    "data.contrasts": WORDS,
    "data.volumes_per_contrast": maybe(whole()),
    "data.held_out_per_contrast": whole(),
    "data.plane": one_of("axial", "coronal", "sagittal"),
    "data.slice_mm": maybe(above(0)),
    "data.resample_mm": maybe(above(0)),
    "data.voxel_mm": maybe(Rule("three sizes in mm along the file's axes, [x,y,z]", _sizes)),
    "data.site": maybe(WORD),
    "data.batch_size": BATCH,
    "data.steps_per_epoch": whole(),
    "data.workers": maybe(whole(0, 1024)),
    "data.num_workers": whole(0, 1024),
    "data.shard": Rule("k/n, say 3/16", lambda value: isinstance(value, str)),
    "data.phantom.patients": whole(1, 100_000),
    "data.phantom.slices": whole(1, 1000),
    "data.phantom.coils": whole(1, 128),
    "data.phantom.matrix": whole(1, 4096),
}
OPEN = {key: or_function(whole()) for key in ("trainer.max_epochs", "first.trainer.max_epochs")}  # a function may decide
OPTIONS: dict[str, dict[str, Rule]] = {
    "train": DATA
    | SAMPLING
    | OPEN
    | {f"{key}.number": whole() for key in OPEN}
    | {
        "trainer.devices": DEVICES,
        "first.data.batch_size": whole(),
        "model.augmented_copies": whole(0),
        "model.crop": whole(),
        "model.p_uncond": number(0, 1),
        "model.p_drop_fields": number(0, 1),
        "model.optimizer.lr": number(0),
        "callbacks.grid.num_samples": whole(1, 1000),
        "callbacks.grid.steps": STEPS,
        "callbacks.evaluation.num_samples": whole(2, 100_000),
    },
    "prepare": DATA,
    "sample": DRAWING
    | {
        "num_samples": whole(1, 100_000),
        "contrast": maybe(CONTRAST),
        **dict.fromkeys(("agent", "sequence", "site", "source"), maybe(WORD)),
        **dict.fromkeys(("slice", "tr", "te", "ti", "flip", "field"), PARAMETER),
        "strength": maybe(number(0, 1)),
        "init_slices": maybe(SLICES),
        "format": FORMAT,
    },
    "evaluate": DRAWING | {"num_samples": whole(2, 100_000), "real_images": whole(2)},
    "likelihood": COMPUTING | {"seed": SEED, "num_images": whole(2), "steps": whole(2, 10_000), "width": above(0)},
    "app": {"port": whole(1, 65_535), "size_limit_mb": whole(1, 1_000_000), "accelerator": ACCELERATOR},
    "ema": {"std": above(0), "step": maybe(whole(0))},
    "export": {
        "format": one_of("safetensors", "onnx", "diffusers", "web"),
        "dtype": one_of("float32", "float16"),
        "copies": one_of("refuse", "accept"),
        "push": maybe(WORD),
    },
    "reconstruct": DRAWING
    | {
        "samples": whole(1, 10_000),
        "format": FORMAT,
        "coils": whole(1, 128),
        "acceleration": number(1),
        "mask.center_fraction": number(0, 1),
        "contrast": maybe(WORD),
        "maps": maybe(WORD),
        "volumes": maybe(whole()),
        "slices": maybe(SLICES),
        "sigma_data": maybe(above(0)),
        **dict.fromkeys((f"method.fn.{name}" for name in ("iterations", "repeats", "corrections")), whole()),
        **dict.fromkeys((f"method.fn.{name}" for name in ("prior_weight", "snr", "zeta", "step", "weight")), number(0)),
        "method.fn.eta": number(0, 1),
    },
}


def check_command(cfg: DictConfig, command: str) -> None:
    """Raises InputError for the first option of a command that is out of range, or that a function does not take."""
    check(cfg, OPTIONS[command])
    check_arguments(cfg)


def check(cfg: DictConfig, rules: Mapping[str, Rule]) -> None:
    """Raises InputError for the first option that breaks its rule; options that ``cfg`` lacks are ignored."""
    for key, rule in rules.items():
        value = OmegaConf.select(cfg, key, default=rule)
        value = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        if value is not rule and not OmegaConf.is_missing(cfg, key) and not rule.holds(value):
            raise InputError(f"{key}={format_value(value)}: give {rule.expected}")


def check_arguments(cfg: DictConfig) -> None:
    """Raises InputError for the first argument that a function of the configuration does not take.

    Such functions (a sampler, a loss) are called during the work, so Hydra does not check them before.
    """
    for place, node in _functions(cfg, ""):
        try:
            function = get_object(node._target_)
        except Exception as error:  # a module of the user may raise anything
            raise InputError(f"{place}._target_={node._target_}: cannot be imported ({error})") from None
        plain = cast(dict[str, Any], OmegaConf.to_container(node, throw_on_missing=False))
        unresolved = {name for name in plain if OmegaConf.is_interpolation(node, name) or OmegaConf.is_missing(node, name)}
        settings = {name: value for name, value in plain.items() if value is not None and name not in unresolved}
        wrong = misfit(function, settings)
        if wrong:
            remaining = ", ".join(f"{place}.{name}" for name in settings if not name.startswith("_") and name != wrong)
            remedy = f"there {'is' if ',' not in remaining else 'are'} {remaining}" if remaining else "leave it out"
            raise InputError(f"{place}.{wrong}={format_value(settings[wrong])}: does not fit {node._target_}; {remedy}")


def _functions(cfg: DictConfig, place: str) -> Iterator[tuple[str, DictConfig]]:
    """Yields the key and the node of every function that is called later (``_partial_``)."""
    for key in map(str, cfg):
        node: Any = cfg._get_node(key)
        if OmegaConf.is_dict(node) and not node._is_none() and not node._is_missing() and not node._is_interpolation():
            key_path = f"{place}{key}"
            if node.get("_partial_") and not OmegaConf.is_missing(node, "_target_"):
                yield key_path, node
            yield from _functions(node, f"{key_path}.")


def check_kind(key: str, default: Any, value: Any) -> None:
    """Raises InputError if ``value`` has another type than the ``default`` that it replaces."""
    if key in ANY_KIND or (value is None and key in MAY_BE_NULL):
        return
    if isinstance(default, dict) and isinstance(value, dict):
        for name in default.keys() & value.keys():
            check_kind(f"{key}.{name}", default[name], value[name])
    elif (rule := OPEN.get(key) or _kind(default)) and not rule.holds(value):
        raise InputError(f"{key}={format_value(value)}: give {rule.expected}")


def _kind(default: Any) -> Rule | None:
    """Returns the rule of values that may replace a default; None: any value."""
    match default:
        case bool():
            return Rule("true or false", lambda value: isinstance(value, bool))
        case int():
            return Rule("a whole number", lambda value: is_number(value) and isinstance(value, int))
        case float():
            return Rule("a number", lambda value: is_number(value) and math.isfinite(value))
        case {"_target_": target}:
            return Rule(f"its fields, _target_ is {target}", lambda value: value is None or isinstance(value, dict))
        case str():
            return Rule("a word", lambda value: not isinstance(value, list | dict))
        case [bool(), *_]:
            return _list("true or false", lambda value: isinstance(value, bool))
        case [int() | float(), *_]:
            return _list("numbers", is_number)
        case [str(), *_]:
            return _list("words", WORD.holds)
    return None


def _list(of: str, holds: Callable[[Any], bool]) -> Rule:
    return Rule(f"a list of {of}, not empty", lambda value: isinstance(value, list) and bool(value) and all(map(holds, value)))


def _pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value)) and 0 <= value[0] < value[1]


def format_value(value: Any) -> str:
    """Returns a value as it is written on a command line."""
    if isinstance(value, list):
        return f"[{','.join(map(format_value, value))}]"
    return {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
