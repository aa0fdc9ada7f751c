"""Trained models that comparisons share: trained once, known by their content, whole in each comparison's folder."""

import os

import pytest
from support.measure import measure

from aimc_robust.errors import CheckpointError, InputError
from aimc_robust.experiments.callbacks.progress import ExperimentProgress
from aimc_robust.experiments.compare import compare
from aimc_robust.experiments.execution import trial_runner
from aimc_robust.experiments.execution.engines.local import LocalEngine
from aimc_robust.experiments.execution.engines.serial import SerialEngine
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.models.checkpoint import read_checkpoint, write_checkpoint
from aimc_robust.models.registry import build_model

ONE = """
name = "one"
train_seeds = [0]
chips = 2
targets = ["digital", "gaussian-0.2"]
[data]
name = "digits"
test_share = 0.1
train_images = 200
[model]
name = "small-cnn"
options = { channels = 4, stages = 2 }
[training]
epochs = 2
batch_size = 32
early_stopping = { sigma = [0.0, 0.2], draws = 1 }
[methods.sgd]
[methods.rwp]
sigma = 0.1
"""
OTHER = ONE.replace('name = "one"', 'name = "other"').replace("[methods.rwp]", '[methods.noisy]\nkind = "rwp"')
OTHER = OTHER.replace('"gaussian-0.2"', '"gaussian-0.1"') + '[methods.more]\nkind = "rwp"\nsigma = 0.3\n'


class Trainings(ExperimentProgress):
    """Counts epochs by label."""

    def __init__(self):
        self.epochs = {}

    def epoch(self, trial, row):
        self.epochs[trial.model] = self.epochs.get(trial.model, 0) + 1


def run(text, tmp_path, out, **more):
    path = tmp_path / f"{out}.toml"
    path.write_text(text, encoding="utf-8")
    seen = Trainings()
    outcome = compare(load_spec(path), tmp_path / out, spec_text=text, data_folder=tmp_path, progress=seen, **more)
    return outcome, seen.epochs


@pytest.fixture
def shared(tmp_path):
    return {"model_cache": tmp_path / "models"}


def test_a_recipe_is_trained_once_for_all_comparisons_that_need_it(tmp_path, shared):
    first, trained = run(ONE, tmp_path, "one", **shared)
    assert trained == {"sgd": 2, "rwp": 2}
    second, trained = run(OTHER, tmp_path, "other", **shared)
    assert trained == {"more": 2}
    for ours, theirs in (("sgd", "sgd"), ("rwp", "noisy")):
        names = ("checkpoint.safetensors", "checkpoint-0.2.safetensors", "history.jsonl")
        for name in names:
            here = first.results.folder / "runs" / f"{ours}-seed0" / name
            there = second.results.folder / "runs" / f"{theirs}-seed0" / name
            assert here.read_bytes() == there.read_bytes()
            assert os.path.samefile(here, there) == name.endswith(".safetensors")  # no second copy on the disk
    assert sorted(entry.name for entry in shared["model_cache"].iterdir()) == sorted(
        {second.results.spec.recipe(label, 0) for label in second.results.spec.labels}
    )


def test_shared_and_private_trainings_leave_the_same_rows(tmp_path, shared):
    with_models, _ = run(ONE, tmp_path, "shared", **shared)
    without, _ = run(ONE, tmp_path, "private")
    files = [outcome.results.folder / "evaluations.csv" for outcome in (with_models, without)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_results_stay_whole_when_the_shared_folder_goes(tmp_path, shared):
    outcome, _ = run(ONE, tmp_path, "one", **shared)
    rows = (outcome.results.folder / "evaluations.csv").read_bytes()
    for path in sorted(shared["model_cache"].rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (outcome.results.run_folder(outcome.results.trials[0]) / "evaluations.jsonl").unlink()
    again, trained = run(ONE, tmp_path, "one", **shared)
    assert trained == {}
    assert (again.results.folder / "evaluations.csv").read_bytes() == rows


def test_other_images_under_the_same_name_are_refused(tmp_path, shared, monkeypatch):
    run(ONE, tmp_path, "one", **shared)
    real = trial_runner.load_data

    def changed(*args, **more):
        data = real(*args, **more)
        object.__setattr__(data, "id", "another")
        return data

    monkeypatch.setattr(trial_runner, "load_data", changed)
    with pytest.raises(CheckpointError, match="recipe"):
        run(OTHER, tmp_path, "other", **shared)


def test_a_target_is_evaluated_at_the_epoch_that_suits_it(tmp_path):
    outcome, _ = run(ONE, tmp_path, "one")
    store = outcome.results
    trial = store.trials[1]
    digital, noisy = store.targets
    config = store.spec.config()
    assert (digital.selection(config), noisy.selection(config)) == (0, 1)
    best = max(store.history(trial), key=lambda row: row["perturbed_accuracy_0.2"])
    clean = max(store.history(trial), key=lambda row: row["accuracy"])
    notes = [read_checkpoint(store.run_folder(trial) / f"checkpoint{end}.safetensors")[1] for end in ("", "-0.2")]
    assert [note["epoch"] for note in notes] == [clean["epoch"], best["epoch"]]


def test_engines_that_run_several_trials_at_a_time_begin_with_the_costliest(tmp_path):
    class Noting(SerialEngine):
        def run(self, work, trials, progress):
            order.extend(str(trial) for trial in trials)
            return super().run(work, trials, progress)

    class Several(LocalEngine):
        def run(self, work, trials, progress):
            order.extend(str(trial) for trial in trials)
            return dict.fromkeys(trials)

    text = ONE.replace("[methods.sgd]", "[methods.sgd]\n[methods.sam]\nrho = 0.1").replace(
        "train_seeds = [0]", "train_seeds = [0, 1]"
    )
    order = []
    run(text, tmp_path, "several", engine=Several(2))
    assert order == ["sam-seed0", "sam-seed1", "sgd-seed0", "rwp-seed0", "sgd-seed1", "rwp-seed1"]
    order = []
    run(text.replace("epochs = 2", "epochs = 1"), tmp_path, "one", engine=Noting())
    assert order == ["sgd-seed0", "sam-seed0", "rwp-seed0", "sgd-seed1", "sam-seed1", "rwp-seed1"]


def test_a_part_runs_its_share_of_the_trials(tmp_path):
    outcome, trained = run(ONE, tmp_path, "one", part=(1, 2))
    assert trained == {"sgd": 2}
    assert {trial.model for trial in outcome.results.trials if outcome.results.is_evaluated(trial)} == {"sgd"}
    outcome, trained = run(ONE, tmp_path, "one", part=(2, 2))
    assert trained == {"rwp": 2}
    assert all(outcome.results.is_evaluated(trial) for trial in outcome.results.trials)
    with pytest.raises(InputError, match="got 3/2"):
        run(ONE, tmp_path, "other", part=(3, 2))


def test_rows_are_of_the_selection_that_suits_the_target_and_no_other(tmp_path):
    store = run(ONE, tmp_path, "one")[0].results
    folder = store.run_folder(store.trials[0])
    before = store.evaluations(store.trials[0])
    tensors, notes = read_checkpoint(folder / "checkpoint-0.2.safetensors")
    tensors["classifier.weight"] = tensors["classifier.weight"].flip(0).contiguous()  # classes in another order
    write_checkpoint(folder / "checkpoint-0.2.safetensors", tensors, notes)
    (folder / "evaluations.jsonl").unlink()
    run(ONE, tmp_path, "one")
    after = store.evaluations(store.trials[0])
    changed = {new["target"] for old, new in zip(before, after, strict=True) if old["loss"] != new["loss"]}
    assert changed == {"gaussian-0.2"}


def test_a_target_on_training_images_is_measured_on_all_of_them(tmp_path):
    text = ONE.replace('targets = ["digital",', 'targets = ["digital", { name = "train", split = "training" },')
    store = run(text, tmp_path, "one")[0].results
    digital, train = (store.evaluations(store.trials[0])[i] for i in (0, 1))
    data = trial_runner.load_data(store.spec.data, data_seed=0, folder=tmp_path)
    assert (digital["n"], train["n"]) == (len(data.test[1]), len(data.training[1]))
    model = build_model(store.spec.model, data, seed=0)
    model.load_state_dict(read_checkpoint(store.run_folder(store.trials[0]) / "checkpoint.safetensors")[0])
    assert train["accuracy"] == pytest.approx(measure(model.eval(), data.batches("training", 500)).value)
