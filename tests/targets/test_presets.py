"""Presets by name in targets, on the command line and in methods; results folders hold what they stand for."""

import json
import tomllib
import warnings
from pathlib import Path

import pytest
from support.command_line import invoke
from support.methods import build_method

from aimc_robust import load_preset, preset_names
from aimc_robust.devices.library import cards_folder
from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.experiments.spec.loading import spec_from_dict
from aimc_robust.targets.build import build_target, build_targets, self_contained_target
from aimc_robust.targets.command_line import target_tables


@pytest.mark.parametrize("name", preset_names())
def test_a_name_is_the_preset_with_its_deployment(name):
    for entry in (name, {"device": name}):
        target, preset = build_target(entry), load_preset(name)
        assert (target.name, target.crossbar, target.deployment) == (name, preset.crossbar, preset.deployment)


def test_keys_of_the_table_replace_those_of_the_preset():
    table = {"device": "rasch2023", "rows": 128, "time_s": 86400, "compensation": []}
    target = build_target(table)
    assert target.name == "rasch2023-1d"
    assert target.crossbar == load_preset("rasch2023", rows=128).crossbar
    assert target.deployment.compensation == ()
    assert build_target({**table, "name": "mine"}).name == "mine"
    names = [target.name for target in build_targets({"device": "rasch2023", "time_s": 3600.0})]
    assert names == ["rasch2023-1h", "rasch2023-1h-drift"]


def test_a_preset_with_another_device(tmp_path):
    other = build_target({"preset": "rasch2023", "device": "sonos-agrawal2022"})
    assert other.crossbar == load_preset("rasch2023", device="sonos-agrawal2022").crossbar
    path = tmp_path / "mine.toml"
    source = cards_folder() / "sonos-agrawal2022.toml"
    path.write_text(source.read_text().replace('name = "sonos-agrawal2022"', 'name = "mine"'))
    table = self_contained_target({"preset": "rasch2023", "device": "mine.toml"}, tmp_path)
    assert table["device"]["name"] == "mine"
    assert "preset" not in table
    assert build_target(table).crossbar.arrays.rows == 512
    for entry, error, match in (
        ({"preset": "rasch2023", "device": "rram-milo2021"}, InputError, "counts on the drift.*rram-milo2021"),
        ({"preset": "rasch2023", "device": "crosssim-isca2024-rram"}, InputError, "both name presets"),
        ({"preset": "rash2023", "device": "rram-milo2021"}, UnknownNameError, "'rash2023'.*'rasch2023'"),
        ("rash2023", UnknownNameError, "'rash2023'.*'rasch2023'"),
        ({"device": "rash2023"}, UnknownNameError, "'rash2023'"),
        ({"device": "rasch2023", "rowz": 3}, UnknownNameError, "rowz.*rows"),
    ):
        with pytest.raises((InputError, error), match=match):
            build_target(entry)
    with pytest.raises(InputError, match='device = "rasch2023"'):
        build_target({"preset": "rasch2023", "device": None})


def test_layers_take_presets_as_their_crossbars():
    places = {"conv1": "rasch2023", "fc": {"device": "rasch2023", "rows": 64}, "head": "digital"}
    table = {"device": "rram-milo2021", "layers": places}
    with pytest.warns(UserWarning, match=r"rasch2023 of the layers .*does not act"):
        recorded = self_contained_target(table, Path())
    for entry in (table, recorded):
        placement = build_target(entry).condition
        assert placement.crossbar_of("conv1") == load_preset("rasch2023").crossbar
        assert placement.crossbar_of("fc") == load_preset("rasch2023", rows=64).crossbar
        assert placement.crossbar_of("head") is None
    assert dict(map(tuple, recorded["layers"]))["conv1"]["device"]["name"] == "pcm-nandakumar2019"


def test_a_results_folder_records_all_keys_and_they_are_the_same_target():
    table = self_contained_target("rasch2023", Path())
    assert table["device"]["name"] == "pcm-nandakumar2019"
    assert (table["rows"], table["output_noise"], table["compensation"]) == (512, 0.04, ["drift"])
    again = json.loads(json.dumps(table))
    assert build_target(again) == build_target("rasch2023")
    assert self_contained_target(again, Path()) == again


def test_on_the_command_line_a_preset_is_a_device_and_options_replace_its_keys():
    tables = target_tables(["rasch2023"], [0.0, 3600.0], {"rows": 64})
    assert [table["name"] for table in tables] == ["rasch2023", "rasch2023-1h"]
    assert {table["rows"] for table in tables} == {64}


@pytest.mark.parametrize("entry", ["rasch2023", {"device": "rasch2023"}])
def test_a_methods_crossbar_takes_a_preset_without_its_deployment(entry, tiny):
    method = build_method("array-aware", {"crossbar": entry}, seed=0)
    assert method.crossbar == load_preset("rasch2023").crossbar
    spec = tomllib.loads(tiny)
    spec["methods"] = {"hwa": {"kind": "array-aware", "crossbar": entry}}
    spec["targets"] = ["digital", "rasch2023"]
    dumped = spec_from_dict(spec).model_dump(mode="json")
    assert dumped["methods"]["hwa"]["crossbar"]["device"]["name"] == "pcm-nandakumar2019"
    assert "compensation" not in dumped["methods"]["hwa"]["crossbar"]


def test_the_command_lists_presets_and_shows_one():
    listed = invoke("presets").stdout
    for name in preset_names():
        assert name in listed
        shown = invoke("presets", name)
        assert shown.returncode == 0, shown.stderr
        text = " ".join(shown.stdout.split())
        assert " ".join(load_preset(name).source.citation.split()) in text
        assert "[crossbar] device" in text
    assert "output noise 0.04" in " ".join(invoke("presets", "rasch2023").stdout.split())
    wrong = invoke("presets", "rasch")
    assert wrong.returncode != 0
    assert "'rasch2023'" in " ".join(wrong.stderr.split())


def test_a_preset_of_some_layers_says_that_its_compensation_does_not_act():
    with pytest.warns(UserWarning, match="the preset rasch2023 of the layers 'fc'"):
        target_tables(["pcm-joshi2020"], [0.0], {}, ["fc=rasch2023"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        target_tables(["pcm-joshi2020"], [0.0], {"compensation": ["drift"]}, ["fc=rasch2023"])
        target_tables(["rasch2023"], [0.0], {}, ["fc=rasch2023"])
        target_tables(["pcm-joshi2020"], [0.0], {}, ["fc=crosssim-isca2024-sonos"])
