"""Training interrupted anywhere and started again ends bit for bit where the undisturbed run ends."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from support.training_examples import conv_net, differing, digits, state_of
from torch import nn

from aimc_robust.errors import CheckpointError
from aimc_robust.hardware.config.converters import ADC, DAC
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.io.atomic import append_rows, read_rows
from aimc_robust.seeding import global_seed
from aimc_robust.training.config import EarlyStopping, TrainingConfig
from aimc_robust.training.loop import train
from aimc_robust.training.methods.array_aware import ArrayAware
from aimc_robust.training.methods.learned_ranges import LearnedRanges
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM
from aimc_robust.training.methods.sgd import SGD
from aimc_robust.training.resumption import FINISHED, HISTORY, UNFINISHED

EPOCHS = 4
RAMP = Ramp(shape="linear", updates=10)
ARRAYS = Crossbar("pcm-nandakumar2019", dac=DAC(bits=4), adc=ADC(bits=4))
METHODS = {
    "sgd": SGD(),
    "sam": SAM(rho=0.1, ramp=RAMP),
    "rwp": RWP(sigma=0.1, ramp=RAMP),
    "m-rwp": MixedRWP(sigma=0.1, ramp=RAMP),
    "array-aware": ArrayAware(ARRAYS, time_s=(1.0, 1e6), ramp=RAMP),
    "learned ranges": ArrayAware(ARRAYS, ranges=LearnedRanges(init_batches=7)),
}
IMAGES, LABELS = digits()
DATA = {"training_set": (IMAGES[:200], LABELS[:200]), "validation_set": (IMAGES[400:500], LABELS[400:500])}


class StopError(Exception):
    """The interruption."""


def run(folder, method, *, epochs=EPOCHS, stop_after=None, init=0, momentum=0.9, model=None):
    """Train a net with dropout; `stop_after` interrupts once that epoch is done."""

    def on_epoch(row):
        if row["epoch"] == stop_after:
            raise StopError

    config = TrainingConfig(epochs=epochs, batch_size=40, momentum=momentum, early_stopping=EarlyStopping(sigma=0.1))
    model = conv_net(seed=init, dropout=0.3) if model is None else model
    return train(model, method, config, **DATA, train_seed=3, folder=folder, data_id="digits", on_epoch=on_epoch)


def stop(folder, method, epoch, **settings):
    with pytest.raises(StopError):
        run(folder, method, stop_after=epoch, **settings)


def untimed(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def check_same_end(result, folder, whole, whole_folder):
    """Weights, history and files are those of the undisturbed run."""
    assert differing(state_of(result.model), state_of(whole.model)) == []
    assert result.epoch == whole.epoch
    assert untimed(result.history) == untimed(whole.history) == untimed(read_rows(folder / HISTORY))
    assert (folder / FINISHED).read_bytes() == (whole_folder / FINISHED).read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == [FINISHED, HISTORY]


@pytest.fixture(scope="module")
def whole_runs(tmp_path_factory):
    """Undisturbed runs by method name: the result and its folder."""
    folders = {name: tmp_path_factory.mktemp(name) for name in METHODS}
    return {name: (run(folders[name], method), folders[name]) for name, method in METHODS.items()}


# After each epoch, and with each method.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "epoch"), [("m-rwp", epoch) for epoch in range(1, EPOCHS + 1)] + [(n, 2) for n in METHODS if n != "m-rwp"]
)
def test_training_stopped_after_any_epoch_ends_as_if_undisturbed(name, epoch, whole_runs, tmp_path):
    stop(tmp_path, METHODS[name], epoch)
    check_same_end(run(tmp_path, METHODS[name]), tmp_path, *whole_runs[name])


def test_training_stopped_after_every_epoch_ends_as_if_undisturbed(whole_runs, tmp_path):
    for epoch in range(1, EPOCHS + 1):
        stop(tmp_path, METHODS["m-rwp"], epoch)
    check_same_end(run(tmp_path, METHODS["m-rwp"]), tmp_path, *whole_runs["m-rwp"])


def test_a_folder_does_not_change_the_result(whole_runs):
    whole, _ = whole_runs["rwp"]
    result = run(None, METHODS["rwp"])
    assert differing(state_of(result.model), state_of(whole.model)) == []
    assert untimed(result.history) == untimed(whole.history)


def test_plain_descent_without_momentum_resumes_too(tmp_path):
    (tmp_path / "whole").mkdir()
    whole = run(tmp_path / "whole", SGD(), momentum=0.0)
    stop(tmp_path / "stopped", SGD(), 2, momentum=0.0)
    result = run(tmp_path / "stopped", SGD(), momentum=0.0)
    check_same_end(result, tmp_path / "stopped", whole, tmp_path / "whole")


LEFT_BEHIND = {
    "a row ahead of its checkpoint": lambda epoch: json.dumps({"epoch": epoch + 1, "accuracy": 0.0}) + "\n",
    "a part of a row": lambda epoch: '{"epoch": ',
    "both": lambda epoch: json.dumps({"epoch": epoch + 1}) + '\n{"epo',
}


@pytest.mark.slow
@pytest.mark.parametrize("rest", LEFT_BEHIND.values(), ids=LEFT_BEHIND)
@pytest.mark.parametrize("epoch", [1, 3, EPOCHS])
def test_a_kill_between_history_and_checkpoint_is_repaired(rest, epoch, whole_runs, tmp_path):
    stop(tmp_path, METHODS["sam"], epoch)
    with (tmp_path / HISTORY).open("a") as file:
        file.write(rest(epoch))
    check_same_end(run(tmp_path, METHODS["sam"]), tmp_path, *whole_runs["sam"])


def test_a_kill_before_the_first_checkpoint_is_repaired(whole_runs, tmp_path):
    append_rows(tmp_path / HISTORY, [{"epoch": 1, "accuracy": 0.0}])
    check_same_end(run(tmp_path, METHODS["sgd"]), tmp_path, *whole_runs["sgd"])


def test_a_kill_in_the_midst_of_writing_a_checkpoint_is_repaired(whole_runs, tmp_path):
    stop(tmp_path, METHODS["sgd"], 2)
    (tmp_path / f".{UNFINISHED}.part").write_bytes((tmp_path / UNFINISHED).read_bytes()[:1000])
    check_same_end(run(tmp_path, METHODS["sgd"]), tmp_path, *whole_runs["sgd"])


def test_finished_training_is_loaded_and_not_done_again(whole_runs):
    whole, folder = whole_runs["rwp"]
    files = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    result = run(folder, METHODS["rwp"], stop_after=1)  # an epoch would raise StopError
    assert differing(state_of(result.model), state_of(whole.model)) == []
    assert (result.epoch, result.history) == (whole.epoch, whole.history)
    assert not result.model.training
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == files


@pytest.mark.parametrize("lines", [0, 1])
@pytest.mark.parametrize("epoch", [2, EPOCHS])
def test_a_history_that_was_deleted_or_cut_is_made_again(lines, epoch, whole_runs, tmp_path):
    stop(tmp_path, METHODS["sam"], epoch)
    rows = (tmp_path / HISTORY).read_bytes().splitlines(keepends=True)
    (tmp_path / HISTORY).write_bytes(b"".join(rows[1 : 1 + lines]))
    check_same_end(run(tmp_path, METHODS["sam"]), tmp_path, *whole_runs["sam"])
    assert read_rows(tmp_path / HISTORY)[:epoch] == [json.loads(row) for row in rows]  # seconds too


def test_the_history_of_a_finished_training_is_in_its_checkpoint(whole_runs, tmp_path):
    whole, folder = whole_runs["rwp"]
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / HISTORY).write_text(json.dumps(whole.history[2]) + "\n")
    result = run(tmp_path, METHODS["rwp"], stop_after=1)
    assert untimed(result.history) == untimed(whole.history)
    assert result.history[2] == whole.history[2]
    assert read_rows(tmp_path / HISTORY) == result.history


@pytest.mark.parametrize("epoch", [2, EPOCHS])
def test_a_training_from_other_initial_weights_is_refused(epoch, tmp_path):
    stop(tmp_path, SGD(), epoch)
    if epoch == EPOCHS:
        run(tmp_path, SGD())
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for init in (1, 2):
        model = conv_net(seed=init, dropout=0.3)
        before = state_of(model)
        with pytest.raises(CheckpointError, match="trained from other initial weights; give another folder"):
            run(tmp_path, SGD(), model=model)
        assert differing(state_of(model), before) == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert run(tmp_path, SGD()).history[-1]["epoch"] == EPOCHS


def test_the_same_call_can_be_made_again_with_the_model_that_it_trained(tmp_path):
    model = conv_net(seed=0, dropout=0.3)
    stop(tmp_path, SGD(), 2, model=model)
    first = run(tmp_path, SGD(), model=model)
    weights = state_of(model)
    again = run(tmp_path, SGD(), model=model, stop_after=1)  # an epoch would raise StopError
    assert differing(state_of(again.model), weights) == []
    assert again.history == first.history


def tied_net(seed):
    with global_seed(seed):
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    net[3].weight = net[1].weight
    return net


def test_tied_weights_stay_tied(tmp_path):
    whole = run(tmp_path / "whole", METHODS["sam"], model=tied_net(0))
    stop(tmp_path / "stopped", METHODS["sam"], 2, model=tied_net(0))
    result = run(tmp_path / "stopped", METHODS["sam"], model=tied_net(0))
    check_same_end(result, tmp_path / "stopped", whole, tmp_path / "whole")
    assert result.model[3].weight is result.model[1].weight


KILLED_EPOCHS = 20


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_process_killed_at_a_random_moment_is_continued(tmp_path):
    whole = run(tmp_path / "whole", METHODS["m-rwp"], epochs=KILLED_EPOCHS)
    folder = tmp_path / "killed"
    script = f"from {__name__} import *; run(Path(sys.argv[1]), METHODS['m-rwp'], epochs={KILLED_EPOCHS})"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", f"import sys; from pathlib import Path; {script}", str(folder)]
    child = subprocess.Popen(command, env=environment)
    try:
        rows = random.randint(1, KILLED_EPOCHS // 3)
        while len(read_rows(folder / HISTORY)) < rows:
            assert child.poll() is None, "the child ended on its own"
            time.sleep(0.001)
        time.sleep(random.uniform(0.0, 0.02))
    finally:
        child.kill()
        child.wait()
    assert child.returncode == -signal.SIGKILL
    assert not (folder / FINISHED).exists()
    result = run(folder, METHODS["m-rwp"], epochs=KILLED_EPOCHS)
    check_same_end(result, folder, whole, tmp_path / "whole")
