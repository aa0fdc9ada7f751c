"""Targets whose stuck devices are a file: relative to the spec, recorded by its content, and refused early."""

import numpy as np
import pytest

from aimc_robust import Crossbar, FaultMap, load_spec
from aimc_robust.errors import AimcError
from aimc_robust.experiments.spec.loading import spec_from_dict
from aimc_robust.targets.build import build_target, self_contained_target
from aimc_robust.targets.command_line import target_tables

SPEC = """
name = "faults"
data = {{ name = "digits" }}
model = {{ name = "small-cnn" }}
training = {{ epochs = 1 }}
targets = ["digital", {{ name = "chip", device = "rram-milo2021", stuck = "{file}" }}]

[methods.sgd]
faults = {{ device = "rram-milo2021", stuck = "{file}" }}
"""


@pytest.fixture
def folder(tmp_path):
    for name, state in (("faults", 60.0), ("others", 70.0)):
        FaultMap({"layer": np.full((2, 1, 3), state)}, unit="uS").save(tmp_path / f"{name}.npz")
    (tmp_path / "spec.toml").write_text(SPEC.format(file="faults.npz"))
    return tmp_path


def test_a_file_is_found_beside_its_spec(folder):
    spec = load_spec(folder / "spec.toml")
    expected = Crossbar("rram-milo2021", stuck=folder / "faults.npz")
    assert spec.build_targets()[1].crossbar == expected
    assert spec.methods["sgd"].build(seed=0).faults == expected


def test_the_content_is_recorded(folder):
    table = {"device": "rram-milo2021", "stuck": "faults.npz"}
    first = self_contained_target(table, folder)
    assert first["code_digests"] == {str(folder / "faults.npz"): FaultMap.load(folder / "faults.npz").digest}
    (folder / "others.npz").rename(folder / "faults.npz")
    assert self_contained_target(table, folder)["code_digests"] != first["code_digests"]


def test_layers_on_a_crossbar_of_their_own_have_theirs(folder):
    place = {"device": "pcm-nandakumar2019", "stuck": "others.npz"}
    table = {"name": "chip", "device": "rram-milo2021", "stuck": "faults.npz", "layers": {"head": place}}
    stored = self_contained_target(table, folder)
    assert set(stored["code_digests"]) == {str(folder / name) for name in ("faults.npz", "others.npz")}
    maps = [crossbar.device.fault_map for crossbar in build_target(stored).condition.crossbars]
    assert maps == [FaultMap.load(folder / name) for name in ("others.npz", "faults.npz")]


def test_on_the_command_line(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (table,) = target_tables(["rram-milo2021"], [0.0], {"stuck": "others.npz"})
    assert build_target(table).crossbar.device.fault_map == FaultMap.load("others.npz")


@pytest.mark.parametrize(
    ("stuck", "words"),
    [
        ("none.npz", r"no file .*none\.npz"),
        ("spec.toml", r"\.npz or \.safetensors"),
        ([0.1], "at least 2"),
        (1, "stuck"),
    ],
)
def test_bad_values_are_told_when_the_spec_is_read(folder, stuck, words):
    text = {"name": "a", "data": {"name": "digits"}, "model": {"name": "small-cnn"}, "training": {"epochs": 1}}
    targets = [{"name": "chip", "device": "rram-milo2021", "stuck": stuck}]
    with pytest.raises(AimcError, match=words):
        spec_from_dict({**text, "methods": {"sgd": {}}, "targets": targets})
