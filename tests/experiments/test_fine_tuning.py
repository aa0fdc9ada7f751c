"""docs/how-to/fine-tune-for-hardware.md, from trained weights to the report: its spec, with fewer epochs and chips."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from support.command_line import invoke
from support.fixtures.report import figures_as_stubs

from aimc_robust.data.loading import load_data
from aimc_robust.data.spec import DataSpec
from aimc_robust.models.checkpoint import read_checkpoint, write_checkpoint
from aimc_robust.models.registry import ModelSpec, build_model
from aimc_robust.training.methods.range_state import learned_ranges

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "fine-tune-for-hardware.md"


def compare(folder, *arguments):
    options = ["train_seeds=[0]", "chips=2", "training.epochs=1", "model.options={channels = 4, stages = 2}"]
    options += ["data={name = 'digits', train_images = 300}"]
    settings = [word for option in options for word in ("--set", option)]
    with figures_as_stubs():
        return invoke("compare", folder / "spec.toml", "--out", folder / "out", *settings, *arguments)


def write_weights(folder, *, seed=0):
    data = load_data(DataSpec(name="digits"), data_seed=0, folder=folder, task=None)
    model = build_model(ModelSpec(name="small-cnn", options={"channels": 4, "stages": 2}), data, seed=seed)
    write_checkpoint(folder / "pretrained.safetensors", model.state_dict(), {})


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flow")
    spec = re.search(r"<!-- example: flow spec -->\n```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (folder / "spec.toml").write_text(spec[1], encoding="utf-8")
    write_weights(folder)
    done = compare(folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_spec_runs_from_the_weights_to_the_report(flow):
    rows = pd.read_csv(flow / "out" / "evaluations.csv")
    assert set(rows["model"]) == {"sgd", "array-aware"}
    assert (rows["time_s"] == 3.15e7).all()
    run = flow / "out" / "runs" / "array-aware-seed0"
    learned = learned_ranges(run / "checkpoint.safetensors").to_json()
    used = json.loads((run / "ranges.json").read_text())
    assert list(used.values()) == [learned, learned]  # with and without compensation
    assert (flow / "out" / "report.html").exists()


def test_training_starts_from_the_weights(flow):
    """One epoch with this learning rate moves them by less than they are apart from any other start."""
    start, _ = read_checkpoint(flow / "pretrained.safetensors")
    trained, _ = read_checkpoint(flow / "out" / "runs" / "sgd-seed0" / "checkpoint.safetensors")
    first = next(name for name in sorted(start) if start[name].ndim == 4)
    assert torch.corrcoef(torch.stack([start[first].flatten(), trained[first].flatten()]))[0, 1] > 0.8


def test_weights_that_are_missing_are_told_before_training(flow):
    done = compare(flow, "--set", "model.weights='none.safetensors'", "--out", flow / "other")
    assert done.returncode == 2
    assert "none.safetensors" in done.stderr


def test_other_weights_in_the_file_are_another_training(flow):
    write_weights(flow, seed=1)
    (flow / "out" / "runs" / "sgd-seed0" / "evaluations.jsonl").unlink()
    done = compare(flow)
    assert done.returncode == 2
    assert "the file pretrained.safetensors" in done.stderr.replace("\n", " ")
