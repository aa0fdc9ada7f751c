"""Which layers to keep digital: each set against direct evaluation, the choice, and its confirmation."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.measure import measure
from support.nets import batches, deployed, everything, net
from torch import nn

from aimc_robust import Crossbar, Deployment, Gaussian, Regression, evaluate, keep_digital, program
from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.evaluation.controlled_losses import controlled_losses
from aimc_robust.evaluation.digital_sets import first_sizes, smallest_set
from aimc_robust.evaluation.keep_digital import KeptDigital, _judge
from aimc_robust.evaluation.layer_ranking import rank_layers
from aimc_robust.evaluation.monte_carlo import chip_evaluation
from aimc_robust.hardware.config.placement import Placement
from aimc_robust.hardware.program import chip_axes, program_prepared
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.primary_metric import ACCURACY, PrimaryMetric

NOISY = Crossbar("rram-wan2022", read_noise=False, error_scale=1.0)
LAYERS = ["0", "4", "6"]
OPTIONS = {"chips": 4, "chip_seed": 5, "jobs": 1}
RMSE = PrimaryMetric("rmse", better="lower", bounds=(0.0, float("inf")))


@pytest.fixture(scope="module")
def kept():
    return keep_digital(net(), batches(), NOISY, required=92.0, **OPTIONS)


def directly(crossbar, digital, chips):
    """Accuracy [percent] of each chip with some layers digital."""
    layers = dict.fromkeys(digital, "digital")
    if len(layers) == len(LAYERS):
        return [measure(net(), batches()).value] * len(chips)
    on_chips = (program(net(), crossbar, layers=layers, chip=chip, chip_seed=5) for chip in chips)
    return [measure(on_chip, batches()).value for on_chip in on_chips]


def test_each_set_is_what_direct_evaluation_gives(kept):
    order = kept.ranking["layer"].tolist()
    assert sorted(order) == LAYERS
    assert kept.curve["kept"].tolist() == [0, 1, 2, 3]
    for row in kept.curve.to_dict("records"):
        values = directly(NOISY, order[: row["kept"]], range(4))
        assert row["mean"] == pytest.approx(np.mean(values))
        assert row["sd_noise"] == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    assert kept.curve["mean"].iloc[0] == evaluate(net(), batches(), NOISY, **OPTIONS).mean
    assert kept.curve["mean"].iloc[-1] == kept.digital == 100.0


def test_shares_are_of_weights_and_of_multiplies_per_example(kept):
    ranking = kept.ranking.set_index("layer")
    modules = dict(net().named_modules())
    assert {name: modules[name].weight.numel() for name in ranking.index} == ranking["weights"].to_dict()
    positions = ranking["multiplies"] / ranking["weights"]
    assert positions["6"] == 1.0  # linear
    assert positions["0"] > 1.0
    for name in ("weights", "multiplies"):
        shares = 100.0 * ranking[name].cumsum() / ranking[name].sum()
        assert kept.curve[f"{name}_percent"].tolist() == pytest.approx([0.0, *shares])


def test_the_smallest_set_that_reaches_the_wish_is_confirmed_on_other_chips(kept):
    assert 0 < len(kept.layers) < 3
    before, chosen = (kept.curve.iloc[len(kept.layers) - k] for k in (1, 0))
    assert before["ci_low"] < 92.0 <= chosen["ci_low"]
    assert kept.layers == tuple(kept.ranking["layer"][: len(kept.layers)])
    assert kept.confirmation.table["chip"].tolist() == [4, 5, 6, 7]
    values = directly(NOISY, kept.layers, range(4, 8))
    assert kept.confirmation.table["accuracy"].tolist() == pytest.approx(values)
    assert kept.judgement == _judge(kept.confirmation, 92.0)
    assert kept.placement == dict.fromkeys(kept.layers, "digital")
    assert "for the required accuracy of 92.00 %" in kept.sentence
    assert f"on 4 other chips: {kept.confirmation.mean:.2f} %" in kept.sentence
    json.dumps(kept.to_json(), allow_nan=False)


def test_the_layer_that_costs_most_per_weight_comes_first():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4))
    with torch.no_grad():
        model[0].weight.mul_(0.05), model[2].weight.mul_(8.0)
    inputs = torch.randn(200, 16)
    labels = model(inputs).argmax(dim=1)
    crossbar = NOISY.replace(error_scale=0.3)
    base = chip_evaluation(model, (inputs, labels), crossbar)
    sizes = {name: model.get_submodule(name).weight.numel() for name in ("0", "2", "4")}
    for by in ("predicted", "measured"):
        ranking = rank_layers(model, base, by=by, chips=3)
        assert (ranking["cost"] / ranking["weights"]).is_monotonic_decreasing
        alone = _expected_loss if by == "predicted" else _loss_of_three_chips
        costs = {name: alone(model, base, name) - base.task.measure(base.model, base.batches).loss for name in sizes}
        assert ranking["layer"][0] == max(costs, key=lambda name: costs[name] / sizes[name])


def _expected_loss(model, base, layer):
    """Loss with one layer programmed, its mean over chips; three chips would tell their own luck."""
    alone = Placement({layer: base.condition, "*": "digital"})
    return controlled_losses(chip_evaluation(model, base.batches, alone), range(60)).mean()


def _loss_of_three_chips(model, base, layer):
    losses = []
    for chip in range(3):
        prepared = chip_evaluation(model, base.batches, base.condition).model
        on_chip = program_prepared(prepared, base.condition, chip_axes(0, chip), layers=frozenset([layer]))
        losses.append(base.task.measure(on_chip, base.batches).loss)
    return np.mean(losses)


def test_a_device_whose_weights_shift_is_ranked_by_the_shift_too():
    """PCM's drift moves the mean of all weights: of a layer before a normalization that costs nothing."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16, bias=False), nn.LayerNorm(16), nn.Linear(16, 4, bias=False))
    inputs = torch.randn(200, 16)
    labels = model(inputs).argmax(dim=1)
    crossbar = Crossbar("pcm-nandakumar2019", read_noise=False, error_scale=0.0)
    base = chip_evaluation(model, (inputs, labels), crossbar, time_s=3e7)
    cost = rank_layers(model, base, by="predicted").set_index("layer")["cost"]
    measured = rank_layers(model, base, by="measured").set_index("layer")["cost"]
    for name in ("0", "2"):
        assert cost[name] == pytest.approx(measured[name], rel=0.3, abs=0.02)


def test_a_measured_cost_has_the_interval_of_its_chips_and_a_predicted_one_has_none():
    base = chip_evaluation(net(), batches(), NOISY, chip_seed=5)
    digital = base.task.measure(base.model, base.batches).loss
    ranking = rank_layers(net(), base, by="measured", chips=5, first_chip=7)
    for row in ranking.to_dict("records"):
        chips = [replace(base, programmed=frozenset([row["layer"]]))(chip).loss - digital for chip in range(7, 12)]
        half_width = 2.776445 * np.std(chips, ddof=1) / np.sqrt(5)  # Student's t, 4 degrees of freedom
        assert row["cost"] == pytest.approx(np.mean(chips))
        assert row["cost_high"] - row["cost"] == pytest.approx(half_width)
        assert row["cost"] - row["cost_low"] == pytest.approx(half_width)
    assert rank_layers(net(), base, by="predicted")[["cost_low", "cost_high"]].isna().all(axis=None)


@pytest.mark.slow
def test_converters_and_read_noise_are_measured_and_jobs_change_nothing():
    options = {
        "chips": 2,
        "ranking_chips": 3,
        "chip_seed": 5,
        "time_s": 86400.0,
        "deployment": deployed(),
        "required": 90.0,
    }
    one, two = (keep_digital(net(), batches(), everything(), jobs=jobs, **options) for jobs in (1, 2))
    pd.testing.assert_frame_equal(one.curve, two.curve)
    pd.testing.assert_frame_equal(one.ranking, two.ranking)
    base = chip_evaluation(net(), batches(), everything(), chip_seed=5, time_s=86400.0, deployment=deployed())
    measured = rank_layers(
        net(), base, by="measured", chips=3, first_chip=4
    )  # neither in the curve nor in the confirmation
    assert not np.allclose(measured["cost"], rank_layers(net(), base, by="measured", chips=3)["cost"], rtol=1e-3)
    pd.testing.assert_frame_equal(one.ranking, measured, check_exact=False, rtol=1e-4)


def test_layers_that_are_digital_already_stay_so():
    found = keep_digital(net(), batches(), NOISY, required=90.0, layers={"4": "digital"}, **OPTIONS)
    assert sorted(found.ranking["layer"]) == ["0", "6"]
    expected = directly(NOISY, ["4"], range(4))
    assert found.curve["mean"].iloc[0] == pytest.approx(np.mean(expected))


def test_names_of_bias_rows_and_attention_belong_to_their_layers():
    class Mixer(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(6, 6, batch_first=True)
            self.mix = nn.MultiheadAttention(6, 2, kdim=6, vdim=4, batch_first=True)
            self.head = nn.Linear(6, 3)

        def forward(self, x):
            x = self.rnn(x)[0]
            return self.head(self.mix(x, x, x[..., :4])[0].mean(1))

    torch.manual_seed(0)
    model, inputs = Mixer(), torch.randn(40, 3, 6)
    crossbar = NOISY.replace(bias_rows=1)
    base = chip_evaluation(model, (inputs, model(inputs).argmax(dim=1)), crossbar)
    found = rank_layers(model, base, by="predicted")
    assert len(found) == 7
    assert found["cost"].notna().all()


def regression():
    torch.manual_seed(0)
    model, inputs = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1)), torch.randn(60, 5)
    return model, (inputs, model(inputs).detach() + 0.1 * torch.randn(60, 1))


def test_of_an_error_lower_is_better():
    model, data = regression()
    found = keep_digital(model, data, NOISY, required=0.13, task=Regression(metric="rmse"), **OPTIONS)
    assert found.digital < 0.13
    chosen = found.curve[found.curve["kept"] == len(found.layers)].iloc[0]
    assert chosen["ci_high"] <= 0.13
    assert (found.curve[found.curve["kept"] < len(found.layers)]["ci_high"] > 0.13).all()
    with pytest.raises(InputError, match=r"root mean square error of 0\.01000 is better than the 0\.1"):
        keep_digital(model, data, NOISY, required=0.01, task=Regression(metric="rmse"), **OPTIONS)


def test_a_wish_above_the_digital_accuracy_is_refused_in_one_sentence():
    inputs = batches()[0][0]
    labels = torch.tensor([0, 1] * 25)
    with pytest.raises(InputError, match=r"99\.00 % is better than the \d+\.\d\d % .*; require less"):
        keep_digital(net(), (inputs, labels), NOISY, required=99.0, **OPTIONS)


def test_a_single_layer_is_kept_or_not():
    torch.manual_seed(0)
    model, inputs = nn.Linear(6, 4), torch.randn(100, 6)
    data = (inputs, model(inputs).argmax(dim=1))
    easy = keep_digital(model, data, NOISY, required=30.0, **OPTIONS)
    assert (easy.layers, easy.judgement) == ((), "confirmed")
    assert easy.sentence.startswith(
        "No layer need be digital for the required accuracy of 30.00 %. Confirmed on 4 other"
    )
    hard = keep_digital(model, data, NOISY, required=100.0, **OPTIONS)
    assert (hard.layers, hard.judgement) == (("weight",), "no proposal")
    assert hard.confirmation.mean == 100.0


def test_where_all_layers_must_be_digital_nothing_is_proposed_and_the_best_smaller_set_is_named():
    found = keep_digital(net(), batches(), NOISY, required=100.0, **OPTIONS)
    assert (len(found.layers), found.judgement) == (3, "no proposal")
    assert "onfirmed" not in found.sentence
    smaller = found.curve[found.curve["kept"] < 3]
    best = smaller.loc[smaller["mean"].idxmax()]
    words = f"reaches {best['mean']:.2f} % [{best['ci_low']:.2f}, {best['ci_high']:.2f}] on 4 chips"
    assert f"The best smaller set, {best['kept']:.0f} of 3 layers, {words}" in found.sentence
    within, above = (
        replace(found, curve=found.curve.assign(ci_high=high)).sentence.endswith("so more chips may settle it.")
        for high in (100.0, 99.0)
    )
    assert (within, above) == (True, False)


def test_another_data_set_may_refute_the_choice():
    inputs = batches()[0][0]
    wrong = (inputs, (net()(inputs).argmax(dim=1) + 1) % 2)
    found = keep_digital(net(), batches(), NOISY, required=90.0, confirm_on=wrong, **OPTIONS)
    assert found.judgement == "refuted"
    assert found.confirmation_digital < 50.0
    assert "Refuted on 4 other chips" in found.sentence


BAD = {
    "required 150": ({"required": 150.0}, "required accuracy"),
    "required nan": ({"required": float("nan")}, "required accuracy"),
    "required text": ({"required": "90"}, "required accuracy"),
    "one chip": ({"chips": 1}, "chips"),
    "one chip of the ranking": ({"ranking_chips": 1, "rank_by": "measured"}, "ranking chips"),
    "one point": ({"points": 1}, "points"),
    "size": ({"size": "weight"}, "'weights'"),
    "rank": ({"rank_by": "predict"}, "'predicted'"),
    "noise": ({"crossbar": Gaussian(0.1)}, "Crossbar"),
    "crosssim": ({"deployment": Deployment(backend="crosssim")}, "native"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_a_bad_argument_is_named(mistake):
    changed, words = BAD[mistake]
    arguments = {"crossbar": NOISY, "required": 90.0} | OPTIONS | changed
    with pytest.raises((InputError, UnknownNameError), match=words):
        keep_digital(net(), batches(), **arguments)


# The choice -----------------------------------------------------------------------------------------------------------


class FakeSets:
    """Sets whose interval reaches the required value from a number of layers on."""

    def __init__(self, layers, first):
        self.order, self.first, self.measured = ["a"] * layers, first, []

    def at(self, kept):
        self.measured.append(kept)
        values = [95.0, 95.1] if kept >= self.first else [50.0, 50.1]
        return Estimate(pd.DataFrame({"train_seed": 0, "chip": [0, 1], "accuracy": values}))


@settings(derandomize=True)
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=60), st.integers(2, 12), st.data())
def test_the_search_finds_the_smallest_set_with_few_measurements(sizes, points, data):
    first = data.draw(st.integers(0, len(sizes)))
    coarse = first_sizes(np.array(sizes), points)
    assert coarse == sorted(set(coarse))
    assert (coarse[0], coarse[-1]) == (0, len(sizes))
    assert len(coarse) <= max(points, 2)
    sets = FakeSets(len(sizes), first)
    assert smallest_set(sets, 90.0, coarse) == first
    assert len(set(sets.measured)) <= points + 7


@pytest.mark.parametrize(
    ("values", "expected"),
    [([95.0, 95.2, 95.1], "confirmed"), ([80.0, 95.0, 99.0], "not settled"), ([80.0, 80.2, 80.1], "refuted")],
)
def test_a_judgement_needs_the_whole_interval(values, expected):
    table = pd.DataFrame({"train_seed": 0, "chip": range(3), "accuracy": values})
    assert _judge(Estimate(table, metric=ACCURACY), 90.0) == expected
    mirrored = table.rename(columns={"accuracy": "rmse"}).assign(rmse=[100.0 - value for value in values])
    assert _judge(Estimate(mirrored, metric=RMSE), 10.0) == expected


def test_the_result_is_public():
    assert KeptDigital.__module__ == "aimc_robust.evaluation.keep_digital"
