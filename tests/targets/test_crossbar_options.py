"""Targets on crossbars with times, converters, compensation and backends: from a spec's table to rows and report."""

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
from support import user_models
from support.fixtures.comparison import run_spec
from support.fixtures.report import figures_as_stubs
from support.methods import build_method

from aimc_robust import ADC, DAC, BitSliced, ConverterRanges, Crossbar, Deployment, Periphery, calibrate, evaluate
from aimc_robust.data.batches import split_batches
from aimc_robust.data.loading import load_data
from aimc_robust.errors import InputError, MissingDependencyError, UnknownNameError
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.models.checkpoint import read_checkpoint
from aimc_robust.models.registry import build_model
from aimc_robust.report.device_section import describe_target
from aimc_robust.report.write import write_report
from aimc_robust.targets.build import build_target, build_targets
from aimc_robust.targets.target import time_label

CONVERTERS = """
targets = [
  "digital",
  { name = "eight-bit", device = "rram-milo2021", rows = 16, dac = { bits = 8 }, adc = { bits = 8 } },
  { device = "pcm-nandakumar2019", time_s = 86400.0, read_noise = false, compensation = ["drift", "batchnorm"] },
]
"""


def test_a_table_becomes_converters_mapping_and_time():
    target = build_target(
        {
            "device": "sonos-agrawal2022",
            "window": [0.0, 1200.0],
            "mapping": {"weight_bits": 6, "slices": 2},
            "scaling": "column",
            "rows": 128,
            "stuck": [0.01, 0.0],
            "dac": {"bits": 7, "kind": "sign-magnitude", "slice_bits": 1},
            "adc": {"bits": 6, "range": [-2.0, 2.0], "per_slice": True},
            "time_s": 3600.0,
        }
    )
    crossbar = target.condition
    assert target.name == "sonos-agrawal2022-1h"
    assert target.time_s == 3600.0
    assert crossbar.weights.mapping == BitSliced(weight_bits=6, slices=2)
    assert crossbar.periphery.dac == DAC(bits=7, kind="sign-magnitude", slice_bits=1)
    assert crossbar.periphery.adc == ADC(bits=6, range=(-2.0, 2.0), per_slice=True)
    assert (crossbar.device.window, crossbar.device.stuck, crossbar.arrays.rows) == ((0.0, 1200.0), (0.01, 0.0), 128)


EDGE = {
    "device": "rram-milo2021",
    "output_noise": 0.04,
    "dac": {"kind": "ideal", "full_scale": 2.0, "noise": 0.01},
    "adc": {"bits": 0, "range": [-10.0, 10.0], "gain_error": 0.01, "inl": 0.002, "errors_per": "array"},
}


def test_the_edge_of_the_arrays_in_a_table_and_in_words():
    target = build_target(EDGE)
    adc = ADC(bits=0, range=(-10.0, 10.0), gain_error=0.01, inl=0.002, errors_per="array")
    assert target.crossbar.periphery == Periphery(
        dac=DAC(kind="ideal", full_scale=2.0, noise=0.01), adc=adc, output_noise=0.04
    )
    text = describe_target([target])
    for part in (
        "full scale 2, noise 0.01 of full scale",
        "output noise 0.04",
        "outputs clipped without rounding, -10 to 10 range",
        "errors per array (standard deviations: gain 0.01, non-linearity 0.002 of the range)",
    ):
        assert part in text
    assert "noise" not in describe_target([build_target({"device": "rram-milo2021", "adc": {"bits": 8}})])


def test_a_compensated_target_stands_beside_the_same_without():
    plain, compensated = build_targets({"device": "sonos-agrawal2022", "time_s": 86400.0, "compensation": ["drift"]})
    assert (plain.name, compensated.name) == ("sonos-agrawal2022-1d", "sonos-agrawal2022-1d-drift")
    assert plain.deployment.compensation == ()
    assert compensated.corrects == plain.name
    assert plain.condition == compensated.condition


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("dac", {"bit": 8}, "bits"),
        ("dac", {"bits": 40}, "40"),
        ("dac", {"bits": 8, "noize": 0.1}, "noise"),
        ("adc", {"bits": 8, "inl": -1.0}, "inl"),
        ("adc", {"bits": 8, "errors_per": "row"}, "column"),
        ("output_noise", "loud", "output_noise"),
        ("output_nois", 0.1, "output_noise"),
        ("adc", {"bits": 8, "range": [1.0, -1.0]}, "low < high"),
        ("mapping", {"weight_bits": 8, "slice": 2}, "slices"),
        ("time_s", -1.0, "time_s"),
        ("time_s", "1d", "time_s"),
        ("backend", "crossim", "crosssim"),
        ("compensation", ["bn"], "batchnorm"),
        ("compensation", "bn", "'drift' or 'batchnorm', got 'bn'"),
        ("compensation", 1, "list"),
        ("fold", "no", "fold"),
        ("colums", 3, "columns"),
        ("ranges", {}, "ranges"),
    ],
)
def test_what_cannot_be_is_told_by_its_name(key, value, told):
    with pytest.raises((InputError, UnknownNameError), match=told):
        build_target({"device": "rram-milo2021", key: value})


@pytest.mark.parametrize(
    ("time_s", "label"), [(86400.0, "1d"), (216000.0, "60h"), (60.0, "1min"), (90.0, "90s"), (0.5, "0.5s")]
)
def test_times_in_names(time_s, label):
    assert time_label(time_s) == label


@pytest.mark.parametrize("option", [{"time_s": 3600.0}, {"fold": False}], ids=str)
def test_training_noise_takes_no_deployment(option):
    table = {"noise": {"device": "sonos-agrawal2022", **option}}
    with pytest.raises(InputError, match=r"noise.*programming"):
        build_method("rwp", table, seed=0)


@pytest.fixture(scope="module")
def compared(tiny, trained_models, tmp_path_factory):
    """The folder of a comparison on converters, at a time, with compensation."""
    folder = tmp_path_factory.mktemp("converters")
    text = tiny.replace('targets = ["digital", "gaussian-0.2", "rram-wan2022"]', CONVERTERS.strip())
    (folder / "spec.toml").write_text(text)
    run_spec(folder / "spec.toml", folder / "out", model_cache=trained_models)
    with figures_as_stubs():
        write_report(folder / "out")
    return folder / "out"


def rows_of(folder):
    return pd.read_csv(folder / "evaluations.csv").set_index(["model", "train_seed", "target"]).sort_index()


def test_rows_carry_time_and_backend(compared):
    rows = rows_of(compared).reset_index()
    times = rows.groupby("target")["time_s"].unique().map(list).to_dict()
    assert times == {
        "digital": [0.0],
        "eight-bit": [0.0],
        "pcm-nandakumar2019-1d": [86400.0],
        "pcm-nandakumar2019-1d-drift-batchnorm": [86400.0],
    }
    assert set(rows.loc[rows["target"] == "eight-bit", "backend"]) == {"native"}


def test_the_rows_are_what_evaluate_finds_with_the_kept_ranges(compared):
    spec = load_spec(compared / "spec.toml")
    data = load_data(spec.data, data_seed=spec.data_seed, folder=compared)
    model = build_model(spec.model, data, seed=7)
    run = compared / "runs" / "sgd-seed1"
    model.load_state_dict(read_checkpoint(run / "checkpoint.safetensors")[0])
    ranges = ConverterRanges.from_json(json.loads((run / "ranges.json").read_text())["eight-bit"])
    inputs = [x for x, _ in split_batches(data.training, 128)[:4]]
    crossbar = Crossbar("rram-milo2021", rows=16, dac=DAC(bits=8), adc=ADC(bits=8))
    assert calibrate(model, crossbar, inputs) == ranges
    batches = split_batches(data.test, 90)  # another batch size: the same numbers
    found = evaluate(model, batches, crossbar, chips=3, chip_seed=spec.chip_seed, deployment=Deployment(ranges=ranges))
    mine = rows_of(compared).loc[("sgd", 1, "eight-bit"), "accuracy"]
    assert list(mine) == pytest.approx(list(found.table["accuracy"]), rel=1e-12)


def test_compensation_brings_accuracy_back_and_the_report_says_by_how_much(compared):
    means = rows_of(compared).groupby(["model", "target"])["accuracy"].mean()
    without, with_it = (means["sgd", f"pcm-nandakumar2019-1d{end}"] for end in ("", "-drift-batchnorm"))
    assert with_it > without + 10
    for page in ("report.html", "report.md"):
        text = (compared / page).read_text()
        assert f"{without:.2f}" in text
        assert f"{with_it:.2f}" in text
        assert "drift and batchnorm" in text
    assert text.count("- **-drift-batchnorm** after the name of another target: with global drift compensation") == 1


def test_the_report_shows_the_converter_ranges_and_the_setup(compared):
    text = (compared / "report.md").read_text()
    kept = [json.loads(path.read_text())["eight-bit"]["layers"] for path in sorted(compared.glob("runs/*/ranges.json"))]
    assert len(kept) == 4
    for layer in kept[0]:
        inputs, outputs = ([model[layer]["inputs"] for model in kept], [model[layer]["outputs"][0] for model in kept])
        spans = [(min(low for low, _ in found), max(high for _, high in found)) for found in (inputs, outputs)]
        shown = " | ".join(f"{low:.3g} to {high:.3g}" for low, high in spans)
        assert f"| {layer} | {shown} |" in text
    assert "8-bit auto DAC, 8-bit uniform ADC, calibrated range" in text
    assert "1d after programming" in text
    assert "of the multiplies" in text


def test_a_resumed_comparison_keeps_its_ranges_and_numbers(compared, tmp_path):
    again = tmp_path / "out"
    shutil.copytree(compared, again)
    lost = again / "runs" / "m-rwp-seed0" / "evaluations.jsonl"
    lost.write_text("".join(lost.read_text().splitlines(keepends=True)[:3]))
    run_spec(again / "spec.toml", again)
    assert (again / "evaluations.csv").read_text() == (compared / "evaluations.csv").read_text()


CROSSSIM = """targets = [
  { name = "ours", device = "rram-milo2021", rows = 16, dac = { bits = 8 }, adc = { bits = 8 } },
  { name = "theirs", device = "rram-milo2021", rows = 16, dac.bits = 8, adc.bits = 8, backend = "crosssim" },
]"""


def write_crosssim_spec(folder, tiny):
    path = folder / "spec.toml"
    path.write_text(tiny.replace('targets = ["digital", "gaussian-0.2", "rram-wan2022"]', CROSSSIM))
    return path


def test_the_crosssim_backend_in_a_comparison(tmp_path, tiny, trained_models):
    pytest.importorskip("simulator", reason="CrossSim 3.2 is not installed; comparisons on it cannot run")
    run_spec(write_crosssim_spec(tmp_path, tiny), tmp_path / "out", model_cache=trained_models)
    rows = rows_of(tmp_path / "out").reset_index()
    assert rows.groupby("target")["backend"].unique().map(list).to_dict() == {
        "ours": ["native"],
        "theirs": ["crosssim"],
    }
    means = rows.groupby("target")["accuracy"].mean()
    assert means["ours"] == pytest.approx(means["theirs"], abs=3.0)


def test_without_crosssim_a_comparison_stops_before_training(tmp_path, tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "simulator", None)  # as if it were not installed
    path = write_crosssim_spec(tmp_path, tiny)
    with pytest.raises(MissingDependencyError, match="pip install"):
        run_spec(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_a_target_cannot_hold_is_told_before_training(tmp_path, tiny, monkeypatch):
    monkeypatch.syspath_prepend(Path(user_models.__file__).parent)
    text = tiny.replace('"rram-wan2022"]', '{ device = "rram-wan2022", weight_percentile = 0.5 }]')
    text = text.replace('name = "small-cnn"', 'name = "user_models:mostly_zero"').replace(
        "options = { channels = 4, stages = 2 }", ""
    )
    (tmp_path / "spec.toml").write_text(text)
    with pytest.raises(InputError, match="weight_percentile"):
        run_spec(tmp_path / "spec.toml", tmp_path / "out")
    assert not (tmp_path / "out").exists()
