"""`recommend --keep-digital`: chosen on validation data, confirmed on other chips, stored, and told on the page."""

import json
import tomllib

import pytest
from support.command_line import invoke

from aimc_robust import Crossbar, keep_digital
from aimc_robust.data.batches import split_batches
from aimc_robust.data.loading import load_data
from aimc_robust.experiments.recommend import digital_layers
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.hardware import program_chips
from aimc_robust.models.checkpoint import read_checkpoint
from aimc_robust.models.registry import build_model

DEVICE = "rram-wan2022"


@pytest.fixture(scope="module")
def given(finished_comparison, tiny, tmp_path_factory):
    """Arguments of a recommendation for trained weights, and the spec and the weights."""
    spec = tmp_path_factory.mktemp("digital") / "spec.toml"
    spec.write_text(tiny)
    weights = finished_comparison / "runs" / "sgd-seed0" / "checkpoint.safetensors"
    return ("recommend", "--spec", spec, "--device", DEVICE, "--weights", weights, "--no-sweep", "--jobs", 1), weights


def test_the_choice_is_that_of_keep_digital_on_validation_data(given, tmp_path, monkeypatch):
    arguments, weights = given
    done = invoke(*arguments, "--out", tmp_path / "out", "--keep-digital", 60)
    assert (done.returncode, done.stderr) == (0, "")
    stored = json.loads((tmp_path / "out" / digital_layers.KEPT).read_text())["answer"]
    spec = load_spec(arguments[2])
    data = load_data(spec.data, data_seed=spec.data_seed, folder=tmp_path)
    model = build_model(spec.model, data, seed=0)
    model.load_state_dict(read_checkpoint(weights)[0])
    expected = keep_digital(
        model.eval(),
        split_batches(data.validation, 500),
        Crossbar(DEVICE),
        required=60.0,
        chips=digital_layers.CHIPS,
        jobs=1,
    )
    assert stored == json.loads(json.dumps(expected.to_json()))
    assert json.loads((tmp_path / "out" / "advice.json").read_text())["digital_layers"] == stored
    assert stored["sentence"] in " ".join(done.stdout.split())
    page = (tmp_path / "out" / "advice.md").read_text()
    assert stored["sentence"] in page
    assert "Layers to keep digital" in page
    for row in stored["curve"]:
        assert f"{row['mean']:.2f}" in page
    assert not {"nan", "None"} & set(page.split())

    monkeypatch.setattr(digital_layers, "keep_digital", lambda *_, **__: pytest.fail("measured again"))
    assert invoke(*arguments, "--out", tmp_path / "out", "--keep-digital", 60).returncode == 0
    assert (tmp_path / "out" / "advice.md").read_text() == page


@pytest.mark.slow
def test_measured_in_bf16_it_is_another_question_and_said_so(given, tmp_path):
    arguments, _ = given
    arguments = (*arguments, "--out", tmp_path / "out", "--keep-digital", 60)
    mixed = ("--forward-precision", "bf16-mixed")
    refused = invoke(*arguments, *mixed, "--set", "adc.bits=6")
    assert refused.returncode == 2
    assert refused.stderr.startswith(
        "error: forward_precision bf16-mixed is for crossbars whose weights alone have errors"
    )
    assert not (tmp_path / "out").exists()
    done = invoke(*arguments, *mixed)
    assert (done.returncode, done.stderr) == (0, "")
    assert "validation examples, forward passes in bf16-mixed)" in (tmp_path / "out" / "advice.md").read_text()
    measured, kept = (
        json.loads((tmp_path / "out" / name).read_text()) for name in ("measurement.json", digital_layers.KEPT)
    )
    assert measured["forward_precision"] == kept["question"]["forward_precision"] == "bf16-mixed"
    exact = invoke(*arguments)
    assert exact.returncode == 2
    assert "another question" in exact.stderr


def test_chips_of_a_set_are_programmed_several_at_once(given, tmp_path, monkeypatch):
    arguments, _ = given
    written, at_once = program_chips.weights_on_chips, []

    def weights_on_chips(prepared, hardware, chips):
        at_once.append(len(chips))
        return written(prepared, hardware, chips)

    monkeypatch.setattr(program_chips, "weights_on_chips", weights_on_chips)
    options = ("--keep-digital", 60, "--accelerator", "cpu")
    assert invoke(*arguments, *options, "--out", tmp_path / "out").returncode == 0
    kept = json.loads((tmp_path / "out" / digital_layers.KEPT).read_text())["answer"]
    sets = [row for row in kept["curve"] if row["weights_percent"] < 100]
    assert at_once == [20] * (1 + len(sets) + 1)  # the device, each set, the confirmation


def test_layers_that_are_digital_by_choice_are_named_and_stay_in_the_proposal(given, tmp_path):
    arguments, _ = given
    done = invoke(*arguments, "--out", tmp_path / "out", "--keep-digital", 65, "--layer", "features.0=digital")
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "out" / digital_layers.KEPT).read_text())["answer"]
    assert 0 < len(kept["layers"]) < len(kept["ranking"])
    assert json.loads((tmp_path / "out" / "advice.json").read_text())["digital_by_choice"] == ["features.0"]
    assert "digital by your choice: features.0" in done.stdout
    page = (tmp_path / "out" / "advice.md").read_text()
    assert "Digital by your choice, in every set below: features.0." in page
    (line,) = (line for line in page.splitlines() if line.strip().startswith("layers = "))
    assert tomllib.loads(line.strip())["layers"] == dict.fromkeys(["features.0", *kept["layers"]], "digital")


def test_without_the_option_there_is_no_section(given, tmp_path):
    arguments, _ = given
    assert invoke(*arguments, "--out", tmp_path / "out").returncode == 0
    assert not (tmp_path / "out" / digital_layers.KEPT).exists()
    assert "keep digital" not in (tmp_path / "out" / "advice.md").read_text()
    assert json.loads((tmp_path / "out" / "advice.json").read_text())["digital_layers"] is None


@pytest.mark.parametrize(("required", "words"), [("100", "all layers digital"), ("150", "within 0 and 100")])
def test_a_wish_that_cannot_be_is_one_line(given, tmp_path, required, words):
    arguments, _ = given
    done = invoke(*arguments, "--out", tmp_path / "out", "--keep-digital", required)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
