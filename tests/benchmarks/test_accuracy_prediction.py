"""The comparison of predicted with simulated accuracy: its networks, its conditions, and what its summary sees."""

import pytest
import torch
from support.benchmark_scripts import load_script
from support.small_net import data, net

import aimc_robust as ar

SCRIPT = load_script("accuracy_prediction.py")


@pytest.mark.parametrize("name", SCRIPT.NETWORKS)
def test_every_network_takes_the_images_of_its_data(name):
    source, build, *_ = SCRIPT.NETWORKS[name]
    size = 8 if source == "digits" else 14
    assert build().eval()(torch.zeros(2, 1, size, size)).shape == (2, 10)


def test_every_card_is_a_condition_and_a_day_later_if_it_drifts():
    cases = SCRIPT.conditions()
    assert set(ar.card_names()) <= set(cases)
    assert {name.split(",")[0] for name in cases if "day" in name} == {
        name for name in ar.card_names() if ar.load_card(name).drift is not None
    }


def test_the_summary_sees_agreement_and_its_absence(monkeypatch):
    chosen = {str(scale): (ar.Crossbar("rram-wan2022", error_scale=scale), 0.0, ar.Deployment()) for scale in (1, 4)}
    monkeypatch.setattr(SCRIPT, "conditions", lambda: chosen)
    table, seconds = SCRIPT.compare(net(), data(300), 5)
    assert SCRIPT.summary(table, seconds)["rank correlation"] == "1.000"
    swapped = table.assign(predicted=table["predicted"][::-1].to_numpy())
    found = SCRIPT.summary(swapped, seconds)
    assert found["rank correlation"] == "-1.000"
    assert found["beyond both 95 % intervals"] == "2 of 2"
