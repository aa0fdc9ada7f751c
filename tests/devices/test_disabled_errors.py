"""Programming error and drift, each switched off: the other alone remains."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from support.device_oracle import clipped_log
from support.draws import draws
from support.for_each import for_each

from aimc_robust import Crossbar
from aimc_robust.devices.cell_model_checks import programming_std
from aimc_robust.devices.laws.polynomial import polynomial
from aimc_robust.devices.library import card_names, load_card
from aimc_robust.devices.states import cell_states
from aimc_robust.hardware.programming.weights_to_states import layer_draws, program_matrix, read_back
from aimc_robust.seeding import Axes

DAY_S = 86400.0
DRIFTING = [name for name in card_names() if load_card(name).drift is not None]
TABLES = [name for name in DRIFTING if load_card(name).drift.kind == "table"]
POWER_LAWS = [name for name in DRIFTING if load_card(name).drift.kind == "power-law"]
LOGARITHMIC = [name for name in DRIFTING if load_card(name).drift.kind == "logarithmic"]
BOTH_OFF = {"programming": False, "drift": False}


def middle(card, n=4000):
    """Targets far from 0 and from the limits, so that nothing is clipped."""
    low, high = card.range.min, card.range.max
    return torch.linspace(low + 0.4 * (high - low), low + 0.6 * (high - low), n, dtype=torch.float64)


def now(name, target, seed=3, **options):
    return cell_states(load_card(name), target, draws(seed), **options).now


def test_every_kind_of_drift_is_tried():
    assert TABLES
    assert POWER_LAWS
    assert LOGARITHMIC


@for_each("name", card_names())
@for_each("time_s", [0.0, 1.5 * DAY_S])
def test_without_both_a_cell_holds_its_target(name, time_s):
    card = load_card(name)
    target = torch.linspace(card.range.min, card.range.max, 200, dtype=torch.float64)
    states = cell_states(card, target, draws(3), time_s=time_s, **BOTH_OFF)
    assert torch.equal(states.programmed, target)
    assert torch.equal(states.now, target)
    assert not torch.equal(now(name, target, time_s=time_s), target) or card.programming.kind == "none"


@pytest.mark.parametrize("name", DRIFTING)
@pytest.mark.parametrize("error_scale", [1.0, 0.5])
def test_without_drift_a_cell_stays_as_it_was_programmed(name, error_scale):
    target = middle(load_card(name))
    late = cell_states(load_card(name), target, draws(3), time_s=3 * DAY_S, error_scale=error_scale, drift=False)
    fresh = cell_states(load_card(name), target, draws(3), error_scale=error_scale)
    assert torch.equal(late.now, fresh.now)
    assert torch.equal(late.programmed, fresh.programmed)
    aged = now(name, target, time_s=3 * DAY_S, error_scale=error_scale)
    assert not torch.allclose(aged, fresh.now, rtol=1e-3)  # control: it would age


@for_each("name", TABLES)
@for_each("days", [0.0, 0.3, 1.0, 2.5])
@for_each("error_scale", [1.0, 0.25])
def test_of_a_table_the_two_alone_add_up_to_both(name, days, error_scale):
    target = middle(load_card(name))
    options = {"time_s": days * DAY_S, "error_scale": error_scale}
    both = now(name, target, **options) - target
    programming = now(name, target, drift=False, **options) - target
    drift = now(name, target, programming=False, **options) - target
    torch.testing.assert_close(programming + drift, both, rtol=0, atol=1e-9 * float(target.max()))
    assert (programming.std() > 0).item()
    assert bool(drift.any()) == (days > 0)


@pytest.mark.parametrize("name", TABLES)
def test_of_a_table_without_programming_error_the_shift_and_the_growth_of_the_width_are_left(name):
    card, target = load_card(name), torch.full((40000,), load_card(name).range.max / 2, dtype=torch.float64)
    shift, law = card.drift.interpolate(2 * DAY_S)
    centre = target[:1] + (polynomial(shift, target[:1]) if any(shift) else 0.0)
    growth = float(law.std(centre) - programming_std(card, target[:1]))
    found = now(name, target, programming=False, time_s=2 * DAY_S).numpy()
    assert abs(growth) > 1e-3 * float(target[0])
    assert stats.kstest(found, stats.norm(float(centre), abs(growth)).cdf).pvalue > 0.01
    width = float(law.std(centre))
    assert stats.kstest(found, stats.norm(float(centre), width).cdf).pvalue < 1e-6  # control: not the whole width


@pytest.mark.parametrize("name", POWER_LAWS)
def test_of_a_power_law_the_decay_is_the_same_with_and_without_programming_error(name):
    target = middle(load_card(name))
    alone = now(name, target, programming=False, time_s=DAY_S) / target
    states = cell_states(load_card(name), target, draws(3), time_s=DAY_S)
    torch.testing.assert_close(alone, states.now / states.programmed, rtol=1e-12, atol=0)
    assert alone.std() > 1e-4
    other = now(name, target, seed=4, programming=False, time_s=DAY_S) / target
    assert not torch.allclose(alone, other, rtol=1e-6)  # control: another chip decays otherwise


@pytest.mark.parametrize("name", POWER_LAWS)
def test_of_a_power_law_alone_the_exponent_has_its_distribution(name):
    law, share = load_card(name).drift, load_card(name).range.max / 2
    mean, std = (clipped_log(line, share / law.reference) for line in (law.exponent_mean, law.exponent_std))
    time_s = law.t0_s * (math.e - 1.0)
    nu = -(now(name, torch.full((40000,), share, dtype=torch.float64), programming=False, time_s=time_s) / share).log()
    assert stats.kstest(nu.numpy(), stats.foldnorm(mean / std, scale=std).cdf).pvalue > 0.01
    assert stats.kstest(nu.numpy(), stats.foldnorm(mean / std, scale=1.2 * std).cdf).pvalue < 1e-6  # control


@pytest.mark.parametrize("name", LOGARITHMIC)
def test_of_a_logarithm_the_two_alone_add_up_to_both(name):
    target = middle(load_card(name), n=40000)
    both = now(name, target, time_s=DAY_S) - target
    programming = now(name, target, drift=False, time_s=DAY_S) - target
    drift = now(name, target, programming=False, time_s=DAY_S) - target
    torch.testing.assert_close(programming + drift, both, rtol=0, atol=1e-9 * float(target.max()))
    law, t_ln = load_card(name).drift, math.log(DAY_S)
    mean, std = law.mean_ln * t_ln, max(law.std_ln * t_ln + law.std_offset, 0.0)
    assert stats.kstest(drift.numpy(), stats.norm(mean, std).cdf).pvalue > 0.01
    assert stats.kstest(drift.numpy(), stats.norm(mean, 1.1 * std).cdf).pvalue < 1e-6  # control


@for_each("name", DRIFTING)
@for_each("switches", [{}, {"programming": False}, {"drift": False}, BOTH_OFF])
def test_stuck_cells_stay_stuck_and_are_the_same_cells(name, switches):
    card, target = load_card(name), middle(load_card(name))
    free = now(name, target, time_s=DAY_S, **switches)
    stuck = now(name, target, time_s=DAY_S, stuck=(0.1, 0.2), **switches)
    u = draws(3)("stuck", target)
    low, high = u < 0.1, u >= 0.8
    assert torch.equal(stuck[low], torch.full_like(stuck[low], card.range.min))
    assert torch.equal(stuck[high], torch.full_like(stuck[high], card.range.max))
    assert torch.equal(stuck[~low & ~high], free[~low & ~high])


@pytest.mark.parametrize("name", DRIFTING)
def test_the_switches_leave_targets_as_they_are(name):
    target = middle(load_card(name))
    before = target.clone()
    for switches in ({"programming": False}, {"drift": False}, BOTH_OFF):
        states = cell_states(load_card(name), target, draws(3), time_s=DAY_S, **switches)
        states.now.add_(1.0)
        assert torch.equal(target, before)


@given(
    name=st.sampled_from(card_names()),
    mapping=st.sampled_from(["one-sided", "two-sided", "offset"]),
    rows=st.integers(1, 7),
    columns=st.integers(1, 7),
    time_s=st.sampled_from([0.0, DAY_S]),
)
def test_a_crossbar_without_both_stands_for_the_weights(name, mapping, rows, columns, time_s):
    crossbar = Crossbar(name, mapping=mapping, stuck=(0.0, 0.0), **BOTH_OFF)
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows), dtype=torch.float64)
    cells = program_matrix(crossbar.device, crossbar.weights, matrix, layer_draws(Axes(0)), time_s=time_s)
    torch.testing.assert_close(read_back(crossbar.device, crossbar.weights, cells), matrix, rtol=1e-9, atol=1e-9)
