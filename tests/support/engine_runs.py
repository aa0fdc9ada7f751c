"""Trials that fail in various ways, and helpers of the engine tests. Importable by worker processes."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from aimc_robust.experiments.callbacks.progress import ExperimentProgress
from aimc_robust.experiments.execution.engines.cpu_gpu_allocation import ResourceAllocation
from aimc_robust.experiments.execution.trial_runner import run_trial
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.loading import load_spec

SGD = [Trial("sgd", 0), Trial("sgd", 1)]
MIXED = [Trial("m-rwp", 0), Trial("m-rwp", 1)]


class DyingProgress(ExperimentProgress):
    """Forward every call, and kill this process after the trial's second epoch."""

    def __init__(self, progress):
        self.progress = progress

    def training(self, trial, *, done):
        self.progress.training(trial, done=done)

    def epoch(self, trial, row):
        self.progress.epoch(trial, row)
        if row["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGKILL)


def die_once(context, trial, progress):
    """Run a real trial; that of m-rwp, seed 1, dies in its first attempt, during training."""
    started = (context.folder / "runs" / str(trial) / "history.jsonl").exists()
    return run_trial(context, trial, DyingProgress(progress) if trial == MIXED[1] and not started else progress)


def die_repeatedly(context, trial, progress):
    """Run trials as `die_once`; that of sgd, seed 0, always dies."""
    if trial == SGD[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return die_once(context, trial, progress)


def raise_disk_full(context, trial, progress):
    if trial == SGD[0]:
        raise OSError(28, "No space left on device", str(context.folder))
    progress.finished(trial, {"pid": os.getpid()})


def raise_key_error(context, trial, progress):
    return {}["a key"]


def report_process(context, trial, progress):
    import torch

    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES")
    x = torch.ones(64, 64) @ torch.ones(64, 64)  # a hang would be one of threads lost in a fork
    progress.finished(trial, {"threads": torch.get_num_threads(), "cores": cores, "gpu": gpu, "sum": float(x.sum())})


def report_span(context, trial, progress):
    """Take two seconds, longer than Ray keeps an idle process, and report when and where."""
    began = time.monotonic()
    progress.training(trial, done=0)
    time.sleep(2.0)
    progress.finished(trial, {"pid": os.getpid(), "began": began, "ended": time.monotonic()})


def sleep_forever(context, trial, progress):
    """Write the id of this process, and wait."""
    path = context.folder / f"pid-{trial}"
    path.with_suffix(".part").write_text(str(os.getpid()))
    path.with_suffix(".part").rename(path)
    time.sleep(600)


@dataclass(frozen=True)
class DeadlyAllocation(ResourceAllocation):
    """Kills the first `deaths` processes that it is applied to, before they can take a trial."""

    folder: Path = Path()
    deaths: int = 0

    def apply(self):
        attempts = self.folder / "attempts"
        attempts.open("a").write("x")
        if attempts.stat().st_size <= self.deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        super().apply()


def kill_fork_server(context, trial, progress):
    """Kill the fork server in the first attempt, and go on writing; say in a second attempt whether that one ended."""
    pid_file = context.folder / f"pid-{trial}"
    if pid_file.exists():
        progress.finished(trial, {"first has ended": process_ends(int(pid_file.read_text()), within_s=0.0)})
        return
    pid_file.write_text(str(os.getpid()))
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)


class RecordedProgress(ExperimentProgress):
    """Record the calls of a comparison, by trial."""

    def __init__(self):
        self.calls = {}

    def _record(self, trial, *call):
        self.calls.setdefault(str(trial), []).append(call)

    def training(self, trial, *, done):
        self._record(trial, "training", done)

    def epoch(self, trial, row):
        self._record(trial, "epoch", row["epoch"])

    def evaluating(self, trial, target, **_):
        self._record(trial, "evaluating", target)

    def finished(self, trial, accuracies):
        self._record(trial, "finished", accuracies)

    def failed(self, trial, reason):
        self._record(trial, "failed", reason)


def create_results(path, folder):
    """Create the results folder of a spec file."""
    folder.mkdir(parents=True)
    results = ComparisonResults.create(folder, load_spec(path))
    results.write_spec_text(path.read_text())
    return results


def assert_same_rows(folder, other, trials):
    """Check that trials have the same evaluation rows and epochs (except seconds) in both folders, bit for bit."""
    here, there = ComparisonResults.open(folder), ComparisonResults.open(other)
    for trial in trials:
        assert here.evaluations(trial) == there.evaluations(trial) != []
        histories = [pd.DataFrame(store.history(trial)).drop(columns="seconds") for store in (here, there)]
        pd.testing.assert_frame_equal(*histories, check_exact=True)


def process_ends(pid, *, within_s=20.0):
    """Return whether a process ends, or is a zombie, within the time."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)


def stall_on_node(context, trial, progress):
    """Run a real trial; on the node whose id the folder names, it hangs in its second epoch."""
    import ray

    there = (context.folder / "stalling-node").read_text()
    if ray.get_runtime_context().get_node_id() == there:
        return run_trial(context, trial, StallingProgress(progress, context.folder))
    return run_trial(context, trial, progress)


class StallingProgress(DyingProgress):
    """Forward every call, and hang after the trial's second epoch."""

    def __init__(self, progress, folder):
        super().__init__(progress)
        self.folder = folder

    def epoch(self, trial, row):
        self.progress.epoch(trial, row)
        if row["epoch"] == 2:
            (self.folder / f"stalled-{trial}").touch()
            time.sleep(600)
