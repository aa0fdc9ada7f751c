"""Mean and variance over cells: closed forms of clipped errors, and every card against simulated cells."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from support.draws import draws
from support.moments import state_moments

from aimc_robust.devices.cell_model_checks import programming_std
from aimc_robust.devices.library import card_names, load_card
from aimc_robust.devices.moments import integrated_moments, moment_table
from aimc_robust.devices.states import cell_states

CELLS = 60_000


def window_of(card):
    return torch.linspace(card.range.min, card.range.max, 23, dtype=torch.float64)


def times_of(card):
    return [0.0] if card.drift is None else [0.0, 3600.0, card.drift.limits_s[1]]


CASES = [(name, t) for name in card_names() for t in times_of(load_card(name))]


def simulated(card, target, time_s, **settings):
    """Moments over drawn cells, with their standard errors."""
    now = cell_states(card, target.expand(CELLS, -1).clone(), draws(3), time_s=time_s, **settings).now
    mean, variance = now.mean(0), now.var(0)
    fourth = (now - mean).pow(4).mean(0)
    return mean, variance, (variance / CELLS).sqrt(), ((fourth - variance.square()).clamp(min=0) / CELLS).sqrt()


def worst(found, card, target, time_s, **settings):
    """Greatest distance from simulated cells in standard errors, of the mean and of the variance."""
    mean, variance, mean_error, variance_error = simulated(card, target, time_s, **settings)
    tiny = 1e-9 * card.range.max
    slack = 1e-4 * mean.abs(), 2e-3 * variance  # what interpolation may be off by
    off = ((found.mean - mean).abs() - slack[0]).clamp(min=0) / (mean_error + tiny)
    off_variance = ((found.variance - variance).abs() - slack[1]).clamp(min=0) / (variance_error + tiny**2)
    return float(off.max()), float(off_variance.max())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "time_s"), CASES)
def test_the_moments_are_those_of_simulated_cells(name, time_s):
    card = load_card(name)
    found = state_moments(card, window_of(card), time_s=time_s)
    assert max(worst(found, card, window_of(card), time_s)) < 4.5


def test_the_check_fails_for_another_time_scale_and_law():
    card = load_card("rram-wan2022-drift")
    target = window_of(card)
    for found in (
        state_moments(card, target, time_s=0.0),
        state_moments(card, target, time_s=3600.0, error_scale=1.1),
        state_moments(load_card("pcm-nandakumar2019"), target, time_s=3600.0),
    ):
        assert max(worst(found, card, target, 3600.0)) > 10


@pytest.mark.parametrize(
    "settings",
    [
        {"error_scale": 2.5},
        {"error_scale": 0.0},
        {"stuck": (0.1, 0.2)},
        {"window": (5.0, 20.0), "stuck": (0.3, 0.0)},
        {"programming": False},
        {"drift": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["pcm-nandakumar2019", "rram-wan2022-drift"])
def test_every_setting_acts_as_in_simulated_cells(name, settings):
    card = load_card(name)
    low, high = settings.get("window", (card.range.min, card.range.max))
    target = torch.linspace(low, high, 9, dtype=torch.float64)
    found = state_moments(card, target, time_s=3600.0, **settings)
    assert max(worst(found, card, target, 3600.0, **settings)) < 4.5


@pytest.mark.parametrize("name", ["pcm-joshi2020", "rram-milo2021", "sonos-agrawal2022"])
def test_a_clipped_normal_error_has_its_closed_form(name):
    card = load_card(name)
    target = window_of(card)[1:]
    std = programming_std(card, target)
    a = (target / std).numpy()
    mean = target.numpy() * stats.norm.cdf(a) + std.numpy() * stats.norm.pdf(a)
    square = (target**2 + std**2).numpy() * stats.norm.cdf(a) + (target * std).numpy() * stats.norm.pdf(a)
    for found in (integrated_moments(card, target), state_moments(card, target)):
        assert found.mean.numpy() == pytest.approx(mean, rel=1e-4)
        assert found.variance.numpy() == pytest.approx(square - mean**2, rel=3e-4)


def test_stuck_cells_are_mixed_in_exactly():
    card = load_card("ideal")
    target = torch.tensor([0.3, 0.8], dtype=torch.float64)
    found = integrated_moments(card, target, stuck=(0.25, 0.5))
    values = torch.stack([target, torch.zeros(2).double(), torch.ones(2).double()])
    share = torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64)
    mean = share @ values
    torch.testing.assert_close(found.mean, mean)
    torch.testing.assert_close(found.variance, share @ (values - mean).square())


@given(
    shape=st.lists(st.integers(0, 4), max_size=3),
    dtype=st.sampled_from([torch.float16, torch.float32, torch.float64]),
)
def test_any_shape_comes_back_element_by_element(shape, dtype):
    card = load_card("rram-wan2022")
    target = torch.rand(shape, generator=torch.Generator().manual_seed(0)).mul(38).add(1).to(dtype)
    found = state_moments(card, target)
    kind = torch.promote_types(dtype, torch.float32)
    assert all(part.shape == target.shape and part.dtype == kind for part in found)
    table = moment_table(card)
    for index, value in enumerate(target.flatten()):
        one = table.at(value)
        assert float(found.mean.flatten()[index]) == pytest.approx(float(one.mean), rel=1e-5)


def test_the_targets_and_global_random_numbers_are_left_alone():
    target, state = torch.linspace(1, 39, 7), torch.get_rng_state()
    before = target.clone()
    state_moments(load_card("rram-wan2022"), target)
    assert torch.equal(target, before)
    assert torch.equal(state, torch.get_rng_state())
