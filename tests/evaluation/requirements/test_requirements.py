"""Device requirements of models whose limits are known, and of a small net against direct evaluation."""

import functools
import json
import math
import shlex

import pytest
import torch
from scipy import stats
from torch import nn

from aimc_robust import ADC, Crossbar, Deployment, Placement, calibrate, device_requirements, evaluate, load_card
from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.evaluation.requirements.budget import ErrorBudget
from aimc_robust.evaluation.requirements.quantities import QUANTITIES, alternatives_removed
from aimc_robust.evaluation.requirements.second_order import BINS, only_bin, state_sensitivities
from aimc_robust.evaluation.requirements.simulator import Simulator
from aimc_robust.hardware.programming.moments import model_moments
from aimc_robust.io.toml import parse_settings
from aimc_robust.report.requirements.command import evaluate_command
from aimc_robust.report.requirements.page import write_requirements
from aimc_robust.seeding import global_seed
from aimc_robust.statistics.binomial import yield_bounds
from aimc_robust.targets.build import build_target
from aimc_robust.targets.command_line import parse_times, target_tables
from aimc_robust.tasks.classification import Classification

OPTIONS = {"required_yield": 0.6, "jobs": 1}  # 10 chips: fast
STEP = 2 ** (1 / 8)  # between neighbouring levels
HALF = Crossbar("ideal", window=(0.5, 1.0))  # states far from 0, where nothing is clipped


@functools.cache
def batches():
    """Three clusters of points, in one batch."""
    labels = torch.arange(150) % 3
    centers = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(150, 8, generator=torch.Generator().manual_seed(2))
    return [(centers[labels] + 1.2 * noise, labels)]


@functools.cache
def net():
    """A network that is trained on them."""
    with global_seed(0):
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    ((inputs, labels),) = batches()
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    return model.eval()


def linear(weight, bias=None):
    model = nn.Linear(len(weight[0]), len(weight), bias=bias is not None)
    with torch.no_grad():
        model.weight.copy_(torch.tensor(weight))
        if bias is not None:
            model.bias.copy_(torch.tensor(bias))
    return model.eval()


def one_image(inputs):
    """The same image of class 0 twice: a chip is right on both, or on none."""
    return [(torch.tensor([inputs, inputs]), torch.tensor([0, 0]))]


MARGIN_MODEL, MARGIN_IMAGE = linear([[1.0, 0.5, 0.2], [0.2, 0.0, 1.0]]), [1.0, 0.6, -0.3]


def true_yield(sigma):
    """Of MARGIN_MODEL on HALF: each weight has two devices, its error is 2 (e+ - e-), and its limit is 1."""
    weight, x = MARGIN_MODEL.weight.detach(), torch.tensor(MARGIN_IMAGE)
    std = 2.0 * math.sqrt(2.0) * sigma * math.sqrt(2.0) * float(x.norm())
    return float(stats.norm.cdf(float((weight[0] - weight[1]) @ x) / std))


@pytest.mark.parametrize("seed", [0])
def test_the_limit_of_a_linear_classifier_is_the_computed_one(seed):
    options = {"drop": 1.0, "required_yield": 0.8, "crossbar": HALF, "quantities": ["programming"], "jobs": 1}
    found = device_requirements(MARGIN_MODEL, one_image(MARGIN_IMAGE), chip_seed=seed, chips=40, **options)
    (row,) = found.table.to_dict("records")
    assert row["status"] == "confirmed"
    assert row["passing"] >= 40 - found.allowed_failures
    assert row["yield_bound"] == pytest.approx(100 * yield_bounds(row["passing"], 40)[0])
    assert row["yield_bound"] >= 80
    assert 0.8 <= true_yield(row["level"]) < 0.97  # neither too large nor far too small
    assert found.level("programming") == row["level"] <= row["found"]


def test_the_limit_of_drift_is_exact_and_compensation_removes_it():
    """Drift scales the only weight against a bias of 0.4: class 0 wins while the factor is above 0.4."""
    model, limit = linear([[1.0], [0.0]], [0.0, 0.4]), math.log(2.5) / math.log1p(86400 / 20)
    names = ["drift", "drift-compensated"]
    found = device_requirements(
        model, one_image([1.0]), drop=1.0, quantities=names, drift_spread=0.0, crossbar=Crossbar("ideal"), **OPTIONS
    )
    rows = found.table.set_index("quantity")
    assert rows.loc["drift", "status"] == "exact"
    assert rows.loc["drift", "level"] < limit <= rows.loc["drift", "level"] * STEP
    assert rows.loc["drift", "chips"] == 1  # all chips are the same
    assert rows.loc["drift-compensated", "status"] == "no limit"
    assert found.together is None  # two forms of one error are not added


@pytest.fixture(scope="module")
def of_net():
    steps = []
    found = device_requirements(
        net(), batches(), drop=2.0, devices=["ideal", noisy_card()], on_step=steps.append, **OPTIONS
    )
    assert [step for step in steps if step in QUANTITIES] == list(QUANTITIES)
    return found


def noisy_card():
    """A device of which no weight survives."""
    constant = {"kind": "piecewise-linear", "states": [0.0, 1.0], "stds": [2.0, 2.0]}
    table = load_card("ideal").model_dump(mode="json", exclude_none=True)
    return table | {"name": "noisy", "programming": constant}


@pytest.mark.slow
def test_every_quantity_of_a_net_has_a_level(of_net):
    rows = of_net.table.set_index("quantity")
    assert list(rows.index) == [*QUANTITIES, "together"]
    assert set(rows["status"]) <= {"confirmed", "exact"}
    assert (rows.loc[rows["status"] == "confirmed", "yield_bound"] >= 60).all()
    # The level of a quantity bounds that of an easier one.
    assert rows.loc["programming", "level"] < rows.loc["programming-proportional", "level"]
    assert rows.loc["drift", "level"] < rows.loc["drift-compensated", "level"]
    json.dumps(of_net.to_json(), allow_nan=False)


@pytest.mark.slow
def test_the_second_order_says_about_what_chips_say(of_net):
    rows = of_net.table.set_index("quantity")
    for name in ("programming-proportional", "programming-curve", "read-noise"):
        assert 0.4 < rows.loc[name, "predicted"] / rows.loc[name, "found"] < 2.5


def test_the_bits_are_the_fewest_by_direct_evaluation(of_net):
    def loses(**converters):
        crossbar = of_net.template.replace(**converters)
        deployment = Deployment(ranges=calibrate(net(), crossbar, batches()))
        return of_net.digital - evaluate(net(), batches(), crossbar, chips=1, deployment=deployment).mean

    bits = int(of_net.level("adc-bits"))
    assert loses(adc=ADC(bits=bits)) <= 2.0 < loses(adc=ADC(bits=bits - 1))


def test_all_errors_together_are_smaller_and_hold_as_a_card(of_net):
    rows, budget = of_net.table.set_index("quantity"), of_net.together
    scaled = rows["together"].dropna()
    assert set(scaled.index) == set(alternatives_removed(QUANTITIES))
    assert budget.read_noise == float(f"{of_net.scale * of_net.level('read-noise'):.4g}")  # as the card states it
    assert budget.stuck_low == float(f"{of_net.scale**2 * of_net.level('stuck-low'):.4g}")
    assert budget.adc_bits >= of_net.level("adc-bits")
    assert 0.1 < of_net.scale <= 1
    card = load_card(of_net.card().model_dump(mode="json", exclude_none=True))
    chips = evaluate(net(), batches(), Crossbar(card, rows=256, columns=256), chips=40, chip_seed=9, jobs=1)
    share = chips.yield_at(of_net.digital - 2.0).share
    assert share >= 60  # without drift and converters, which the card alone does not have
    too_large = Crossbar(card, rows=256, columns=256, error_scale=20.0)
    worse = evaluate(net(), batches(), too_large, chips=20, chip_seed=9, jobs=1)
    assert worse.yield_at(of_net.digital - 2.0).share < 60


def test_the_command_of_the_page_has_every_condition_of_the_budget(of_net, tmp_path):
    write_requirements(of_net, tmp_path, "a net")
    arrays = {"rows": 256, "columns": 256, "read_noise": False}  # of the template: a budget has its own
    command = evaluate_command(of_net, [["net.pt"], ["--model", "a:b"]], arrays, tmp_path).replace("\\\n", "")
    words = shlex.split(command)
    assert words[:5] == ["aimc-robust", "evaluate", "net.pt", "--model", "a:b"]
    settings = parse_settings([words[k + 1] for k, word in enumerate(words) if word == "--set"])
    given = dict(zip(words[3::2], words[4::2], strict=True))
    (table,) = target_tables([given["--device"]], parse_times(given["--times"]), settings)
    target, budget = build_target(table), of_net.together
    expected = budget.crossbar(of_net.template, t0_s=of_net.t0_s)
    assert target.crossbar.device.programming_window == expected.device.window
    assert target.crossbar.replace(window=expected.device.window) == expected
    assert budget.compensates
    assert (target.time_s, target.deployment.compensation) == (of_net.time_s, ("drift",))
    assert 0 <= of_net.digital - 2.0 - float(given["--threshold"]) < 1e-5
    assert given["--chips"] == "10"


def test_searched_numbers_have_four_digits_in_the_card_and_were_confirmed_so(of_net):
    card = of_net.card()
    of_card = [*card.programming.stds, *card.read.coefficients, card.stuck.low, card.stuck.high]
    of_card += [card.drift.exponent_mean.offset, card.drift.exponent_std.offset]
    searched = [*of_net.table["level"].dropna(), *of_net.table["together"].dropna()]
    assert all(number == float(f"{number:.4g}") for number in [*of_card, *searched])
    assert card.stuck.low == of_net.together.stuck_low > 0


def test_devices_are_judged(of_net):
    rows = of_net.devices.set_index("device")
    assert rows["judgement"].to_dict() == {"ideal": "meets", "noisy": "fails"}
    assert rows.loc["ideal", "margin"] == 16.0  # the largest that is tried
    assert 0 < rows.loc["noisy", "margin"] < 1
    assert rows.loc["noisy", "yield_high"] < 60


@pytest.mark.slow
def test_a_stricter_requirement_has_smaller_levels():
    def found(drop, required_yield):
        options = {"quantities": ["programming", "stuck-high"], "chips": 20, "jobs": 1}
        table = device_requirements(net(), batches(), drop=drop, required_yield=required_yield, **options).table
        return table.set_index("quantity")["found"][["programming", "stuck-high"]]

    loose, in_drop, in_yield = found(10.0, 0.6), found(3.0, 0.6), found(10.0, 0.8)
    assert (in_drop < loose).all()
    assert (in_yield < loose).all()


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing():
    options = {"drop": 5.0, "required_yield": 0.6, "quantities": ["programming", "adc-bits"]}
    one, two = (device_requirements(net(), batches(), jobs=jobs, **options) for jobs in (1, 2))
    assert one.to_json() == two.to_json()


def simulator(crossbar):
    return Simulator(
        model=net(),
        batches=batches(),
        hardware=crossbar,
        task=Classification(),
        digital=evaluate(net(), batches(), None).mean,
        drop=5.0,
        calibration=[batch[0] for batch in batches()],
        time_s=0.0,
        t0_s=20.0,
    )


def test_errors_at_single_states_add_up_to_an_error_at_all_states():
    simulated, edges = simulator(HALF), [0.5 + 0.5 * k / BINS for k in range(BINS + 1)]  # the window
    parts = torch.stack([weight_variance(simulated, only_bin(edges, number, 0.01)) for number in range(BINS)])
    whole = weight_variance(simulated, ((0.0, 0.01), (1.0, 0.01)))
    assert float(parts.sum() / whole.sum()) == pytest.approx(1.0, abs=0.005)
    assert ((parts.sum(0) / whole - 1.0).abs() < 0.3).all()  # a device near an edge of two bins is part of both
    assert all(0.0 < part.sum() < 0.9 * parts.sum() for part in parts)  # none is the whole


def weight_variance(simulated, programming):
    """Variance of all weights under a programming error over the state."""
    moments = model_moments(simulated.model, simulated.budget_hardware(ErrorBudget(programming=programming)))
    return torch.cat([moment.variance.flatten() for moment in moments.values()]).double()


def test_the_states_have_all_devices_and_their_costs():
    states = state_sensitivities(simulator(HALF))
    assert states["devices_percent"].sum() == pytest.approx(100.0)
    assert states["devices_percent"].idxmax() == 0  # one device of each pair is at the low end
    assert states["sensitivity"].idxmax() == 0


def test_a_budget_has_the_window_of_the_template_in_its_unit():
    template = Crossbar("rram-wan2022", error_scale=0.0, adc=ADC(bits=4, kind="sign-magnitude"))
    budget = ErrorBudget(programming=((0.0, 0.1), (1.0, 0.1)), read_noise=0.02, adc_bits=7)
    crossbar = budget.crossbar(template, t0_s=20.0)
    card = crossbar.device.cell
    assert (card.unit, card.window, crossbar.device.error_scale) == ("uS", (1.0, 39.0), 1.0)
    assert float(card.programming_std(torch.tensor(10.0))) == pytest.approx(3.9)
    assert crossbar.periphery.adc == ADC(bits=7, kind="sign-magnitude")


def test_an_adc_with_a_sign_bit_has_two_bits_or_more():
    signed = Crossbar("ideal", rows=256, adc=ADC(bits=8, kind="sign-magnitude"))
    found = device_requirements(net(), batches(), drop=90.0, quantities=["adc-bits"], crossbar=signed, **OPTIONS)
    assert found.level("adc-bits") == 2


def test_digital_layers_stay_digital():
    options = {"drop": 5.0, "quantities": ["programming"], "jobs": 1, "required_yield": 0.6}
    crossbar = Crossbar("ideal", rows=256)
    all_layers = device_requirements(net(), batches(), crossbar=crossbar, **options)
    placed = Placement({"0": "digital", "*": crossbar})
    assert device_requirements(net(), batches(), crossbar=placed, **options).level("programming") > all_layers.level(
        "programming"
    )


MISTAKES = {
    "no drop": ({"drop": 0.0}, "drop must be above 0"),
    "negative": ({"drop": -1.0}, "drop must be a finite number"),
    "certain": ({"required_yield": 1.0}, "above 0 and below 1"),
    "percent": ({"required_yield": 95}, "0 to 1"),
    "few chips": ({"required_yield": 0.95, "chips": 58}, "needs at least 59 chips"),
    "no time": ({"time_s": 0.0}, "give time_s above 0"),
    "no quantity": ({"quantities": []}, "at least one of"),
    "one name": ({"quantities": "programming"}, "list of names"),
    "coarse arrays": ({"crossbar": Crossbar("ideal", rows=2, adc=ADC(bits=1))}, "the template alone cost up to"),
    "two devices": ({"crossbar": Placement({"0": "rram-wan2022", "*": "ideal"})}, "for one device, got 2"),
    "a name": ({"crossbar": "ideal"}, "a Crossbar"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused(mistake):
    options, words = MISTAKES[mistake]
    with pytest.raises(InputError, match=words):
        device_requirements(net(), batches(), **({"drop": 5.0} | options))


def test_an_unknown_quantity_or_device_is_named():
    with pytest.raises(UnknownNameError, match="programming-proportional"):
        device_requirements(net(), batches(), drop=5.0, quantities=["programming-proportionnal"])
    with pytest.raises(UnknownNameError, match="rram-wan2022"):
        device_requirements(net(), batches(), drop=2.0, devices=["rram-wan2023"])
