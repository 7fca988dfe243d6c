"""States that Lightning restores on resume: paths that it would write or delete, and garbage of every kind."""

from typing import Any

import torch

from benchmarks.faults.attacks.table import Aim, Attack, Content, config, filled

ATTACKS: dict[str, Attack] = {}
CHECKPOINT = "ModelCheckpoint"


def best(path: str, dirpath: str = "VICTIM/checkpoints") -> Attack:
    """A better model than the last best deletes that: here it is a path of the attacker's choice."""

    def attack(content: Content, aim: Aim) -> Content:
        where, folder, worst = filled(path, aim), filled(dirpath, aim), torch.tensor(1e9)
        for key, state in content.setdefault("callbacks", {}).items():
            if key.startswith(CHECKPOINT):
                state |= {"dirpath": folder, "last_model_path": where, "best_k_models": {where: worst}, "best_model_path": where}
                state |= {"kth_best_model_path": where, "kth_value": worst, "best_model_score": worst, "current_score": worst}
        words = config(content)["overrides"]
        if isinstance(words, list):
            words.append(f"callbacks.checkpoint.dirpath={folder}")
        return content

    return attack


ATTACKS |= {
    "deletes_a_folder_by_protocol": best("local://VICTIM/photos"),
    "deletes_a_folder_by_dots": best("VICTIM/checkpoints/../photos"),
    "deletes_a_file": best("VICTIM/thesis.txt"),
    "deletes_a_file_of_its_folder": best("VICTIM/other_run/step-0000100.pt", "VICTIM/other_run"),
    "deletes_by_memory_protocol": best("memory://x", "memory://x"),
    "deletes_by_a_number": best("5", "5"),
}


def no_averages(content: Content, aim: Aim) -> Content:
    """A run that counts no averages is new, and a new run clears its folder of averages."""
    config(content)["overrides"] = [*config(content)["overrides"], f"callbacks.averages.folder={aim.victim}/other_run"]
    for key, state in content.setdefault("callbacks", {}).items():
        if key.startswith("PostHocEMASnapshots"):
            state |= {"count": 0, "averages": [], "folder": str(aim.victim / "other_run")}
    return content


ATTACKS["deletes_averages"] = no_averages

GARBAGE = {"none": None, "text": "x", "tensor": torch.zeros(2)}
KEYS = """state_dict hyper_parameters callbacks loops optimizer_states lr_schedulers epoch global_step MRIDataModule
PhantomDataModule pytorch-lightning_version current_model_state averaging_state hparams_name native_amp_scaling_state"""
PARTS = "model data overrides net sampler guidance clamp parameterization schedule callbacks trainer codec"


def garbage(place: str, key: str, value: Any) -> Attack:
    def attack(content: Content, aim: Aim) -> Content:
        (content[place] if place else content)[key] = value
        return content

    return attack


for label, value in GARBAGE.items():
    for key in KEYS.split():
        ATTACKS[f"garbage_{label}_as_{key}"] = garbage("", key, value)
    for key in PARTS.split():
        ATTACKS[f"garbage_{label}_as_configuration_{key}"] = garbage("hyper_parameters", key, value)


def absent(place: str, key: str) -> Attack:
    def attack(content: Content, aim: Aim) -> Content:
        (content[place] if place else content).pop(key, None)
        return content

    return attack


for key in KEYS.split():
    ATTACKS[f"absent_{key}"] = absent("", key)
for key in PARTS.split():
    ATTACKS[f"absent_configuration_{key}"] = absent("hyper_parameters", key)


def replaced(key: str, change: Any) -> Attack:
    """A part of the content passed through a function, where it is there."""

    def attack(content: Content, aim: Aim) -> Content:
        return content | {key: change(content[key], aim)} if key in content else content

    return attack


def everywhere(value: Any) -> Any:
    """The same tree with another value at every leaf."""

    def change(tree: Any, aim: Aim) -> Any:
        if isinstance(tree, dict):
            return {key: change(item, aim) for key, item in tree.items()}
        return [change(item, aim) for item in tree] if isinstance(tree, list) else filled(value, aim)

    return change


for key in ("loops", "callbacks", "optimizer_states", "lr_schedulers", "averaging_state"):
    for label, leaf in {
        "path": "VICTIM/thesis.txt",
        "negative": -1,
        "huge": 10**30,
        "nan": float("nan"),
        "tensor": torch.zeros(1).expand(10**6, 10**6),
    }.items():
        ATTACKS[f"leaves_{label}_of_{key}"] = replaced(key, everywhere(leaf))
ATTACKS |= {
    "callbacks_that_are_paths": replaced(
        "callbacks", lambda state, aim: {str(aim.victim / "thesis.txt"): {"dirpath": str(aim.victim)}}
    ),
    "callbacks_many": replaced("callbacks", lambda state, aim: {f"Evil{i}": {} for i in range(10**4)}),
    "callbacks_ema_decay": replaced("callbacks", lambda state, aim: state | {"EMA": {"latest_update_step": 10**18}}),
    "scheduler_rates": replaced(
        "lr_schedulers", lambda state, aim: [{"base_lrs": [1e300], "_last_lr": [1e300], "lr_lambdas": ["x"], "__class__": "x"}]
    ),
    "scheduler_steps": replaced("lr_schedulers", lambda state, aim: [{"step": 5, "get_lr": 5, "optimizer": 5}]),
    "optimizer_two": replaced("optimizer_states", lambda state, aim: state * 1000),
    "optimizer_groups": replaced(
        "optimizer_states",
        lambda state, aim: [{"state": {}, "param_groups": [{"params": list(range(10**5)), "lr": float("nan")}]}],
    ),
    "epoch_far": lambda content, aim: content | {"epoch": 10**18, "global_step": 10**18},
    "epoch_negative": lambda content, aim: content | {"epoch": -5, "global_step": -5},
    "version_old": lambda content, aim: content | {"pytorch-lightning_version": "0.0.1"},
    "version_new": lambda content, aim: content | {"pytorch-lightning_version": "99.0"},
    "version_long": lambda content, aim: content | {"pytorch-lightning_version": "1." * 10**5},
    "version_path": lambda content, aim: content | {"pytorch-lightning_version": "../../x"},
}

SALT = "00" * 16
PATIENTS = {
    "number": {"patients": 5, "others": None, "statistics": {}},
    "none": {"patients": [], "others": [], "statistics": {"sigma_data": 1.0}},
    "not_text": {"patients": [b"x", 5, None, ["x"]]},
    "many": {"patients": ["0" * 16] * 10**6},
    "many_under_a_salt": {"patients": {"salt": SALT, "cost": 2**14, "hashes": [f"{i:032x}" for i in range(10**5)]}},
    "many_salts": {"others": [{"salt": f"{i:032x}", "cost": 2**14, "hashes": ["0" * 32]} for i in range(10**4)]},
    "cost_high": {"patients": {"salt": SALT, "cost": 2**40, "hashes": ["0" * 32]}},
    "cost_zero": {"patients": {"salt": SALT, "cost": 0, "hashes": ["0" * 32]}},
    "cost_text": {"patients": {"salt": SALT, "cost": "x", "hashes": ["0" * 32]}},
    "salt_long": {"patients": {"salt": "0" * 10**7, "cost": 2**14, "hashes": []}},
    "salt_number": {"patients": {"salt": 5, "cost": 2**14, "hashes": []}},
    "salt_text": {"patients": {"salt": "x" * 32, "cost": 2**14, "hashes": []}},
    "hashes_number": {"patients": {"salt": SALT, "cost": 2**14, "hashes": 5}},
    "hashes_nested": {"patients": {"salt": SALT, "cost": 2**14, "hashes": [[1], {}]}},
    "statistics_nan": {"statistics": {"sigma_data": float("nan"), "sigma_max": float("inf")}},
    "statistics_text": {"statistics": {"sigma_data": "x"}},
}
for label, state in PATIENTS.items():

    def patients(content: Content, aim: Aim, state: Any = state) -> Content:
        return content | {
            key: (content[key] if isinstance(content[key], dict) else {}) | state for key in content if key.endswith("DataModule")
        }

    ATTACKS[f"patients_{label}"] = patients
ATTACKS["patients_of_another_module"] = lambda content, aim: {"EvilDataModule": PATIENTS["none"]} | content
