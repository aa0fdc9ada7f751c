"""Cells that meet with an accident, and what the engine tests look at. Importable by worker processes."""

import os
import signal
import time

import pandas as pd

from aimc_robust.experiments.callbacks.comparison import Progress
from aimc_robust.experiments.execution.cell_runner import run_cell
from aimc_robust.experiments.results.comparison import Store
from aimc_robust.experiments.results.trial import Cell
from aimc_robust.experiments.spec.comparison import load_spec

SGD = [Cell("sgd", 0), Cell("sgd", 1)]
MIXED = [Cell("m-rwp", 0), Cell("m-rwp", 1)]


class Dying(Progress):
    """Passes on what it hears, and kills its process after the cell's second epoch."""

    def __init__(self, progress):
        self.progress = progress

    def training(self, cell, *, done):
        self.progress.training(cell, done=done)

    def epoch(self, cell, row):
        self.progress.epoch(cell, row)
        if row["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGKILL)


def with_one_death(work, cell, progress):
    """A real cell; that of m-rwp, seed 1, dies in its first attempt, mid-training."""
    begun = (work.folder / "runs" / str(cell) / "history.jsonl").exists()
    return run_cell(work, cell, Dying(progress) if cell == MIXED[1] and not begun else progress)


def with_deaths(work, cell, progress):
    """The same, and that of sgd, seed 0, always dies."""
    if cell == SGD[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return with_one_death(work, cell, progress)


def with_full_disk(work, cell, progress):
    if cell == SGD[0]:
        raise OSError(28, "No space left on device", str(work.folder))
    progress.finished(cell, {"pid": os.getpid()})


def with_a_bug(work, cell, progress):
    return {}["a key"]


def tells_its_process(work, cell, progress):
    import torch

    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES")
    x = torch.ones(64, 64) @ torch.ones(64, 64)  # a hang would be one of threads lost in a fork
    progress.finished(cell, {"threads": torch.get_num_threads(), "cores": cores, "gpu": gpu, "sum": float(x.sum())})


def waits(work, cell, progress):
    """Says which process it is in, and stays there."""
    path = work.folder / f"pid-{cell}"
    path.with_suffix(".part").write_text(str(os.getpid()))
    path.with_suffix(".part").rename(path)
    time.sleep(600)


class Heard(Progress):
    """What a comparison told, by cell."""

    def __init__(self):
        self.calls = {}

    def _hear(self, cell, *what):
        self.calls.setdefault(str(cell), []).append(what)

    def training(self, cell, *, done):
        self._hear(cell, "training", done)

    def epoch(self, cell, row):
        self._hear(cell, "epoch", row["epoch"])

    def evaluating(self, cell, target):
        self._hear(cell, "evaluating", target)

    def finished(self, cell, accuracies):
        self._hear(cell, "finished", accuracies)

    def failed(self, cell, reason):
        self._hear(cell, "failed", reason)


def a_store(path, folder):
    """The store of a spec's file in a new folder."""
    folder.mkdir(parents=True)
    return Store.create(folder, load_spec(path), path.read_text())


def assert_same_rows(folder, other, cells):
    """Some cells have the same evaluation rows and epochs (but for their seconds) in both folders, to the last bit."""
    here, there = Store.open(folder), Store.open(other)
    for cell in cells:
        assert here.evaluations(cell) == there.evaluations(cell) != []
        histories = [pd.DataFrame(store.history(cell)).drop(columns="seconds") for store in (here, there)]
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


def stalls_on_a_node(work, cell, progress):
    """A real cell; on the node whose id the folder names, it stays in its second epoch for ever."""
    import ray

    there = (work.folder / "stalling-node").read_text()
    if ray.get_runtime_context().get_node_id() == there:
        return run_cell(work, cell, Stalling(progress, work.folder))
    return run_cell(work, cell, progress)


class Stalling(Dying):
    """Passes on what it hears, and says so and stays after the cell's second epoch."""

    def __init__(self, progress, folder):
        super().__init__(progress)
        self.folder = folder

    def epoch(self, cell, row):
        self.progress.epoch(cell, row)
        if row["epoch"] == 2:
            (self.folder / f"stalled-{cell}").touch()
            time.sleep(600)
