"""Trials that train nothing but write every file of a training, for `ray_trials.py` and the tests of many trials.

A folder `disturbance` in the results folder makes them die, hang or be slow, see `disturb`.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from aimc_robust.experiments.execution import trial_runner
from aimc_robust.io import atomic
from aimc_robust.io.atomic import append_rows
from aimc_robust.models.checkpoint import tensor_digest
from aimc_robust.training.loop import TrainingResult
from aimc_robust.training.resumption import (
    FINISHED,
    HISTORY,
    Origin,
    SelectedWeights,
    load_finished,
    load_progress,
    read_history,
    restore_history,
    save_finished,
    save_progress,
)

EPOCHS = 2
SPEC = """
name = "many-trials"
train_seeds = {seeds}
chips = {chips}
targets = ["digital", "gaussian-0.2"]
[data]
name = "digits"
test_share = 0.02
train_images = 100
[model]
name = "small-cnn"
options = {{ channels = 4, stages = 1 }}
[training]
epochs = 2
[methods.sgd]
[methods.rwp]
sigma = 0.1
"""
"""Two methods; four chips or so are measured on 36 images, so that a trial takes milliseconds."""

WRITES = ("append_rows", "atomic_write")


def spec_text(trials: int, chips: int = 3) -> str:
    """The spec of this many trials, an even number."""
    return SPEC.format(seeds=list(range(trials // 2)), chips=chips)


def stub_trial(context, trial, progress):
    """Run a trial as `run_trial` does, with a training that only writes; append a row of times to `times.jsonl`."""
    with timed_writes() as seconds, mock.patch.object(trial_runner, "train", stub_train):
        began = time.time()
        disturb(context.folder, str(trial), "begin")
        reason = trial_runner.run_trial(context, trial, progress)
        row = {"trial": str(trial), "pid": os.getpid(), "began": began, "ended": time.time(), **seconds}
    _note(context.folder, "times", row)
    return reason


def stub_train(model, method, config, *, train_seed, folder, on_epoch, **_):
    """Write what `train` writes: rows and a checkpoint for each epoch, and the finished checkpoint.

    The results folder gets a line in `trainings.jsonl` before the first epoch, and one when the training is finished.
    """
    root, name = folder.parents[1], folder.name
    origin = Origin(f"{type(method).__name__} {train_seed}", tensor_digest(model.state_dict()))
    if (folder / FINISHED).exists():
        return TrainingResult(model.eval(), load_finished(folder, model, origin), read_history(folder))
    optimizer = config.base_optimizer(model)
    progress = load_progress(folder, model, optimizer, origin)
    restore_history(folder, progress.history)
    _note(root, "trainings", {"trial": name, "event": "start", "epoch": progress.epoch})
    while progress.epoch < EPOCHS:
        for parameter in model.parameters():  # numbers that depend on every epoch
            parameter.data.add_(0.01)
        row = {"epoch": progress.epoch + 1, "train_loss": 1.0, "accuracy": 50.0, "seconds": 0.0}
        progress.history.append(row)
        state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        progress.selected = [SelectedWeights(progress.epoch, 0.0, state)]
        append_rows(folder / HISTORY, [row])
        save_progress(folder, model, optimizer, progress, origin)
        on_epoch(row)
        disturb(root, name, f"epoch{progress.epoch}")
    save_finished(folder, progress, origin, [None])
    _note(root, "trainings", {"trial": name, "event": "end"})
    disturb(root, name, "trained")
    return TrainingResult(model.eval(), progress.epoch, progress.history)


def disturb(root: Path, name: str, moment: str) -> None:
    """Die, hang or wait at a moment of a trial, if the folder `disturbance` says so.

    `MOMENT-TRIAL` there kills the process once; `slow-node` and `lost-node` hold the id of a node on which every trial
    takes a second longer, or hangs after it has made the file `hangs`.
    """
    folder = root / "disturbance"
    if not folder.exists():
        return
    import ray

    node = ray.get_runtime_context().get_node_id()
    if moment == "begin" and _text(folder / "slow-node") == node:
        time.sleep(1.0)
    if moment == "epoch1" and _text(folder / "lost-node") == node:
        (folder / "hangs").touch()
        time.sleep(600.0)
    try:
        (folder / f"{moment}-{name}").unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _text(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _note(root: Path, name: str, row: dict) -> None:
    """Append a line to NAME.jsonl; many processes may do so at once, since it is one short write."""
    with (root / f"{name}.jsonl").open("ab", buffering=0) as file:
        file.write(json.dumps(row).encode() + b"\n")


@contextmanager
def timed_writes() -> Iterator[dict[str, float]]:
    """Measure the time of every write to a results folder within the context; give name -> seconds."""
    seconds = dict.fromkeys(WRITES, 0.0)
    with ExitStack() as stack:
        for name in WRITES:
            original = getattr(atomic, name)
            for key, module in list(sys.modules.items()):
                if key.startswith("aimc_robust.") and vars(module).get(name) is original:
                    stack.enter_context(mock.patch.object(module, name, _timed(original, seconds)))
        yield seconds


def _timed(function, seconds):
    @functools.wraps(function)
    def timed(*args, **options):
        began = time.perf_counter()
        try:
            return function(*args, **options)
        finally:
            seconds[function.__name__] += time.perf_counter() - began

    return timed
