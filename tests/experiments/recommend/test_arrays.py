"""When training through arrays is among the methods of a recommendation, and with which settings."""

import json

import pytest
from support.training_examples import conv_net
from torch import nn
from torch.nn.utils import parametrizations

from aimc_robust.data.loading import load_data
from aimc_robust.data.spec import DataSpec
from aimc_robust.experiments.recommend.arrays import array_settings
from aimc_robust.experiments.recommend.run import recommend
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.targets.build import build_target
from aimc_robust.tasks.classification import Classification

TARGET = {"name": "own", "device": "pcm-nandakumar2019", "rows": 64, "dac": {"bits": 4}, "adc": {"bits": 6}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return load_data(DataSpec(name="digits"), data_seed=0, folder=tmp_path_factory.mktemp("data"))


def settings(target, data, model=None):
    return array_settings(target, build_target(target), model or conv_net(), data, Classification())


def test_the_crossbar_is_the_targets_without_its_deployment(data):
    found = settings({**TARGET, "time_s": 3600.0}, data)
    crossbar = {key: value for key, value in TARGET.items() if key != "name"}
    method = {"kind": "array-aware", "crossbar": crossbar, "time_s": 3600.0, "ranges": "learned"}
    assert found == {"bits": 4, "method": method}


def test_a_card_with_read_noise_is_a_crossbar_without_converters(data):
    method = {"kind": "array-aware", "crossbar": "pcm-nandakumar2019"}
    assert settings("pcm-nandakumar2019", data) == {"bits": 0, "method": method}


def test_where_products_are_exact_or_layers_do_not_fit_there_is_none(data):
    assert settings({**TARGET, "read_noise": False, "dac": {"kind": "ideal"}} | {"adc": {"bits": 6}}, data) is not None
    exact = {"name": "own", "device": "pcm-nandakumar2019", "read_noise": False}
    assert settings(exact, data) is None
    normed = nn.Sequential(nn.Flatten(), parametrizations.weight_norm(nn.Linear(64, 10)))
    assert settings(TARGET, data, normed) is None


def test_a_recommendation_for_coarse_converters_proposes_it(tmp_path, tiny):
    (tmp_path / "spec.toml").write_text(tiny)
    spec = load_spec(tmp_path / "spec.toml")
    found = recommend(spec, TARGET, tmp_path / "out", epochs=1, seeds=1, chips=2, sweep=False, jobs=1)
    assert found.proposal.label.startswith("array-aware-")
    assert found.proposal.settings["ranges"] == "learned"
    stored = json.loads((tmp_path / "out" / "measurement.json").read_text())["arrays"]
    assert stored["bits"] == 4
    again = recommend(spec, TARGET, tmp_path / "out", epochs=1, seeds=1, chips=2, sweep=False, jobs=1)
    assert again.proposal == found.proposal
