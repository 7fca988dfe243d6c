"""A run that is stopped, killed, starved or started twice loses nothing."""

import csv
import errno
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from condiff.commands import requeue, sweep
from condiff.commands.options import OPTIONS, SEED
from condiff.commands.preflight import check_data, check_trainer
from condiff.commands.requeue import continued
from condiff.commands.run_folder import claim_folder, remove_traces, unused
from condiff.configuration import CONF
from condiff.data.index_sampler import StreamSampler
from condiff.errors import InputError
from condiff.training import budget
from condiff.training.callbacks import Checkpoints, StopAtSignal
from condiff.training.callbacks.lost_process import is_lost
from condiff.training.callbacks.optional import optional
from condiff.training.checkpoint_io import CheckpointIO
from condiff.training.resumed_state import epochs_done
from tests.conftest import TINY_RUN, bad

TINY = [*TINY_RUN, "~callbacks.grid"]


def terminate(self, trainer, *_):
    """As if the system had sent SIGTERM in the fifth step, the second of the second epoch."""
    if trainer.global_step == 4:
        os.kill(os.getpid(), signal.SIGTERM)


def losses(run):
    with open(f"runs/{run}/metrics_train.csv") as file:
        return {int(row["step"]): float(row["train/loss"]) for row in csv.DictReader(file)}


def last(run):
    return torch.load(f"runs/{run}/checkpoints/last.ckpt", weights_only=True)


def same_weights(one, other):
    """Raw and averaged, to the last bit."""
    kinds = ("state_dict", "current_model_state")
    return all(torch.equal(one[kind][name], other[kind][name]) for kind in kinds for name in one[kind])


def test_sigterm_stores_the_last_weights_and_names_the_command_that_goes_on(run_entry, tmp_path, capsys, monkeypatch):
    """The run it resumes within an epoch, which was never validated, equals an uninterrupted one."""
    blind = ["+trainer.limit_val_batches=0"]
    run_entry("train.py", *TINY, *blind)
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(StopAtSignal, "on_train_batch_start", terminate)
        run_entry("train.py", *TINY, *blind, "hydra.run.dir=runs/cut")
    assert stopped.value.code == 128 + signal.SIGTERM and signal.getsignal(signal.SIGTERM) == before
    ckpt = tmp_path / "runs/cut/checkpoints/last.ckpt"
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"stopped by SIGTERM after step 5; continue with: python train.py resume={ckpt}"
    assert epochs_done(last("cut")) == 1
    run_entry("train.py", f"resume={ckpt}", "hydra.run.dir=runs/on")
    whole = losses("now")
    assert sorted(whole) == list(range(1, 7)) and losses("on") == {step: whole[step] for step in (1, 2, 3, 4, 6)}
    assert same_weights(last("on"), last("now")) and last("on")["global_step"] == 6
    assert "is finished after 2 epochs" in bad(capsys, run_entry, "train.py", f"resume={tmp_path}/runs/now/checkpoints/last.ckpt")


@pytest.fixture
def slurm_job(tmp_path, monkeypatch):
    """As in a job of SLURM, whose ``scontrol`` writes a file."""
    program = tmp_path / "bin/scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/scontrol.txt\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    for name, value in {"NTASKS": 1, "NNODES": 1, "JOB_ID": 7, "PROCID": 0, "LOCALID": 0, "NODEID": 0}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.setenv("SLURM_JOB_NAME", "brain")


def test_a_requeued_job_goes_on(run_entry, tmp_path, slurm_job, monkeypatch, capsys):
    """Twice: requeued by Lightning in step 2, by another handler in step 5. In the end it equals an uninterrupted one."""
    run_entry("train.py", *TINY)
    job = [*(word for word in TINY if "max_epochs" not in word), "data.steps_per_epoch=9", "trust=[mypackage.Net]"]
    monkeypatch.setattr(budget, "shortened", lambda *_, **__: (2, 3))

    def start(restarts, *words, number=None, step=None):
        def receive(self, trainer, *_):
            if trainer.global_step == step:
                os.kill(os.getpid(), number)
                os.kill(os.getpid(), signal.SIGTERM)  # from SLURM, to which Lightning and submitit do not listen

        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))
        with monkeypatch.context() as patch:
            patch.setattr(StopAtSignal, "on_train_batch_start", receive)
            run_entry("train.py", *job, "hydra.run.dir=runs/job", *words)

    with pytest.raises(SystemExit) as stopped:
        start(0, number=signal.SIGUSR1, step=1)
    assert stopped.value.code == 128 + signal.SIGUSR1 and last("job")["global_step"] == 2
    assert "stopped by SIGUSR1 after step 2; its job is requeued, and continues" in capsys.readouterr().err
    assert (tmp_path / "scontrol.txt").read_text() == "requeue 7\n" and (tmp_path / "runs/job/hpc_ckpt_1.ckpt").is_file()
    steps = []
    before = signal.signal(signal.SIGUSR2, lambda *_: steps.append(last("job")["global_step"]))
    try:
        with pytest.raises(SystemExit):
            start(1, number=signal.SIGUSR2, step=4)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert steps == [5]  # called after the step, when its checkpoint was stored
    wrong = bad(capsys, start, 2, "model.p_uncond=0.2", "init=phantom")
    assert "last.ckpt: the command that stored it differs in init=phantom model.p_uncond=0.2; a requeued job" in wrong
    start(2)
    printed = "".join(capsys.readouterr())
    assert f"requeued: continues {tmp_path}/runs/job/checkpoints/last.ckpt" in printed
    assert same_weights(last("job"), last("now")) and last("job")["global_step"] == 6
    expected = losses("now")
    assert losses("job") == {step: expected[step] for step in (1, 3, 4, 6)}
    start(3)
    assert "requeued: the run is finished" in "".join(capsys.readouterr())
    assert "holds a run; continue it" in bad(capsys, start, 0)  # a command of its own


def test_a_requeued_sweep_keeps_what_is_finished(run_entry, slurm_job, monkeypatch, capsys):
    def receive(self, trainer, *_):
        if trainer.global_step == 4 and Path("sweep/sweep.csv").is_file():  # in the second job
            os.kill(os.getpid(), signal.SIGUSR1)

    command = ["train.py", "-m", *TINY, "seed=0,1", "hydra.sweep.dir=sweep"]
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(StopAtSignal, "on_train_batch_start", receive)
        run_entry(*command)
    (first,) = sweep.read(Path("sweep"))
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    run_entry(*command)
    rows = sorted(sweep.read(Path("sweep")), key=lambda row: row["job"])
    assert [row["status"] for row in rows] == ["completed", "completed"]
    assert float(rows[0]["objective"]) == pytest.approx(float(first["objective"]))
    assert torch.load(f"{rows[1]['folder']}/checkpoints/last.ckpt", weights_only=True)["global_step"] == 6


def test_the_checkpoint_that_a_requeued_job_goes_on_with(tmp_path, monkeypatch):
    """The newest, by Lightning or by us; none in a job that was started once."""
    said = []
    monkeypatch.setattr(requeue, "log", SimpleNamespace(info=lambda text, *values: said.append(text % values)))
    cfg = OmegaConf.create({"run": str(tmp_path), "resume": "b.ckpt", "init": "a.ckpt"})
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert continued(cfg) == (cfg, False)
    assert f"no checkpoint in {tmp_path}, so it starts again; hydra.run.dir=" in said[0]
    (tmp_path / "checkpoints").mkdir()
    names = ("hpc_ckpt_2.ckpt", "checkpoints/last.ckpt", "hpc_ckpt_10.ckpt", "checkpoints/best.ckpt")
    for age, name in enumerate(names):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 100 - age))
    for name in names[:3]:
        path = str(tmp_path / name)
        assert continued(cfg) == ({"run": str(tmp_path), "resume": path, "init": path}, True)
        os.utime(path, (0, 0))
    monkeypatch.setenv("SLURM_RESTART_COUNT", "0")
    assert continued(cfg) == (cfg, False)


def test_two_signals():
    """The same twice stops at once. One that requeues the job counts more than one that does not, whichever comes first."""
    callback = StopAtSignal()
    for first, second, counts in (
        (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR1),
        (signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1),
        (signal.SIGUSR2, signal.SIGUSR2, signal.SIGUSR2),
        (signal.SIGTERM, signal.SIGINT, signal.SIGINT),
    ):
        callback.received = None
        callback._receive(first, None)
        callback._receive(second, None)
        assert callback.received == counts
    with pytest.raises(SystemExit) as stopped:
        callback._receive(signal.SIGINT, None)
    assert stopped.value.code == 128 + signal.SIGINT


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "end"),
    [
        (["+trainer.val_check_interval=2"], 6),
        (["data.steps_per_epoch=4", "+trainer.val_check_interval=0.5"], 8),
        (["data.num_workers=2", "+trainer.val_check_interval=2"], 6),
        (["+trainer.max_steps=8", "trainer.max_epochs=3"], 8),  # ends within an epoch
        (["+trainer.check_val_every_n_epoch=2", "trainer.max_epochs=3"], 9),  # ends with an epoch that is not validated
        (["+trainer.limit_val_batches=0", "callbacks.checkpoint.monitor=null", "+callbacks.checkpoint.every_n_train_steps=1"], 6),
    ],
)
def test_every_checkpoint_resumes_to_an_equal_end(run_entry, tmp_path, how, end):
    keep = ["callbacks.checkpoint.save_top_k=-1", "callbacks.checkpoint.filename='at-{step}'"]
    run_entry("train.py", *TINY, *keep, "+callbacks.checkpoint.auto_insert_metric_name=false", *how)
    stored = sorted(int(path.stem[3:]) for path in Path("runs/now/checkpoints").glob("at-*.ckpt"))
    assert stored and last("now")["global_step"] == end
    for step in [step for step in stored if step < end]:
        run_entry("train.py", f"resume=runs/now/checkpoints/at-{step}.ckpt", f"hydra.run.dir=runs/{step}")
        assert losses(step) == losses("now"), step  # those before it are copied
        assert same_weights(last(step), last("now")) and last(step)["epoch"] == last("now")["epoch"], step


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_goes_on_where_it_was(workers):
    """Whatever Lightning sets as the epoch before it has restored its own, and whenever loading processes begin."""
    whole = StreamSampler(lambda position: position, length=4, rank=1, world_size=2)
    expected = []
    for epoch in range(3):
        whole.set_epoch(epoch)
        expected += whole
    resumed = StreamSampler(lambda position: position, length=4, rank=1, world_size=2, start=6)
    resumed.set_epoch(0)
    loader = torch.utils.data.DataLoader(range(100), batch_size=2, sampler=resumed, num_workers=workers)
    iterator = iter(loader)
    resumed.set_epoch(1)
    got = torch.cat([*iterator]).tolist()
    resumed.set_epoch(2)
    assert got + torch.cat([*loader]).tolist() == expected[6:]


def test_epochs_done():
    """By the count at the end of an epoch, within one, and after a validation at its end that was before the count."""
    for started, processed, is_last, done in ((2, 2, True, 2), (2, 1, False, 1), (2, 1, True, 2)):
        progress = {"current": {"started": started, "processed": processed}}
        loop = {"epoch_progress": progress, "epoch_loop.batch_progress": {"is_last_batch": is_last}}
        assert epochs_done({"epoch": 1, "loops": {"fit_loop": loop}}) == done
    assert epochs_done({"epoch": 1}) == 2


def test_a_full_disk_leaves_the_checkpoint_before_whole(tmp_path, size_limit):
    path = tmp_path / "checkpoints/last.ckpt"
    CheckpointIO(read=dict).save_checkpoint({"x": torch.arange(3)}, path)
    (tmp_path / "checkpoints/last.ckpt.killed.part").touch()
    message = "last.ckpt: cannot be written .*; the previous one is intact. Free some space"
    with pytest.raises(InputError, match=message), size_limit(100_000):
        CheckpointIO(read=dict).save_checkpoint({"x": torch.zeros(100_000)}, path)
    assert [*path.parent.iterdir()] == [path] and torch.load(path)["x"].tolist() == [0, 1, 2]


def test_a_folder_belongs_to_one_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Path("runs/name/time")
    assert [unused(run).name for _ in range(3)] == ["time", "time_1", "time_2"]
    Path("runs/name/sweep").mkdir()
    Path("runs/name/sweep/multirun.yaml").touch()
    assert unused(Path("runs/name/sweep")).name == "sweep_1"
    Path("runs/name/failed").mkdir()
    Path("runs/name/failed/sweep.csv").touch()  # every job was refused: its folder was removed, then the table written
    assert unused(Path("runs/name/failed")).name == "failed_1"
    with (
        claim_folder(run),
        pytest.raises(InputError, match="runs/name/time is in use by a run that has not ended"),
        claim_folder(run),
    ):
        pass
    assert not run.exists()  # nothing was trained
    with claim_folder(Path("runs/other")):  # a lock that a killed process has left blocks nothing
        FileLock("runs/other/.lock")
        Path("runs/other/metrics_train.csv").touch()
    assert Path("runs/other/metrics_train.csv").exists()
    Path("runs/new/sweep/job").mkdir(parents=True)
    for name in ("multirun.yaml", ".lock", "job/train.log", "job/.lock"):
        Path("runs/new/sweep", name).touch()
    remove_traces(Path("runs/new/sweep/job"))
    assert not Path("runs/new").exists() and Path("runs/other").exists()


def test_refused_commands_leave_no_folder(run_entry, capsys, tmp_path):
    for wrong in ("seed=-1", "trainer.precision=bf16-true", "+trainer.strategy=ddp_spawn"):
        assert wrong.lstrip("+") in bad(capsys, run_entry, "train.py", *TINY[:-2], wrong)
    assert "nowhere" in bad(capsys, run_entry, "train.py", "data=fastmri", "data.root=nowhere", "trainer.accelerator=cpu")
    assert not (tmp_path / "runs").exists()


def test_resuming_as_another_run_is_one_line(run_entry, capsys, tmp_path):
    run_entry("train.py", *TINY, "trainer.max_epochs=1")
    resume = ["resume=runs/now/checkpoints/last.ckpt", "trainer.max_epochs=2", "hydra.run.dir=runs/other"]
    for wrong, names in (
        ("net.channels=[8,16]", "of another network, optimizer or data than requested (size mismatch"),
        ("data.contrasts=[AXT1,AXT2]", "was trained with data.contrasts="),
        ("model.optimizer.lr=0.5", "was trained with model.optimizer.lr=0.02, not 0.5; leave model.optimizer.lr out"),
        ("model.optimizer=adamw", "with model.optimizer._target_=condiff.training.optimizers.MuonAdamW, not torch.optim.AdamW"),
    ):
        assert names in bad(capsys, run_entry, "train.py", *resume, wrong)
        assert not (tmp_path / "runs/other").exists()


@pytest.mark.parametrize("seed", [-1, 1.5, "abc", True, None, 2**63])
def test_seeds(seed):
    assert not SEED.holds(seed) and SEED.holds(2**40)
    assert all("seed" in OPTIONS[command] for command in OPTIONS if command not in ("ema", "export", "app"))


@pytest.mark.parametrize(
    "precision", [32, "32-true", "16-mixed", "bf16-mixed", {"_target_": "condiff.training.precision.fastest"}]
)
def test_good_precision(precision):
    check_trainer(OmegaConf.create({"precision": precision}))


def test_pictures_end_no_run(caplog):
    for reason in (OSError(errno.ENOSPC, "No space left on device"), torch.OutOfMemoryError("CUDA out of memory.\nlong")):
        with optional("sample grid", 7):
            raise reason
    assert [record.message for record in caplog.records] == [
        "no sample grid at step 7: [Errno 28] No space left on device",
        "no sample grid at step 7: CUDA out of memory.",
    ]
    with pytest.raises(KeyError), optional("sample grid", 7):
        raise KeyError


def test_what_a_lost_process_leaves():
    assert is_lost(RuntimeError("[gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer"))
    assert is_lost(torch.distributed.DistBackendError("NCCL communicator was aborted"))
    assert not is_lost(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) and not is_lost(OSError("Connection reset"))


def test_brain_experiments_warn_of_the_phantom(monkeypatch, caplog):
    hydra = OmegaConf.create({"runtime": {"choices": {"experiment": "ddpm_brain_40"}}})
    monkeypatch.setattr("condiff.commands.preflight.HydraConfig.get", lambda: hydra)
    check_data(OmegaConf.create({"_target_": "condiff.data.datamodule.MRIDataModule"}))
    assert not caplog.records
    check_data(OmegaConf.create({"_target_": "condiff.data.phantom.datamodule.PhantomDataModule"}))
    assert "experiment=ddpm_brain_40: trains on the phantom; for scans add data=fastmri or data=bids" in caplog.text


def test_the_configuration_stores_checkpoints_this_way():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        parts = compose("train", ["run=x"]).callbacks
    assert {Checkpoints.__name__, StopAtSignal.__name__, "StopAtLostProcess"} <= {
        part._target_.rsplit(".", 1)[-1] for part in parts.values()
    }
