"""A trial that wants more memory than there is: recorded with its reason, and the others go on."""

import pytest
from support import user_models

from aimc_robust.experiments.callbacks.progress import ExperimentProgress
from aimc_robust.experiments.compare import compare
from aimc_robust.experiments.execution.engines.local import LocalEngine
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.report.write import write_report

SPEC = """
name = "memory"
train_seeds = [0]
chips = 1
targets = ["digital"]
[data]
name = "digits"
test_share = 0.1
[model]
name = "user_models:tiny"
[training]
epochs = 1
[methods.hungry]
kind = "sgd"
model = { name = "user_models:Hungry" }
[methods.sgd]
"""


@pytest.mark.parametrize("network", ["Hungry", "HungryWhenBuilt"])
@pytest.mark.parametrize(
    "engine", [None, pytest.param(LocalEngine(1, threads=1), marks=pytest.mark.slow)], ids=["serial", "jobs"]
)
def test_want_of_memory_is_one_trials_failure(tmp_path, monkeypatch, engine, network):
    """In training, and in the dry run before it."""
    folder = user_models.__file__.rpartition("/")[0]
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", folder)
    path = tmp_path / "spec.toml"
    path.write_text(SPEC.replace("Hungry", network), encoding="utf-8")
    options = {"data_folder": tmp_path, "progress": ExperimentProgress(), "engine": engine}
    outcome = compare(load_spec(path), tmp_path / "out", spec_text=SPEC, **options)
    ((trial, reason),) = outcome.failed.items()
    assert trial.model == "hungry"
    assert reason.startswith("out of memory (")
    assert reason.endswith("use a smaller batch or network, or fewer jobs.")
    assert list(outcome.results.table()["model"]) == ["sgd"]
    assert "out of memory" in write_report(tmp_path / "out").read_text(encoding="utf-8")
    assert compare(load_spec(path), tmp_path / "out", spec_text=SPEC, **options).failed == {
        trial: reason
    }  # not tried again
