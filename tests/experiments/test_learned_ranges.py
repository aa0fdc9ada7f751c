"""Converter ranges that a comparison learns: kept in its checkpoints, used where the converters fit."""

import json

import pandas as pd
import pytest
from support.command_line import invoke
from support.fixtures.report import figures_as_stubs

from aimc_robust.training.methods.range_state import learned_ranges

CONVERTERS = "rows = 64, dac = { bits = 4 }, adc = { bits = 4 }"
PLACED = 'layers = { "features.0" = "rram-milo2021", "features.4" = "digital" }'
SPEC = f"""
name = "learned"
data = {{ name = "digits" }}
model = {{ name = "small-cnn", options = {{ channels = 4, stages = 2 }} }}
training = {{ epochs = 2, lr = 0.1, early_stopping = {{ sigma = [0.0, 0.3], draws = 1 }} }}
train_seeds = [0]
chips = 2
targets = [
    "digital",
    {{ name = "same", device = "pcm-nandakumar2019", {CONVERTERS}, selected_at = 0.0 }},
    {{ name = "later", device = "pcm-nandakumar2019", {CONVERTERS}, selected_at = 0.3, time_s = 3600.0 }},
    {{ name = "other-converters", device = "pcm-nandakumar2019", rows = 64, dac = {{ bits = 6 }}, selected_at = 0.0 }},
    {{ name = "placed", device = "pcm-nandakumar2019", {CONVERTERS}, selected_at = 0.0, {PLACED} }},
]
[methods.sgd]
[methods.array-aware]
crossbar = {{ device = "pcm-nandakumar2019", {CONVERTERS} }}
ranges = {{ init_batches = 10, decay = 0.01 }}
"""


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned")
    (folder / "spec.toml").write_text(SPEC.replace('"digital"', '{ name = "digital", selected_at = 0.0 }', 1))
    with figures_as_stubs():
        done = invoke("compare", folder / "spec.toml", "--out", folder / "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "out"


def stored_ranges(folder):
    return json.loads(next(folder.glob("runs/array-aware*/ranges.json")).read_text())


@pytest.mark.slow
def test_ranges_are_those_of_the_selected_epoch_where_the_converters_fit(compared):
    run = compared / "runs" / "array-aware-seed0"
    ranges = stored_ranges(compared)
    assert ranges["same"] == learned_ranges(run / "checkpoint.safetensors").to_json()
    assert ranges["later"] == learned_ranges(run / "checkpoint-0.3.safetensors").to_json()
    calibrated, same = ranges["other-converters"]["layers"], ranges["same"]["layers"]
    assert calibrated.keys() == same.keys()
    assert all(calibrated[name]["inputs"] != same[name]["inputs"] for name in calibrated)


def test_a_placement_gets_the_learned_ranges_that_its_converters_use_and_the_report_shows_them(compared):
    """One layer has no ADC there, one is digital; the ranges of the other method's model are calibrated."""
    learned, placed = (stored_ranges(compared)[name]["layers"] for name in ("same", "placed"))
    assert all(learned[name]["outputs"] for name in ("features.0", "features.4"))
    assert placed == {
        "features.0": learned["features.0"] | {"outputs": []},
        "classifier": learned["classifier"],
    }
    other = json.loads(next(compared.glob("runs/sgd*/ranges.json")).read_text())["placed"]["layers"]
    assert other.keys() == placed.keys()
    assert all(len(other[name]["outputs"]) == len(placed[name]["outputs"]) for name in placed)
    page = (compared / "report.md").read_text()
    assert all(f"0 to {ranges['classifier']['inputs'][1]:.3g}" in page for ranges in (other, placed))


def test_the_report_tells_learned_ranges_and_the_hardware_that_was_trained_for(compared):
    page = (compared / "report.md").read_text()
    assert "Converter ranges, learned in training, or calibrated where" in page
    assert "Converter ranges, calibrated on training data" in page  # those of the other method's model
    assert "crossbar pcm-nandakumar2019 (64 rows; 4-bit DAC; 4-bit ADC)" in page
    assert "ranges learned (init_batches 10, decay 0.01)" in page
    assert "{'" not in page


def test_the_command_evaluates_the_checkpoint_as_the_comparison_did(compared, tmp_path):
    weights = compared / "runs" / "array-aware-seed0" / "checkpoint.safetensors"
    model = ["--model", "small-cnn", "--option", "channels=4", "--option", "stages=2", "--data", "digits"]
    device = f'{{ name = "same", device = "pcm-nandakumar2019", {CONVERTERS} }}'
    options = ["--device", device, "--chips", 2, "--jobs", 1, "--out", tmp_path / "out"]
    done = invoke("evaluate", weights, *model, *options)
    assert done.returncode == 0, done.stderr
    assert stored_ranges(tmp_path / "out")["same"] == stored_ranges(compared)["same"]
    found, expected = (pd.read_csv(folder / "evaluations.csv") for folder in (tmp_path / "out", compared))
    learned = (expected["model"] == "array-aware") & expected["target"].isin(["digital", "same"])
    expected = expected[learned].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected)
    notes = json.loads((tmp_path / "out" / "notes.json").read_text())
    assert any("learned converter ranges" in note for note in notes)
