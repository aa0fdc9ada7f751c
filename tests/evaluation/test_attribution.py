"""What each source and layer costs: the numbers of variants built by hand, and a bad layer found."""

import copy

import numpy as np
import pytest
import torch
from scipy import stats
from support.error_sources import by_hand
from support.measure import measure
from support.nets import batches, deployed, everything, net
from torch import nn

from aimc_robust import Crossbar, Gaussian, evaluate
from aimc_robust.errors import InputError
from aimc_robust.evaluation.attribution import attribute
from aimc_robust.evaluation.error_sources import RANDOM_SOURCES, SOURCES, active_sources
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.program import chip_axes, program_prepared

DAY_S = 86400.0
LAYERS = ["0", "4", "6"]
PCM = Crossbar("pcm-nandakumar2019", read_noise=False)
OPTIONS = {"chips": 4, "chip_seed": 5, "time_s": DAY_S, "deployment": deployed(), "jobs": 1}


def rows(found, kind):
    return found.table[found.table["kind"] == kind].set_index("name")


def directly(crossbar, chips, layers=None):
    """Accuracy [percent] of each chip."""
    ready, _ = prepare(net())
    options = {"time_s": DAY_S, "deployment": deployed(), "layers": layers}
    on_chips = (program_prepared(copy.deepcopy(ready), crossbar, chip_axes(5, n), **options) for n in range(chips))
    return np.array([measure(on_chip, batches()).value for on_chip in on_chips])


def interval(values):
    return stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))


@pytest.fixture(scope="module")
def whole():
    """Everything, on 4 chips, and the progress that was told."""
    told = []
    return attribute(net(), batches(), everything(), on_chip=lambda *at: told.append(at), **OPTIONS), told


def test_exact_is_the_digital_model_and_whole_is_what_evaluate_says(whole):
    found, _ = whole
    assert found.ideal == measure(net(), batches()).value == 100.0
    assert found.crossbar == evaluate(net(), batches(), everything(), **OPTIONS).mean
    assert found.crossbar < 95.0
    assert found.chips == 4


def test_there_is_a_row_for_each_source_and_each_layer_with_its_weights(whole):
    assert set(rows(whole[0], "source").index) == set(SOURCES)
    assert dict(rows(whole[0], "layer")["weights"]) == {"0": 36, "4": 1024, "6": 112}
    assert rows(whole[0], "source")["weights"].isna().all()


@pytest.fixture(scope="module")
def full():
    """Accuracy of each chip with every source in every layer, by hand."""
    return directly(everything(), 4)


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_costs_what_crossbars_built_by_hand_say(whole, full, source):
    row = rows(whole[0], "source").loc[source]
    alone = directly(by_hand([source]), 4 if source in RANDOM_SOURCES else 1)
    without = directly(by_hand([other for other in SOURCES if other != source]), 4)
    assert row["alone"] == alone.mean()
    assert row["cost_alone"] == pytest.approx(100.0 - alone.mean())
    assert row["without"] == without.mean()
    assert row["saved"] == pytest.approx((without - full).mean())
    np.testing.assert_allclose(row[["saved_low", "saved_high"]].astype(float), interval(without - full))
    bounds = row[["cost_alone_low", "cost_alone_high"]].astype(float)
    if source not in RANDOM_SOURCES:
        assert bounds.isna().all()
    elif alone.std() > 0:
        np.testing.assert_allclose(bounds, interval(100.0 - alone))


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_costs_what_chips_programmed_by_hand_say(whole, full, layer):
    row = rows(whole[0], "layer").loc[layer]
    alone = directly(everything(), 4, frozenset([layer]))
    without = directly(everything(), 4, frozenset(LAYERS) - {layer})
    assert row["alone"] == alone.mean()
    assert row["cost_alone"] == pytest.approx(100.0 - alone.mean())
    assert row["without"] == without.mean()
    np.testing.assert_allclose(row[["cost_alone_low", "cost_alone_high"]].astype(float), interval(100.0 - alone))
    np.testing.assert_allclose(row[["saved_low", "saved_high"]].astype(float), interval(without - full))


def test_the_dearest_come_first_within_each_kind(whole):
    for kind in ("source", "layer"):
        assert rows(whole[0], kind)["cost_alone"].is_monotonic_decreasing
    assert list(whole[0].table["kind"]) == ["source"] * len(SOURCES) + ["layer"] * len(LAYERS)


def test_progress_counts_every_chip_of_every_variant_and_one_where_nothing_is_random(whole):
    fixed = len(SOURCES) - len(RANDOM_SOURCES)
    variants = 2 * (len(SOURCES) + len(LAYERS)) + 1
    total = 4 * (variants - fixed) + fixed + 1  # and the exact model
    assert whole[1] == [(done, total) for done in range(1, total + 1)]


@pytest.mark.slow
def test_the_number_of_jobs_changes_nothing(whole):
    found = attribute(net(), batches(), everything(), **OPTIONS | {"jobs": 3})
    assert found.table.equals(whole[0].table)
    assert found.ideal == whole[0].ideal
    assert found.crossbar == whole[0].crossbar


def test_a_compensated_drift_costs_less():
    plain, compensated = (
        attribute(net(), batches(), PCM, chips=2, jobs=1, per_layer=False, time_s=DAY_S, deployment=deployment)
        for deployment in (None, Deployment(compensation=("drift",)))
    )
    assert set(plain.table["name"]) == set(compensated.table["name"]) == {"programming", "drift"}
    assert rows(compensated, "source")["cost_alone"]["drift"] <= rows(plain, "source")["cost_alone"]["drift"]


def sensitive(layer):
    """The net with a large weight that nothing drives: exactly the same function, but that layer has to hold it.

    The weight limit of its arrays is then far above the weights that matter, and so are their errors.
    """
    model = net()
    with torch.no_grad():
        if layer == "4":
            model[1].bias[0] = -1000.0  # the channel is 0 after the ReLU, and 16 of the 64 inputs of layer 4
            model[4].weight[0, 0] = 30.0
        elif layer == "6":
            model[4].bias[0] = -1000.0
            model[6].weight[0, 0] = 30.0
    return model


def labelled_by(model):
    with torch.no_grad():
        return [(x, model(x).argmax(1)) for x, _ in batches()]


@pytest.mark.parametrize("layer", ["4", "6"])
@pytest.mark.parametrize("crossbar", [PCM, Crossbar("pcm-nandakumar2019")], ids=["weights", "arrays"])
def test_the_layer_that_drops_the_accuracy_is_ranked_first(layer, crossbar):
    model = sensitive(layer)
    found = attribute(model, labelled_by(model), crossbar, chips=5, jobs=1)
    assert found.ideal == 100.0
    table = rows(found, "layer")
    assert table.index[0] == layer
    first, rest = table.iloc[0], table.iloc[1:]
    assert first["cost_alone_low"] > 2 * rest["cost_alone"].max()
    assert first["saved_low"] > 2 * rest["saved"].max()
    assert found.table[found.table["kind"] == "source"]["name"].iloc[0] == "programming"


def test_without_the_large_weight_neither_layer_is_far_above_the_others():
    table = rows(attribute(net(), batches(), PCM, chips=5, jobs=1), "layer")
    assert table["cost_alone_low"].iloc[0] < 2 * table["cost_alone"].iloc[1]


class Shared(nn.Module):
    """Two layers that share a weight, and one of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.own, self.again = nn.Linear(36, 36), nn.Linear(36, 7), nn.Linear(36, 36, bias=False)
        self.again.weight = self.first.weight

    def forward(self, x):
        return self.own(torch.tanh(self.again(torch.tanh(self.first(x.flatten(1))))))


def test_layers_that_share_a_weight_are_one_row():
    table = rows(attribute(Shared(), batches(), PCM, chips=2, jobs=1), "layer")
    assert sorted(table.index) == ["first", "own"]
    assert table.loc["first", "weights"] == 36 * 36


def test_one_layer_alone_is_the_whole_and_without_it_is_exact():
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 7))
    found = attribute(model, labelled_by(model), Crossbar("rram-wan2022"), chips=3, jobs=1)
    row = rows(found, "layer").iloc[0]
    assert (row["alone"], row["without"]) == (found.crossbar, found.ideal)
    assert found.crossbar < found.ideal == 100.0


def test_where_nothing_is_random_there_is_one_chip_and_no_interval():
    crossbar = Crossbar("ideal", window=(0.2, 1.0), cell_bits=2, weight_percentile=0.9)
    found = attribute(net(), batches(), crossbar, chips=5, jobs=1)
    assert set(rows(found, "source").index) == {"clipping", "quantisation"}
    assert found.table[["cost_alone_low", "cost_alone_high", "saved_low", "saved_high"]].isna().all(axis=None)
    assert found.crossbar == evaluate(net(), batches(), crossbar, chips=1).mean < 100.0


def test_one_chip_has_no_interval():
    found = attribute(net(), batches(), PCM, chips=1, jobs=1)
    assert found.table[["cost_alone_low", "cost_alone_high", "saved_low", "saved_high"]].isna().all(axis=None)
    assert found.table[["alone", "cost_alone", "without", "saved"]].notna().all(axis=None)


@pytest.mark.parametrize(
    "crossbar",
    [
        Crossbar("ideal", window=(0.2, 1.0)),
        Crossbar("rram-milo2021", error_scale=0.0),
        Crossbar("rram-milo2021", programming=False),
    ],
    ids=["ideal", "scale 0", "switched off"],
)
def test_a_crossbar_without_any_source_is_refused(crossbar):
    assert active_sources(crossbar) == ()
    with pytest.raises(InputError, match="error source"):
        attribute(net(), batches(), crossbar)


@pytest.mark.parametrize("condition", [Gaussian(0.1), None, "rram-milo2021"], ids=str)
def test_what_is_no_crossbar_is_refused(condition):
    with pytest.raises(InputError, match="Crossbar"):
        attribute(net(), batches(), condition)


def test_the_other_backend_is_refused():
    with pytest.raises(InputError, match="backend"):
        attribute(net(), batches(), PCM, deployment=Deployment(backend="crosssim"))


@pytest.mark.parametrize("options", [{"chips": 0}, {"chips": 2.5}, {"jobs": 0}, {"jobs": True}], ids=str)
def test_numbers_that_cannot_be_are_refused(options):
    with pytest.raises(InputError, match="must be a whole number from 1"):
        attribute(net(), batches(), PCM, **options)


def test_the_model_is_left_as_it_was():
    model = net().train()
    before = copy.deepcopy(model.state_dict())
    attribute(model, batches(), PCM, chips=2, jobs=1)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
