"""TensorBoard's files hold the rows: every number once, however often the work was interrupted."""

import json
import sys

import pytest

from aimc_robust.errors import MissingDependencyError
from aimc_robust.experiments.callbacks.tensorboard import FOLDER, TensorBoard
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.loading import load_spec

SGD, MRWP = Trial("sgd", 0), Trial("m-rwp", 0)


def row(epoch, **more):
    return {
        "epoch": epoch,
        "updates": 10 * epoch,
        "lr": 0.1 / epoch,
        "strength": None,
        "accuracy": 50.0 + epoch,
        **more,
    }


@pytest.fixture
def store(write_spec, tmp_path):
    return ComparisonResults(tmp_path / "out", load_spec(write_spec()))


def written(store, trial, *rows, folder=None):
    """Append rows to the history as a training does."""
    folder = folder or store.run_folder(trial)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "history.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def events(store, trial):
    """Tag -> [(step, value)] as TensorBoard itself reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(store.folder / FOLDER / str(trial)), size_guidance={"scalars": 0})
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def steps(store, trial, tag="history/accuracy"):
    return [step for step, _ in events(store, trial)[tag]]


def train(board, store, trial, *epochs):
    for epoch in epochs:
        written(store, trial, row(epoch))
        board.epoch(trial, row(epoch))


def test_every_number_of_the_rows_and_the_mean_accuracies_are_in_the_files(store):
    board = TensorBoard(store)
    train(board, store, SGD, 1, 2)
    board.finished(SGD, {"digital": 91.5, "gaussian-0.2": 60.25})
    found = events(store, SGD)
    assert set(found) == {
        *(f"history/{key}" for key in ("updates", "lr", "accuracy")),
        "accuracy/digital",
        "accuracy/gaussian-0.2",
    }
    assert found["history/lr"] == [(1, pytest.approx(0.1)), (2, pytest.approx(0.05))]
    assert found["history/updates"] == [(1, 10.0), (2, 20.0)]
    assert found["accuracy/gaussian-0.2"] == [(2, 60.25)]


def test_models_that_train_at_the_same_time_have_files_of_their_own(store):
    board = TensorBoard(store)
    for epoch in (1, 2, 3):
        for trial in (SGD, MRWP):
            train(board, store, trial, epoch)
    assert steps(store, SGD) == steps(store, MRWP) == [1, 2, 3]


def test_epochs_are_there_before_the_training_ends(store):
    board = TensorBoard(store)
    train(board, store, SGD, 1)
    assert steps(store, SGD) == [1]


def test_a_resumed_training_shows_each_epoch_once(store):
    train(TensorBoard(store), store, SGD, 1, 2)
    written(store, SGD, row(3))  # a kill came before TensorBoard heard of it
    board = TensorBoard(store)
    board.training(SGD, done=3)
    train(board, store, SGD, 4)
    assert steps(store, SGD) == [1, 2, 3, 4]


def test_an_epoch_that_is_made_again_shows_once(store):
    train(TensorBoard(store), store, SGD, 1, 2)
    path = store.run_folder(SGD) / "history.jsonl"
    path.write_text(json.dumps(row(1)) + "\n")  # the row was ahead of its checkpoint
    train(TensorBoard(store), store, SGD, 2, 3)
    assert steps(store, SGD) == [1, 2, 3]


def test_a_training_among_shared_models_goes_on_from_the_history_there(store, tmp_path):
    models = tmp_path / "models"
    shared = models / store.spec.recipe("sgd", 0)
    written(store, SGD, row(1), row(2), row(3), folder=shared)
    TensorBoard(store, model_cache=models).epoch(SGD, row(3))
    assert steps(store, SGD) == [1, 2, 3]


def test_results_from_before_are_written_when_they_are_asked_for_and_only_once(store):
    written(store, SGD, row(1), row(2))
    TensorBoard(store).finished(SGD, {"digital": 91.5})
    assert steps(store, SGD) == [1, 2]
    files = {path: path.stat().st_mtime_ns for path in (store.folder / FOLDER).rglob("*") if path.is_file()}
    TensorBoard(store).finished(SGD, {"digital": 91.5})
    assert {path: path.stat().st_mtime_ns for path in (store.folder / FOLDER).rglob("*") if path.is_file()} == files
    TensorBoard(store).finished(SGD, {"digital": 91.5, "gaussian-0.2": 60.0})
    assert steps(store, SGD) == [1, 2]
    assert steps(store, SGD, "accuracy/digital") == steps(store, SGD, "accuracy/gaussian-0.2") == [2]


def test_a_failed_model_keeps_its_epochs_and_a_new_try_starts_afresh(store):
    board = TensorBoard(store)
    train(board, store, SGD, 1, 2)
    board.failed(SGD, "the loss is not finite")
    assert steps(store, SGD) == [1, 2]
    (store.run_folder(SGD) / "history.jsonl").unlink()
    train(board, store, SGD, 1)
    assert steps(store, SGD) == [1]


def test_without_the_package_it_says_how_to_install_it_before_any_training(store, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("tensorboard", "torch.utils.tensorboard"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r"'aimc-robust\[tensorboard\]'"):
        TensorBoard(store)
    assert not store.folder.exists()


@pytest.mark.slow
def test_a_whole_comparison_shows_what_its_rows_say(run, write_spec, tmp_path):
    path = write_spec()
    store = ComparisonResults(tmp_path / "out", load_spec(path))
    run(path, progress=TensorBoard(store))
    assert len(list((tmp_path / "out" / FOLDER).iterdir())) == len(store.trials) == 4
    for trial in store.trials:
        found, history = events(store, trial), store.history(trial)
        for key in ("train_loss", "accuracy", "seconds", "distance"):
            assert found[f"history/{key}"] == [(r["epoch"], pytest.approx(r[key], rel=1e-6)) for r in history]
        accuracies = [r["accuracy"] for r in store.evaluations(trial) if r["target"] == "rram-wan2022"]
        assert found["accuracy/rram-wan2022"] == [(3, pytest.approx(sum(accuracies) / 3, rel=1e-6))]
