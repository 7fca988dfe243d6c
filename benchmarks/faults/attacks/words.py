"""What a run was made with: the words of a command line, which resuming it would take from the file."""

from typing import Any

from benchmarks.faults.attacks.table import Aim, Attack, Content, config, filled, setting

ATTACKS: dict[str, Attack] = {}
OUT = "../../../../../../../../.."  # up to the root from any folder of a run
WORDS = {
    # paths
    "name": [f"name={OUT}/VICTIM/named"],
    "run": ["run=VICTIM/run"],
    "root_dir": ["trainer.default_root_dir=VICTIM/root"],
    "csv": ["logger.csv.save_dir=VICTIM/csv"],
    "csv_victim": ["logger.csv.save_dir=VICTIM"],
    "csv_version": [f"logger.csv.version={OUT}/VICTIM/csv"],
    "averages": ["callbacks.averages.folder=VICTIM/averages"],
    "averages_other_run": ["callbacks.averages.folder=VICTIM/other_run"],
    "grid": ["callbacks.grid.folder=VICTIM/grid"],
    "dirpath": ["callbacks.checkpoint.dirpath=VICTIM/checkpoints"],
    "filename": [f"callbacks.checkpoint.filename={OUT}/VICTIM/best"],
    "last_name": [f"+callbacks.checkpoint.CHECKPOINT_NAME_LAST={OUT}/VICTIM/last"],
    "cache": ["data.cache=VICTIM/cache"],
    "root": ["data=fastmri", "data.root=/proc"],
    "root_fifo": ["data=fastmri", "data.root=VICTIM/fifo"],
    "wandb_dir": ["logger=wandb", "logger.wandb.save_dir=VICTIM/wandb"],
    "contrast": [f"data.contrasts=['{OUT}/VICTIM/contrast',AXT2]"],
    "init": ["init=VICTIM/thesis.txt"],
    "init_passwd": ["init=/etc/passwd"],
    "resume_again": ["resume=VICTIM/thesis.txt"],
    "teacher": ["+teacher=VICTIM/thesis.txt"],
    "autoencoder": ["model=latent", "model.autoencoder=VICTIM/thesis.txt"],
    "splits": ["+splits=VICTIM/splits.csv"],
    "out": ["+out=VICTIM/out"],
    "profiler_dir": [
        "+trainer.profiler={_target_: lightning.pytorch.profilers.SimpleProfiler, dirpath: VICTIM/profile, filename: x}"
    ],
    # configuration outside conf/
    "config_up": [f"experiment={OUT}/PWN/evil"],
    "config_run": ["experiment=../../runs/evil/config"],
    "config_absolute": ["experiment=PWN/evil"],
    "config_other": [f"+net/{OUT}/PWN=evil"],
    "choice_slash": ["net=../../PWN/evil"],
    "choice_dots": ["data=../train"],
    "choice_list": ["callbacks=[default,bare]"],
    "defaults": ["+defaults=[evil]"],
    "searchpath": ["hydra.searchpath=[file://PWN]"],
    "plus_searchpath": ["+hydra.searchpath=[file://PWN]"],
    "config_dir": ["--config-dir=PWN"],
    "config_path": ["--config-path=PWN"],
    "config_name": ["-cn=evil"],
    # Hydra's own
    "hydra_dir": ["hydra.run.dir=VICTIM/hydra"],
    "hydra_plus": ["++hydra.run.dir=VICTIM/hydra"],
    "hydra_space": [" hydra.run.dir=VICTIM/hydra"],
    "hydra_tab": ["\thydra.run.dir=VICTIM/hydra"],
    "hydra_newline": ["name=x\nhydra.run.dir=VICTIM/hydra"],
    "hydra_tilde": ["~hydra.run"],
    "hydra_sweep": ["hydra.sweep.dir=VICTIM/sweep"],
    "hydra_chdir": ["hydra.job.chdir=true"],
    "hydra_capital": ["Hydra.run.dir=VICTIM/hydra"],
    "hydra_wide": ["\uff48ydra.run.dir=VICTIM/hydra"],
    "hydra_quoted": ["'hydra.run.dir'=VICTIM/hydra"],
    "hydra_brackets": ["[hydra].run.dir=VICTIM/hydra"],
    "hydra_callbacks": ["+hydra.callbacks.x._target_=torch.utils.collect_env.run", "+hydra.callbacks.x.command='touch PWN/x'"],
    "hydra_env": ["+hydra.job.env_set={LD_PRELOAD: PWN/x.so}"],
    "hydra_logging": ["+hydra.job_logging.handlers.x={class: logging.FileHandler, filename: VICTIM/log}"],
    "hydra_group": ["hydra/job_logging=../../PWN/evil"],
    "hydra_launcher": ["+hydra/launcher=submitit_slurm"],
    "package_callbacks": ["+parameterization@hydra.callbacks.evil=edm"],
    "package_launcher": ["+parameterization@hydra.launcher=edm"],
    "package_global": ["+sampler@_global_.hydra=ddim"],
    "package_at": ["+callbacks@hydra.callbacks=bare"],
    "package_here": ["+callbacks@_here_.hydra=bare"],
    "package_root": ["+callbacks@=bare"],
    "multirun": ["-m"],
    "multirun_long": ["--multirun"],
    "sweep": ["seed=1,2,3"],
    "range": ["seed=range(1,1000000000)"],
    "glob": ["net=glob(*)"],
    "choices": ["name='choice(a,b)'"],
    "info": ["--info=all"],
    "completion": ["-sc install=bash"],
    # devices and processes
    "devices": ["trainer.devices=3"],
    "devices_many": ["trainer.devices=100000"],
    "nodes": ["+trainer.num_nodes=2"],
    "accelerator": ["trainer.accelerator=cuda"],
    "num_workers": ["data.num_workers=4000"],
    "workers": ["data.workers=4000"],
    "strategy": ["+trainer.strategy=ddp_spawn"],
    "strategy_fork": ["+trainer.strategy=ddp_fork"],
    "plugins": ["+trainer.plugins=[slurm]"],
    "profiler": ["+trainer.profiler=simple"],
    "compile": ["compile=true"],
    "precision": ["trainer.precision=bf16-true"],
    "wandb": ["logger=wandb", "logger.wandb.entity=attacker", "logger.wandb.log_model=true"],
    "wandb_group": ["logger=wandb"],
    "barebones": ["+trainer.barebones=true"],
    # names of code
    "target": ["data._target_=os.system"],
    "target_nested": ["+model.x={_target_: torch.utils.collect_env.run, command: 'touch PWN/x'}"],
    "target_quoted": ["model={'_target_': 'os.system'}"],
    "target_escaped": ["+model.x={_targ\\:et_:1}"],
    "target_backslash": ["+model.fields={_target\\_: os.system}"],
    "target_callback": ["+callbacks.x={_target_: torch.utils.collect_env.run, command: 'touch PWN/x'}"],
    "target_split": ["+callbacks.x={'_tar'get_: os.system}"],
    "target_trainer": ["trainer._target_=torch.utils.collect_env.run", "+trainer.command='touch PWN/x'"],
    "trust": ["+trust=[os.system]"],
    "trust_plus": ["++trust=[torch.utils.collect_env.run]"],
    "interpolation": ["name=${oc.env:HOME}"],
    "interpolation_escaped": ["name=$\\{oc.env:HOME}"],
    "interpolation_create": ["+model.x=${oc.create:{a:1}}"],
    "resolver": ["name=${hydra:runtime.cwd}"],
    # numbers
    "epochs": ["trainer.max_epochs=1000000000"],
    "epochs_negative": ["trainer.max_epochs=-1"],
    "epochs_text": ["trainer.max_epochs=many"],
    "steps_per_epoch": ["data.steps_per_epoch=1000000000"],
    "batch": ["data.batch_size=1000000000"],
    "channels": ["net.channels=[1000000,1000000]"],
    "matrix": ["data.matrix=1000000"],
    "patients": ["data.phantom.patients=10000000"],
    "grid_samples": ["callbacks.grid.num_samples=100000000"],
    "averages_times": ["callbacks.averages.times=1000000000"],
    "averages_stds": [f"callbacks.averages.stds=[{','.join(['0.1'] * 10**4)}]"],
    "top_k": ["callbacks.checkpoint.save_top_k=-1"],
    "quality": ["callbacks.evaluation.every_n_epochs=1", "callbacks.evaluation.num_samples=10000000"],
    "seed": [f"seed={10**40}"],
    # words that are none
    "long": ["name=" + "x" * 10**7],
    "many": ["name=x"] * 10**5,
    "deep": ["name=" + "[" * 10**4 + "]" * 10**4],
    "deep_dict": ["+x=" + "{a:" * 2000 + "1" + "}" * 2000],
    "unbalanced": ["name=[[[["],
    "quote": ["name='"],
    "empty": [""],
    "equals": ["="],
    "spaces": ["   "],
    "nul": ["name=a\0b"],
    "escape": ["name=\x1b[2J"],
    "line": ["name=a\nerror: refused"],
    "unknown_key": ["no.such.key=1"],
    "unknown_group": ["net=nothing"],
    "delete_data": ["~data"],
    "delete_model": ["~model"],
    "delete_callbacks": ["~callbacks"],
    "null_model": ["model=null"],
    "objective": ["objective=x/y"],
    "help": ["--help"],
    "version": ["--version"],
    "comment": ["#"],
    "reduce": ["name=!!python/object/apply:os.system [exit]"],
    "positional": ["touch PWN/x"],
}
GOOD = "experiment=smoke"  # what a run that was made so has among its own


def made_with(words: list[str]) -> Attack:
    def attack(content: Content, aim: Aim) -> Content:
        own = config(content)["overrides"]
        config(content)["overrides"] = [*(own if isinstance(own, list) else [GOOD]), *filled(words, aim)]
        return content

    return attack


for name, words in WORDS.items():
    ATTACKS[f"words_{name}"] = made_with(words)

PATHS = {  # the same, in the resolved configuration beside the words
    "run": "VICTIM/run",
    "name": f"{OUT}/VICTIM/named",
    "resume": "VICTIM/thesis.txt",
    "init": "VICTIM/thesis.txt",
    "autoencoder": "VICTIM/thesis.txt",
    "trainer.default_root_dir": "VICTIM/root",
    "trainer.devices": 3,
    "trainer.strategy": "ddp_spawn",
    "logger.csv.save_dir": "VICTIM/csv",
    "callbacks.averages.folder": "VICTIM/averages",
    "callbacks.grid.folder": "VICTIM/grid",
    "callbacks.checkpoint.dirpath": "VICTIM/checkpoints",
    "callbacks.checkpoint.filename": f"{OUT}/VICTIM/best",
    "data.cache": "VICTIM/cache",
    "data.root": "/proc",
    "data.split": "VICTIM/thesis.txt",
    "model.autoencoder": "VICTIM/thesis.txt",
    "data.contrasts": [f"{OUT}/VICTIM/contrast", "AXT1POST", "AXT2", "AXFLAIR"],
    "data.select.merge": {"AXT1": f"{OUT}/VICTIM/merged"},
    "data.cond": {"path": "VICTIM/thesis.txt"},
    "objective": f"{OUT}/VICTIM/x",
    "seed": "VICTIM",
}
for path, value in PATHS.items():
    ATTACKS[f"path_{path}"] = setting(path, value)


def other_data(root: Any) -> Attack:
    """The data module of a folder, wherever the file says that this is."""

    def attack(content: Content, aim: Aim) -> Content:
        data = config(content)["data"]
        data.pop("phantom", None)
        data |= {"_target_": "condiff.data.datamodule.MRIDataModule", "root": filled(root, aim)}
        return content

    return attack


for name, root in {
    "proc": "/proc",
    "dev": "/dev",
    "root": "/",
    "fifo": "VICTIM/fifo",
    "victim": "VICTIM",
    "home": "~",
    "url": "http://127.0.0.1:9/x",
    "file_url": "file://VICTIM",
    "nul": "a\0b",
    "long": "x" * 10**5,
    "number": 5,
}.items():
    ATTACKS[f"path_data.root_{name}"] = other_data(root)
