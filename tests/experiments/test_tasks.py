"""Tasks from end to end: a spec, training, chips, rows; then the checkpoints on devices, and a recommendation."""

import json
import math

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_diabetes
from support import user_models
from support.command_line import invoke
from support.fixtures.comparison import run_spec
from support.shared_build import build_once
from torch.nn import functional as F

from aimc_robust import Crossbar, Gaussian, evaluate
from aimc_robust.data.loading import load_data
from aimc_robust.data.spec import DataSpec
from aimc_robust.errors import ResultsError
from aimc_robust.experiments.recommend.run import recommend
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.models.networks.mlp import MLP

TABLE = """
name = "diabetes"
train_seeds = [0, 1]
chips = 2
targets = ["digital", "gaussian-0.1", "rram-wan2022"]
task = { kind = "regression" }
data = { name = "csv:diabetes.csv", labels = ["target"] }
model = { name = "mlp", options = { hidden = [16] } }
training = { epochs = 20, batch_size = 32, optimizer = "adam", lr = 0.05 }
methods.sgd = {}
methods.rwp = { sigma = 0.1 }
"""
LABELS = """
name = "labels"
train_seeds = [0]
chips = 2
targets = ["digital", "rram-wan2022", { name = "ascent", noise = "ascent", radius = 0.1 }]
task = { kind = "multilabel" }
data = { name = "user_data:several_labels" }
model = { name = "user_models:TwoInputs" }
training = { epochs = 2, batch_size = 8, early_stopping = { sigma = 0.1 } }
methods.sgd = {}
methods.sam = { rho = 0.1 }
"""
TEXTS = """
name = "texts"
train_seeds = [0]
chips = 2
targets = ["digital", { name = "wan", device = "rram-wan2022", adc = { bits = 8 }, dac = { bits = 8 } }]
task = { kind = "language-modelling" }
data = { name = "user_data:tokens" }
model = { name = "user_models:gpt2" }
training = { epochs = 4, batch_size = 8, optimizer = "adamw", lr = 0.01 }
methods.rwp = { sigma = 0.02 }
diagnostics = { images = 8, sigmas = [0.05] }
landscapes = [{ name = "plane", points = 2 }]
"""


@pytest.fixture(autouse=True)
def _modules_are_importable(monkeypatch):
    monkeypatch.syspath_prepend(user_models.__file__.rpartition("/")[0])


@pytest.fixture(scope="module")
def regression(tmp_path_factory):
    """The folder of a finished comparison on a table; the table and the spec lie beside it."""

    def build(folder):
        table = load_diabetes(as_frame=True, scaled=False).frame
        table.to_csv(folder / "diabetes.csv", index=False)
        (folder / "spec.toml").write_text(TABLE)
        run_spec(folder / "spec.toml", folder / "out")

    return build_once(tmp_path_factory, "regression", build) / "out"


def trained(folder, label, seed=0):
    """A trained network of the comparison, and the data that it was tested on."""
    model = MLP(features=10, classes=1, hidden=[16])
    model.load_state_dict(load_file(folder / "runs" / f"{label}-seed{seed}" / "checkpoint.safetensors"))
    data = load_data(
        DataSpec(name="csv:diabetes.csv", labels=["target"]), data_seed=0, folder=folder.parent, task="regression"
    )
    return model.eval(), data


def test_rows_of_a_regression_have_its_metrics(regression):
    table = ComparisonResults.open(regression).table()
    assert list(table)[7:] == ["rmse", "loss", "n", "mae", "r2"]
    model, data = trained(regression, "rwp")
    with torch.no_grad():
        errors = (model(data.test[0])[:, 0] - data.test[1]).double()
    row = table[(table["model"] == "rwp") & (table["train_seed"] == 0) & (table["target"] == "digital")].iloc[0]
    assert row["n"] == 147
    assert row["rmse"] == pytest.approx(float(errors.square().mean().sqrt()), rel=1e-6)
    assert row["mae"] == pytest.approx(float(errors.abs().mean()), rel=1e-6)
    assert row["loss"] == pytest.approx(float(errors.square().mean()), rel=1e-5)
    spread = (data.test[1] - data.test[1].mean()).double().square().mean()
    assert row["r2"] == pytest.approx(1.0 - float(errors.square().mean() / spread), rel=1e-5)
    assert 30.0 < row["rmse"] < 0.95 * float(spread.sqrt())  # better than the mean of all labels


@pytest.mark.parametrize(
    ("target", "condition"), [("gaussian-0.1", Gaussian(0.1)), ("rram-wan2022", Crossbar("rram-wan2022"))]
)
def test_rows_are_those_of_evaluate(target, condition, regression):
    table = ComparisonResults.open(regression).table()
    model, data = trained(regression, "sgd", seed=1)
    rows = table[(table["model"] == "sgd") & (table["train_seed"] == 1) & (table["target"] == target)]
    found = evaluate(model, data.test, condition, chips=2, task="regression")
    assert found.table["rmse"].tolist() == rows["rmse"].tolist()
    assert rows["rmse"].nunique() == 2


def test_a_summary_is_of_the_primary_metric(regression):
    table = pd.read_csv(regression / "evaluations.csv")
    summary = pd.read_csv(regression / "summary.csv")
    means = table.groupby(["model", "target"])["rmse"].mean()
    for row in summary.to_dict("records"):
        assert row["mean"] == pytest.approx(means[row["model"], row["target"]])
        assert (
            row["worst"] == table[(table["model"] == row["model"]) & (table["target"] == row["target"])]["rmse"].max()
        )


def test_a_results_folder_of_another_task_is_refused(regression):
    spec = load_spec(regression.parent / "spec.toml", overrides=["task.metric=r2"])
    with pytest.raises(ResultsError, match=r"task\.metric"):
        ComparisonResults(regression, spec).check()


def test_several_labels_of_two_inputs(tmp_path):
    (tmp_path / "spec.toml").write_text(LABELS)
    outcome = run_spec(tmp_path / "spec.toml", tmp_path / "out")
    assert outcome.failed == {}
    table = outcome.results.table()
    assert list(table)[7:] == ["f1_macro", "loss", "n", "f1_micro", "mean_average_precision"]
    assert len(table) == 2 * (1 + 2 + 2)
    assert table["f1_macro"].between(0.0, 100.0).all()
    history = outcome.results.history(outcome.results.trials[0])
    assert {"f1_macro", "perturbed_f1_macro"} <= history[-1].keys()


@pytest.mark.slow
def test_perplexity_of_a_language_model_of_transformers(tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "spec.toml").write_text(TEXTS)
    outcome = run_spec(tmp_path / "spec.toml", tmp_path / "out")
    results = outcome.results
    table = results.table()
    assert list(table)[7:] == ["perplexity", "loss", "n"]
    assert (table["n"] == 48 * 7).all()  # the first token of a text is not predicted
    assert (table["perplexity"] - table["loss"].map(math.exp)).abs().max() < 1e-6
    assert table["perplexity"].between(1.0, 8.0).all()
    model = user_models.gpt2()
    model.load_state_dict(load_file(tmp_path / "out" / "runs" / "rwp-seed0" / "checkpoint.safetensors"))
    spec = DataSpec(name="user_data:tokens")
    tokens = load_data(spec, data_seed=0, folder=tmp_path, task="language-modelling").test[1]
    with torch.no_grad():
        scores = model.eval()(input_ids=tokens).logits[:, :-1]
    expected = float(F.cross_entropy(scores.flatten(0, 1), tokens[:, 1:].flatten()))
    assert table["loss"][0] == pytest.approx(expected, rel=1e-5)
    row = results.history(results.trials[0])[-1]
    assert {"perplexity", "test_perplexity@0.05"} <= row.keys()
    points = (tmp_path / "out" / "runs" / "rwp-seed0" / "landscape.jsonl").read_text().splitlines()
    assert [set(json.loads(line)) for line in points] == [{"landscape", "point", "perplexity", "loss", "n"}] * 4


def call_evaluate(folder, *arguments):
    """Run the command `evaluate`: the table of its rows."""
    done = invoke("evaluate", *arguments, "--chips", 2, "--jobs", 1, "--out", folder / "evaluated", cwd=folder)
    assert done.returncode == 0, done.stderr
    return pd.read_csv(folder / "evaluated" / "evaluations.csv")


def test_the_command_evaluates_the_checkpoints_as_the_comparison_did(regression):
    weights = [regression / "runs" / f"sgd-seed{seed}" / "checkpoint.safetensors" for seed in (0, 1)]
    options = ["--model", "mlp", "--option", "hidden=[16]", "--data", "csv:diabetes.csv", "--task", "regression"]
    options += ["--set", "data.labels=['target']", "--device", "rram-wan2022", "--device", "gaussian-0.1"]
    found = call_evaluate(regression.parent, *weights, *options)
    compared = pd.read_csv(regression / "evaluations.csv")
    compared = compared[compared["model"] == "sgd"]
    keys = ["train_seed", "target", "chip"]
    pd.testing.assert_frame_equal(
        found.sort_values(keys).reset_index(drop=True), compared.sort_values(keys).reset_index(drop=True)
    )
    notes = json.loads((regression.parent / "evaluated" / "notes.json").read_text())
    assert "bmi" in notes[0]
    assert "root mean square error" in (regression.parent / "evaluated" / "report.md").read_text()


def test_the_command_scores_a_whole_model_on_batches_as_they_are(tmp_path):
    save_file(user_models.Detector().state_dict(), tmp_path / "detector.safetensors")
    options = ["--model", "user_models:Detector", "--data", "user_data:boxes", "--task", "model-score"]
    options += ["--set", "task.score=user_models:mean_box", "--set", "task.metric=box", "--set", "task.better=lower"]
    table = call_evaluate(tmp_path, "detector.safetensors", *options, "--device", "gaussian-0.1")
    assert list(table)[7:] == ["box", "loss", "n", "boxes"]
    assert table["loss"].isna().all()
    assert (table["n"] == 6).all()
    assert table["box"].nunique() == 3


def test_a_recommendation_for_a_regression(regression, tmp_path):
    spec = load_spec(regression.parent / "spec.toml", overrides=["task.metric=mae"])
    weights = regression / "runs" / "sgd-seed0" / "checkpoint.safetensors"
    found = recommend(spec, "rram-milo2021", tmp_path, data_folder=regression.parent, weights=weights, sweep=False)
    assert 0.01 < found.measurement["sigma"] < 0.5
    assert found.measurement["question"]["task"] == {"kind": "regression", "metric": "mae"}
    digital = [value for key, value in found.measurement.items() if key.startswith("digital")]
    assert 30.0 < digital[0] < 80.0


def test_commands_refuse_what_does_not_fit(regression):
    weights = regression / "runs" / "sgd-seed0" / "checkpoint.safetensors"
    options = ["--data", "csv:diabetes.csv", "--device", "rram-wan2022", "--model", "mlp"]
    cases = [
        (["--task", "regresion"], "'regression'"),
        (["--set", "task=3"], "task.KEY=VALUE"),
        (["--set", "data=3"], "data.KEY=VALUE"),
        (["--set", "task.metric=mae"], "'metric'"),
        ([], "task regression"),
        (["--task", "regression", "--set", "data.labls=['a']"], "'labels'"),
    ]
    for arguments, words in cases:
        done = invoke("evaluate", weights, *options, *arguments, "--out", "none", cwd=regression.parent)
        assert done.returncode, arguments
        assert words in " ".join(done.stderr.split()), arguments
    done = invoke(
        "recommend", "--spec", "spec.toml", "--device", "rram-wan2022", "--task", "none", cwd=regression.parent
    )
    assert "'none'" in done.stderr
    assert not (regression.parent / "none").exists()
