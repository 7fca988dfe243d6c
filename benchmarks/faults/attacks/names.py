"""Names of code: foreign functions, our own that do harm, and names of the right kind in the wrong place."""

from typing import Any

from benchmarks.faults.attacks.table import Attack, adding, setting

ATTACKS: dict[str, Attack] = {}
PLACES = {
    "codec": "model.codec",
    "net": "model.denoiser.net",
    "parameterization": "model.denoiser.parameterization",
    "loss": "model.loss",
    "schedule": "model.schedule",
    "optimizer": "model.optimizer",
    "lr_factor": "model.lr_factor",
    "nested": "model.fields",
    "sampler": "sampler.fn",
    "guidance": "guidance",
    "clamp": "clamp",
    "data": "data",
    "augment": "data.augment",
    "transform": "data.transform",
    "conditioning": "data.conditioning",
    "sampling_order": "data.sampling_order",
    "select": "data.select",
    "read": "data.read",
}
RUN = "torch.utils.collect_env.run"  # runs a command, and Hydra does not know it
COMMAND = {"_target_": RUN, "command": "touch PWN/x"}

FOREIGN = """
os.system builtins.eval builtins.exec subprocess.call subprocess.Popen torch.hub.load torch.load pathlib.Path.touch
torch.utils.collect_env.run lightning.Trainer wandb.init hydra.utils.call hydra.utils.instantiate
hydra._internal.instantiate._instantiate2.instantiate torch.utils.cpp_extension.load_inline webbrowser.open
runpy.run_path importlib.import_module pickle.loads codecs.open shutil.rmtree logging.config.dictConfig
condiff.commands.cli.sys.exit condiff.commands.cli.os.system condiff.files.torch_archive.torch.load
condiff.checkpoint.registry.resolve_name condiff.training.build.instantiate
condiff.data.phantom.volumes.os.system condiff.data.phantom.volumes.shutil.rmtree
condiff.files.atomic.os.unlink condiff.data.index.os.remove condiff.commands.cli.hydra.utils.get_method
condiff.files.samples_h5.h5py.File condiff.files.samples_h5.np.save condiff.data.cache.Path condiff.data.cache.torch.load
condiff.seeds.derive_seed.__class__ condiff.seeds.derive_seed.__globals__ condiff.seeds.__loader__.exec_module
condiff.seeds.__spec__.loader.set_data condiff.nn.blocks.nn.Module.__subclasses__ condiff.nn.UNet.__init__.__class__
condiff.nn.UNet.mro condiff.nn.UNet.load_state_dict torch.nn.functional.torch.hub.load
torch.nn.functional.importlib.import_module torch.optim.optimizer.torch.load torch.nn.modules.module.torch.save
torch.nn.__loader__.load_module torch.optim.lr_scheduler.warnings.sys.exit torch.nn.Module.__class__
torch.nn.Module.register_forward_hook condiff.training.DiffusionSystem.load_from_checkpoint
condiff.training.DiffusionSystem.__class__ condiff.training.wandb_logger.Wandb condiff.training.callbacks.PostHocEMASnapshots
"""
for number, target in enumerate(FOREIGN.split()):
    for place in PLACES if number < 2 else [[*PLACES][number % len(PLACES)]]:
        ATTACKS[f"foreign_{target}_as_{place}"] = setting(PLACES[place], {"_target_": target, "_args_": ["touch PWN/x"]})

HARMFUL: dict[str, dict[str, Any]] = {  # our own, or torch's, which may write, delete, import, or end the process
    "condiff.data.index._write_table": {
        "path": {"_target_": "condiff.checkpoint.run.run_folder", "path": "VICTIM/bashrc/x"},
        "columns": ["echo pwned"],
        "rows": [],
    },
    "condiff.files.samples_h5.save_h5": {"path": "VICTIM/thesis.txt", "images": None, "contrasts": [], "seeds": []},
    "condiff.files.nifti.save_nifti": {"folder": "VICTIM/made", "images": [], "contrasts": [], "seeds": [], "pixel_mm": 1.0},
    "condiff.files.pictures.save_gif": {"path": "VICTIM/thesis.txt", "frames": []},
    "condiff.training.wandb_logger.Wandb": {"project": "x", "save_dir": "VICTIM/wandb"},
    "condiff.data.cache.VolumeCache": {"root": "VICTIM/cache", "read": None, "transform": None},
    "condiff.data.phantom.volumes.Phantom.build": {
        "self": {"_target_": "condiff.data.phantom.volumes.Phantom", "patients": 1, "slices": 1, "coils": 1, "matrix": 16},
        "cache": "VICTIM/filled",
    },
    "condiff.data.workers._end_after": {"parent": {"_target_": "condiff.data.workers.worker_pool", "workers": 1, "remedy": ""}},
    "condiff.files.atomic.atomic_write": {"path": "VICTIM/thesis.txt"},
    "condiff.data.index.index": {"root": "/proc/self", "cache": "VICTIM/index"},
    "condiff.checkpoint.run.newest": {"root": "/proc/self"},
    "condiff.checkpoint.Checkpoint.read": {"path": "VICTIM/thesis.txt"},
    "condiff.training.posthoc_ema.reconstruct_ema": {"ckpt": "VICTIM/thesis.txt", "std": 0.1},
    "condiff.evaluation.features.train_classifier_cached": {"path": "VICTIM/thesis.txt"},
    "condiff.commands.cli.entry": {"config_name": "train"},
    "condiff.training.callbacks.SampleGrid": {"folder": "VICTIM/grid"},
    "lightning.pytorch.callbacks.ModelCheckpoint": {"dirpath": "VICTIM/checkpoints"},
    "lightning.pytorch.loggers.CSVLogger": {"save_dir": "VICTIM/csv"},
    "torch.nn.attention._fa4._fa4_import_module": {"module_path": "runs.pwn.evil"},
    "torch.optim.optimizer.register_optimizer_step_pre_hook": {"hook": {"_target_": "torch.nn.Identity"}},
    "torch.nn.modules.module.register_module_forward_hook": {"hook": {"_target_": "torch.nn.Identity"}},
}
for number, (target, arguments) in enumerate(HARMFUL.items()):
    for place in ("nested", [*PLACES][number % len(PLACES)]):
        ATTACKS[f"harmful_{target}_as_{place}"] = setting(PLACES[place], {"_target_": target} | arguments)


def chained(*parts: dict) -> Attack:
    """Several gadgets one after the other, as the entries of a dictionary are built."""
    return setting("model.fields", {f"a{number}": part for number, part in enumerate(parts)})


ATTACKS["harmful_module_written_then_imported"] = chained(
    {
        "_target_": "condiff.data.index._write_table",
        "path": {"_target_": "condiff.checkpoint.run.run_folder", "path": "PWN/written.py/x"},
        "columns": ["import os; os.system('touch PWN/y')"],
        "rows": [],
    },
    {"_target_": "condiff.commands.cli.sys.path.append", "_args_": ["PWN"]},
    {"_target_": "written.x"},
)

WRONG: dict[str, list[Any]] = {  # what the registry of one place knows, in another
    "net": [
        {"_target_": "condiff.data.phantom.volumes.Phantom", "patients": 1, "slices": 1, "coils": 1, "matrix": 16},
        {"_target_": "condiff.nn.Pixels"},
        {"_target_": "condiff.diffusion.schedules.Karras"},
        {"_target_": "torch.nn.Linear", "in_features": 4, "out_features": 4},
        {"_target_": "torch.nn.Module"},
        {"_target_": "torch.nn.Identity"},
        {"_target_": "condiff.diffusion.Denoiser"},
    ],
    "loss": [
        {"_target_": "torch.optim.AdamW", "_partial_": True},
        {"_target_": "condiff.diffusion.samplers.heun", "_partial_": True},
        {"_target_": "torch.nn.MSELoss"},
    ],
    "optimizer": [
        {"_target_": "condiff.diffusion.losses.denoising", "_partial_": True},
        {"_target_": "torch.optim.Optimizer", "_partial_": True},
        {"_target_": "torch.optim.swa_utils.AveragedModel", "_partial_": True},
        {"_target_": "torch.optim.lr_scheduler.StepLR", "_partial_": True},
        {"_target_": "torch.optim.AdamW", "lr": 1.0},
        {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": "fast"},
        {"_target_": "torch.optim.AdamW", "_partial_": True, "evil": 1},
        {"_target_": "torch.optim.SGD", "_partial_": True, "params": []},
    ],
    "schedule": [
        {"_target_": "condiff.nn.UNet", "image_channels": 1, "cond_dim": 4, "channels": [8], "blocks": [1], "attention": [False]},
        {"_target_": "condiff.diffusion.samplers.heun", "_partial_": True},
    ],
    "parameterization": [
        {"_target_": "condiff.diffusion.losses.denoising", "_partial_": True},
        {"_target_": "condiff.diffusion.denoiser.eps"},
        {"_target_": "condiff.diffusion.Denoiser", "_partial_": True},
    ],
    "codec": [
        {"_target_": "condiff.training.DiffusionSystem"},
        {"_target_": "condiff.data.transforms.Magnitude", "matrix": 32, "downsample": 2},
        {"_target_": "condiff.nn.Pixels", "_partial_": True},
    ],
    "sampler": [
        {"_target_": "condiff.diffusion.losses.denoising", "_partial_": True},
        {"_target_": "condiff.diffusion.guidance.compose"},
        {"_target_": "condiff.diffusion.samplers.heun"},
    ],
    "guidance": [
        {"_target_": "condiff.diffusion.guidance.compose", "_args_": [{"_target_": "condiff.nn.Pixels"}]},
        {
            "_target_": "condiff.diffusion.guidance.autoguidance",
            "weaker": {
                "_target_": "condiff.training.posthoc_ema.earlier_snapshot",
                "ckpt": "VICTIM/thesis.txt",
                "share": 1,
                "std": 0.1,
            },
        },
    ],
    "clamp": [{"_target_": "condiff.diffusion.guidance.classifier_free", "scale": 1e9}, {"_target_": "condiff.nn.Pixels"}],
    "transform": [{"_target_": "condiff.nn.UNet", "_partial_": True}, {"_target_": "condiff.data.transforms.Magnitude"}],
    "conditioning": [
        {"_target_": "condiff.data.selection.Selection"},
        {"_target_": "condiff.data.conditioning.ContrastCondition"},
    ],
    "augment": [{"_target_": "condiff.diffusion.samplers.heun", "_partial_": True}],
    "sampling_order": [{"_target_": "torch.optim.AdamW", "_partial_": True}],
    "select": [{"_target_": "condiff.data.phantom.volumes.Phantom"}],
    "read": [
        {"_target_": "condiff.files.samples_h5.save_h5", "_partial_": True, "images": None},
        {"_target_": "condiff.data.fastmri.reader.probe", "_partial_": True},
    ],
    "data": [
        {"_target_": "condiff.nn.Pixels"},
        {"_target_": "condiff.data.selection.Selection"},
        {"_target_": "condiff.data.datamodule.MRIDataModule", "root": "/proc"},
    ],
    "nested": [
        {"_target_": "condiff.nn.Pixels"},
        [{"_target_": "condiff.nn.Pixels"}],
        {"_target_": "condiff.data.phantom.volumes.Phantom"},
    ],
}
for place, parts in WRONG.items():
    for part in parts:
        label = part["_target_"].rpartition(".")[2] if isinstance(part, dict) else "list"
        name = f"wrong_{label}_as_{place}"
        ATTACKS[name + "_again" * (name in ATTACKS)] = setting(PLACES[place], part)

SPELLINGS = {
    "trailing_dot": f"{RUN}.",
    "leading_dot": f".{RUN}",
    "two_dots": "torch.utils..collect_env.run",
    "space": f" {RUN}",
    "newline": f"{RUN}\n",
    "nul": f"{RUN}\0",
    "cyrillic": "condiff.nn.UN\u0435t",
    "wide": "\uff43\uff4f\uff4e\uff44\uff49\uff46\uff46.nn.UNet",
    "dot_leader": "condiff\u2024nn\u2024UNet",
    "zero_width": "condiff.nn.UNet\u200b",
    "capitals": "CONDIFF.NN.UNET",
    "slashes": "condiff/nn/UNet",
    "colon": "condiff.nn:UNet",
    "called": "condiff.nn.UNet()",
    "method": "condiff.nn.UNet.__call__",
    "module": "condiff.nn",
    "package": "condiff",
    "empty": "",
    "dot": ".",
    "long": "a" * 10**6,
    "dots": "a." * 10**5,
    "path": "PWN/evil.py",
    "shell": "$(touch PWN/x)",
    "prefixed": f"condiff.nn.UNet.{RUN}",
    "line_break": "condiff.nn.UNet\nerror: refused",
    "escape": "\x1b[2Jcondiff.nn.UNet",
    "surrogate_free": "condiff.\u202eteNU.nn",
}
for label, text in SPELLINGS.items():
    ATTACKS[f"spelling_{label}"] = setting("model.codec", COMMAND | {"_target_": text})
KINDS = {
    "int": 5,
    "none": None,
    "true": True,
    "list": ["os.system"],
    "dict": {"_target_": RUN},
    "float": float("nan"),
    "bytes": bytearray(b"os.system"),
    "tuple": ("os", "system"),
}
for label, value in KINDS.items():
    ATTACKS[f"spelling_{label}"] = setting("model.codec", COMMAND | {"_target_": value})

DIRECTIVES: dict[str, dict[str, Any]] = {
    "partial": {"_partial_": True},
    "partial_text": {"_partial_": "no"},
    "partial_number": {"_partial_": 3},
    "recursive": {"_recursive_": False, "x": COMMAND},
    "convert": {"_convert_": "object"},
    "convert_unknown": {"_convert_": "evil"},
    "args_text": {"_args_": "touch PWN/x"},
    "args_dict": {"_args_": {"command": "touch PWN/x"}},
    "args_nested": {"_args_": [[COMMAND]]},
    "self": {"self": 1, "cls": 2, "__class__": 3},
    "mode": {"_mode_": "call"},
    "meta": {"_metadata_": 1, "__dict__": {"a": 1}},
}
for label, more in DIRECTIVES.items():
    ATTACKS[f"directive_{label}"] = setting("model.codec", COMMAND | more)
    ATTACKS[f"directive_{label}_of_a_good_name"] = adding("model.codec", more)
for label, key in {
    "spaces": " _target_ ",
    "capitals": "_TARGET_",
    "wide": "\uff3ftarget\uff3f",
    "path": "x._target_",
    "dunder": "__target__",
}.items():
    ATTACKS[f"directive_key_{label}"] = setting("model.codec", {key: RUN, "command": "touch PWN/x"})
ATTACKS["directive_list"] = setting("model.codec", [COMMAND])
ATTACKS["directive_whole_model"] = setting("model", COMMAND)
for label, place in {
    "root": "_target_",
    "hydra": "hydra.callbacks.x",
    "defaults": "defaults",
    "callbacks": "callbacks.x",
    "trainer": "trainer",
    "logger": "logger.x",
}.items():
    ATTACKS[f"directive_in_{label}"] = setting(place, RUN if place == "_target_" else COMMAND)

INTERPOLATIONS = (
    "${oc.env:HOME}",
    "${oc.create:{_target_:os.getcwd}}",
    "${hydra:runtime.cwd}",
    "${folder_name:x}",
    "${oc.decode:1}",
    "$\\{x}",
    "${.._target_}",
    "a${oc.env:PATH}b",
    "${data}",
    "${",
    "${a",
    "???",
    "${oc.select:model}",
    "${oc.dict.values:model}",
    "${oc.deprecated:model}",
    "${model.p_uncond}",
)
for number, text in enumerate(INTERPOLATIONS):
    ATTACKS[f"interpolation_{number}"] = setting("model.p_uncond", text) if number % 2 else adding("data", {text: 1})
