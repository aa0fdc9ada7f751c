"""Trials that meet with an accident, and what the engine tests look at. Importable by worker processes."""

import os
import signal
import time

import pandas as pd

from aimc_robust.experiments.callbacks.comparison import ComparisonProgress
from aimc_robust.experiments.execution.trial_runner import run_trial
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import load_spec

SGD = [Trial("sgd", 0), Trial("sgd", 1)]
MIXED = [Trial("m-rwp", 0), Trial("m-rwp", 1)]


class Dying(ComparisonProgress):
    """Passes on what it hears, and kills its process after the trial's second epoch."""

    def __init__(self, progress):
        self.progress = progress

    def training(self, trial, *, done):
        self.progress.training(trial, done=done)

    def epoch(self, trial, row):
        self.progress.epoch(trial, row)
        if row["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGKILL)


def with_one_death(work, trial, progress):
    """A real trial; that of m-rwp, seed 1, dies in its first attempt, mid-training."""
    started = (work.folder / "runs" / str(trial) / "history.jsonl").exists()
    return run_trial(work, trial, Dying(progress) if trial == MIXED[1] and not started else progress)


def with_deaths(work, trial, progress):
    """The same, and that of sgd, seed 0, always dies."""
    if trial == SGD[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return with_one_death(work, trial, progress)


def with_full_disk(work, trial, progress):
    if trial == SGD[0]:
        raise OSError(28, "No space left on device", str(work.folder))
    progress.finished(trial, {"pid": os.getpid()})


def with_a_bug(work, trial, progress):
    return {}["a key"]


def tells_its_process(work, trial, progress):
    import torch

    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES")
    x = torch.ones(64, 64) @ torch.ones(64, 64)  # a hang would be one of threads lost in a fork
    progress.finished(trial, {"threads": torch.get_num_threads(), "cores": cores, "gpu": gpu, "sum": float(x.sum())})


def waits(work, trial, progress):
    """Says which process it is in, and stays there."""
    path = work.folder / f"pid-{trial}"
    path.with_suffix(".part").write_text(str(os.getpid()))
    path.with_suffix(".part").rename(path)
    time.sleep(600)


class Heard(ComparisonProgress):
    """What a comparison told, by trial."""

    def __init__(self):
        self.calls = {}

    def _hear(self, trial, *what):
        self.calls.setdefault(str(trial), []).append(what)

    def training(self, trial, *, done):
        self._hear(trial, "training", done)

    def epoch(self, trial, row):
        self._hear(trial, "epoch", row["epoch"])

    def evaluating(self, trial, target):
        self._hear(trial, "evaluating", target)

    def finished(self, trial, accuracies):
        self._hear(trial, "finished", accuracies)

    def failed(self, trial, reason):
        self._hear(trial, "failed", reason)


def a_store(path, folder):
    """The store of a spec's file in a new folder."""
    folder.mkdir(parents=True)
    return ComparisonResults.create(folder, load_spec(path), path.read_text())


def assert_same_rows(folder, other, trials):
    """Some trials have the same evaluation rows and epochs (but for their seconds) in both folders, to the last bit."""
    here, there = ComparisonResults.open(folder), ComparisonResults.open(other)
    for trial in trials:
        assert here.evaluations(trial) == there.evaluations(trial) != []
        histories = [pd.DataFrame(store.history(trial)).drop(columns="seconds") for store in (here, there)]
        pd.testing.assert_frame_equal(*histories, check_exact=True)


def ends(pid, *, within_s=20.0):
    """Whether a process is gone, or a zombie, within the time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def stalls_on_a_node(work, trial, progress):
    """A real trial; on the node whose id the folder names, it stays in its second epoch for ever."""
    import ray

    there = (work.folder / "stalling-node").read_text()
    if ray.get_runtime_context().get_node_id() == there:
        return run_trial(work, trial, Stalling(progress, work.folder))
    return run_trial(work, trial, progress)


class Stalling(Dying):
    """Passes on what it hears, and says so and stays after the trial's second epoch."""

    def __init__(self, progress, folder):
        super().__init__(progress)
        self.folder = folder

    def epoch(self, trial, row):
        self.progress.epoch(trial, row)
        if row["epoch"] == 2:
            (self.folder / f"stalled-{trial}").touch()
            time.sleep(600)
