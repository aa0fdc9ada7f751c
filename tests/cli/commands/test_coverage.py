"""`coverage` shows and writes the arrays of a network without its weights; mistakes are one sentence."""

import json

import pytest
import torch
from support.command_line import invoke

from aimc_robust import Crossbar, coverage
from aimc_robust.models.networks.small_cnn import SmallCNN


def test_a_network_is_mapped_from_the_shape_of_its_input(tmp_path):
    out = tmp_path / "mapping.json"
    found = invoke(
        *("coverage", "--model", "small-cnn", "--input", "1,8,8", "--classes", "10"),
        *("--device", "rram-wan2022", "--device", '{name = "small", device = "rram-wan2022", rows = 16}', "--out", out),
    )
    assert found.returncode == 0, found.stderr
    large, small = json.loads(out.read_text())
    assert (large["targets"], small["targets"]) == (["rram-wan2022"], ["small"])
    assert (large["network"], large["inputs"]) == ("small-cnn", [[1, 1, 8, 8]])
    model, example = SmallCNN(in_channels=1, classes=10), torch.rand(1, 1, 8, 8)
    expected = coverage(model, example, crossbar=Crossbar("rram-wan2022", rows=16)).mapping.to_json()
    assert {key: small[key] for key in expected} == expected
    assert "Arrays of small" in found.stdout
    assert f"{expected['total']['activity']['adc_conversions']:,}" in found.stdout


def test_data_give_the_input_and_the_number_of_outputs(tmp_path):
    out = tmp_path / "mapping.json"
    arguments = ["coverage", "--model", "small-cnn", "--data", "digits", "--device", "rram-wan2022", "--out", out]
    assert invoke(*arguments).returncode == 0
    (mapping,) = json.loads(out.read_text())
    assert mapping["inputs"] == [[1, 1, 8, 8]]
    assert mapping["layers"][-1]["columns"] == 10


def test_layers_may_be_digital_or_elsewhere(tmp_path):
    out = tmp_path / "mapping.json"
    found = invoke(
        *("coverage", "--model", "small-cnn", "--input", "1,8,8", "--classes", "10", "--device", "rram-wan2022"),
        *("--layer", "classifier=digital", "--layer", "features.0=sonos-agrawal2022", "--out", out),
    )
    assert found.returncode == 0, found.stderr
    (mapping,) = json.loads(out.read_text())
    devices = {layer["layer"]: layer["device"] for layer in mapping["layers"]}
    assert "classifier" not in devices
    assert (devices["features.0"], devices["features.4"]) == ("sonos-agrawal2022", "rram-wan2022")
    assert "kept digital by choice: classifier" in found.stdout
    weights = SmallCNN(in_channels=1, classes=10).classifier.weight.numel()
    assert mapping["digital_layers"] == {"classifier": weights}
    features = next(line for line in found.stdout.splitlines() if line.startswith("features.0"))
    assert "sonos-agrawal2022" in features


BAD = {
    "neither": ([], "--input 3,224,224, or --data"),
    "both": (["--input", "1,8,8", "--data", "digits"], "not both"),
    "no shape": (["--input", "1x8x8"], "'1x8x8'"),
    "zero": (["--input", "1,0,8"], "'1,0,8'"),
    "no classes": (["--input", "1,8,8"], "--classes"),
    "a noise": (["--input", "1,8,8", "--classes", "10", "--device", "gaussian-0.1"], "gaussian-0.1"),
    "another input": (["--input", "3,8", "--classes", "10"], "takes other inputs"),
    "tokens": (["--input", "1,8", "--classes", "10"], "--task language-modelling"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_is_one_sentence(mistake, tmp_path):
    more, words = BAD[mistake]
    arguments = ["--device", "rram-wan2022", "--out", tmp_path / "mapping.json"]
    found = invoke("coverage", "--model", "small-cnn", *arguments, *more)
    assert found.returncode == 2
    assert words in found.stderr
    assert found.stderr.count("error: ") == 1
    assert not (tmp_path / "mapping.json").exists()
