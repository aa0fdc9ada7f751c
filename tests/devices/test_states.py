"""Programmed and aged states: what is drawn, how it is spread, what stays the same over time."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from support.draws import draws, fixed

from aimc_robust.devices.card import Card
from aimc_robust.devices.cell_model_checks import programming_std, read_std
from aimc_robust.devices.library import card_names, load_card
from aimc_robust.devices.states import cell_states
from aimc_robust.errors import InputError

DRIFTING = [name for name in card_names() if load_card(name).drift is not None]
DAY_S = 86400.0


def edited(name, **tables):
    """A library card with other tables; None takes one out."""
    values = load_card(name).model_dump(exclude_none=True) | tables
    return load_card({key: value for key, value in values.items() if value is not None})


UNIFORM = load_card("independent-uniform")
NORMAL = load_card("independent-gaussian")
PCM = load_card("pcm-nandakumar2019")


@pytest.mark.parametrize("name", card_names())
def test_at_time_0_only_the_programming_error_is_drawn_and_both_states_are_one(name):
    calls = []
    card = load_card(name)
    target = torch.linspace(card.range.min, card.range.max, 50)
    before = target.clone()
    states = cell_states(card, target, draws(1, calls))
    assert states.now is states.programmed
    assert calls == ["programming-uniform" if card.programming.distribution == "uniform" else "programming"]
    assert torch.equal(target, before)


@pytest.mark.parametrize("name", DRIFTING)
def test_targets_and_draws_are_left_as_they_are(name):
    card = load_card(name)
    target = torch.linspace(card.range.min, card.range.max, 50)
    kept = {effect: torch.randn(50, generator=torch.Generator().manual_seed(1)) for effect in ("programming", "drift")}
    copies = [target.clone(), *[tensor.clone() for tensor in kept.values()]]
    cell_states(card, target, fixed(**kept), time_s=DAY_S)
    assert all(torch.equal(a, b) for a, b in zip([target, *kept.values()], copies, strict=True))


@pytest.mark.parametrize("name", DRIFTING)
def test_each_effect_is_drawn_once(name):
    calls = []
    cell_states(load_card(name), torch.full((3, 4), 10.0), draws(1, calls), time_s=DAY_S, stuck=(0.1, 0.1))
    assert len(calls) == len(set(calls))
    assert "stuck" in calls
    assert ("drift" in calls) == (load_card(name).drift.kind != "table")


class TestPresentStatesOnly:
    @pytest.mark.parametrize("options", [{}, {"programming": False}, {"error_scale": 0.5, "stuck": (0.1, 0.2)}])
    @pytest.mark.parametrize("time_s", [0.0, 0.5, DAY_S])
    @pytest.mark.parametrize("name", DRIFTING)
    def test_they_are_those_that_are_computed_with_the_programmed_ones(self, name, time_s, options):
        card = load_card(name)
        target = torch.linspace(card.range.min, card.range.max, 500)
        both = cell_states(card, target.clone(), draws(3), time_s=time_s, **options)
        only = cell_states(card, target, draws(3), time_s=time_s, now_only=True, **options)
        assert torch.equal(only.now, both.now)
        assert only.programmed is only.now
        assert torch.equal(target, torch.linspace(card.range.min, card.range.max, 500))  # not modified

    @pytest.mark.parametrize(("name", "computed"), [("sonos-agrawal2022", 0), ("pcm-joshi2020", 1)])
    def test_programmed_states_are_computed_if_the_drift_uses_them(self, name, computed, monkeypatch):
        stds = []
        original = Card.programming_std
        monkeypatch.setattr(Card, "programming_std", lambda card, target: stds.append(1) or original(card, target))
        cell_states(load_card(name), torch.full((4,), 10.0), draws(1), time_s=DAY_S, now_only=True)
        assert len(stds) == computed


class TestLifetimes:
    @pytest.mark.parametrize("name", DRIFTING)
    def test_the_programming_error_is_not_drawn_again_later(self, name):
        card = load_card(name)
        target = torch.linspace(card.range.min, card.range.max, 500)
        first = cell_states(card, target, draws(3)).programmed
        for time_s in (2.0, 3600.0, DAY_S):
            assert torch.equal(cell_states(card, target, draws(3), time_s=time_s).programmed, first)
        assert not torch.equal(cell_states(card, target, draws(4)).programmed, first)

    def test_a_power_law_cell_keeps_its_exponent(self):
        target = torch.linspace(1.0, 25.0, 400, dtype=torch.float64)
        slopes = []
        for time_s in (1.0, 60.0, 3600.0, DAY_S, 30 * DAY_S):
            states = cell_states(PCM, target, draws(5), time_s=time_s)
            slopes.append((states.now / states.programmed).log() / math.log((time_s + 20.0) / 20.0))
        for slope in slopes[1:]:
            torch.testing.assert_close(slope, slopes[0], rtol=1e-9, atol=1e-12)
        assert slopes[0].std() > 0.005  # control: cells differ
        other = cell_states(PCM, target, draws(6), time_s=60.0)
        assert not torch.allclose((other.now / other.programmed).log() / math.log(4.0), slopes[1])

    @pytest.mark.parametrize("name", ["sonos-agrawal2022", "rram-wan2022-drift"])
    def test_a_cell_of_a_table_keeps_its_place_in_the_distribution(self, name):
        card = load_card(name)
        target = torch.full((2000,), card.range.max / 2, dtype=torch.float64)
        early = cell_states(card, target, draws(5)).now
        late = cell_states(card, target, draws(5), time_s=2 * DAY_S).now
        assert torch.equal(early.argsort(), late.argsort())
        assert late.std() > 1.2 * early.std()  # control: it does age

    def test_a_logarithmic_cell_moves_along_one_line_in_the_logarithm_of_time(self):
        card = load_card("reram-cmo-falcone2025")
        target = torch.linspace(30.0, 70.0, 300, dtype=torch.float64)
        now = [cell_states(card, target, draws(5), time_s=math.exp(x)).now for x in (0.0, 4.0, 8.0, 12.0)]
        steps = [b - a for a, b in itertools.pairwise(now)]
        for step in steps[1:]:
            torch.testing.assert_close(step, steps[0], rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("time_s", [0.01, 0.5, 1.0])
    def test_the_first_second_of_a_logarithm_is_its_first_point(self, time_s):
        card = load_card("reram-cmo-falcone2025")
        target = torch.linspace(30.0, 70.0, 300)
        states = cell_states(card, target, draws(5), time_s=time_s)
        eta = draws(5)("drift", target)
        torch.testing.assert_close(states.now, states.programmed + 0.41183342 * eta)

    def test_a_table_in_its_first_second_is_the_programming_error(self):
        card = load_card("rram-wan2022-drift")
        target = torch.linspace(1.0, 40.0, 300)
        early = cell_states(card, target, draws(5), time_s=1.0)
        assert early.now is early.programmed
        later = cell_states(card, target, draws(5), time_s=1.001)
        torch.testing.assert_close(later.now, early.now, rtol=1e-3, atol=1e-3)


class TestDistributions:
    @pytest.mark.parametrize(
        ("card", "shape", "wrong"),
        [
            (NORMAL, stats.norm(0.5, 0.05), stats.uniform(0.5 - 0.05 * 3**0.5, 0.1 * 3**0.5)),
            (UNIFORM, stats.uniform(0.5 - 0.05 * 3**0.5, 0.1 * 3**0.5), stats.norm(0.5, 0.05)),
            (UNIFORM, stats.uniform(0.5 - 0.05 * 3**0.5, 0.1 * 3**0.5), stats.uniform(0.45, 0.1)),
        ],
    )
    def test_the_error_has_the_stated_shape_and_no_other(self, card, shape, wrong):
        states = cell_states(card, torch.full((20000,), 0.5, dtype=torch.float64), draws(2)).now
        assert stats.kstest(states.numpy(), shape.cdf).pvalue > 0.01
        assert stats.kstest(states.numpy(), wrong.cdf).pvalue < 1e-6

    @pytest.mark.parametrize("name", ["proportional-gaussian", "proportional-uniform"])
    def test_a_proportional_error_grows_with_the_state(self, name):
        target = torch.tensor([0.0, 0.2, 0.8], dtype=torch.float64).expand(40000, 3)
        states = cell_states(load_card(name), target, draws(2)).now
        torch.testing.assert_close(states.std(0), torch.tensor([0.0, 0.01, 0.04]).double(), rtol=0.02, atol=0)

    def test_the_exponent_is_that_of_the_fit(self):
        for share, mean, std in ((0.1, 0.06009006894140711, 0.02288231366242557), (1.0, 0.049, 0.008)):
            target = torch.full((100000,), 25.0 * share, dtype=torch.float64)
            states = cell_states(PCM, target, draws(9), time_s=20.0 * (math.e - 1.0))  # (t + t0) / t0 = e
            nu = -(states.now / states.programmed).log()
            normal = stats.norm(mean, std)
            folded = stats.foldnorm(mean / std, scale=std)
            assert stats.kstest(nu.numpy(), folded.cdf).pvalue > 0.01
            assert stats.kstest(nu.numpy() * 1.05, normal.cdf).pvalue < 1e-6  # control

    @pytest.mark.parametrize("stuck", [(0.1, 0.0), (0.0, 0.2), (0.3, 0.1), (0.5, 0.5), (1.0, 0.0)])
    def test_stuck_cells_stand_at_the_ends_of_the_window_at_every_time(self, stuck):
        target = torch.full((50000,), 12.0)
        window = (2.0, 20.0)
        fresh = cell_states(PCM, target, draws(3), window=window, stuck=stuck)
        aged = cell_states(PCM, target, draws(3), window=window, stuck=stuck, time_s=DAY_S)
        for end, fraction in zip(window, stuck, strict=True):
            found = fresh.programmed == end
            assert torch.equal(found, aged.programmed == end)
            assert torch.equal(found, aged.now == end)
            assert abs(found.double().mean() - fraction) <= 5 * math.sqrt(fraction * (1 - fraction) / 50000)

    def test_the_cards_own_stuck_fractions_hold_unless_others_are_given(self):
        card = edited("ideal", stuck={"low": 0.25, "high": 0.25})
        target = torch.full((20000,), 0.5)
        own = cell_states(card, target, draws(3)).now
        assert abs((own == 0.0).double().mean() - 0.25) < 0.02
        assert abs((own == 1.0).double().mean() - 0.25) < 0.02
        assert torch.equal(cell_states(card, target, draws(3), stuck=(0.0, 0.0)).now, target)


class TestScaleAndClip:
    @pytest.mark.parametrize("name", card_names())
    def test_without_error_a_fresh_cell_stands_at_its_target(self, name):
        card = load_card(name)
        target = torch.linspace(card.range.min, card.range.max, 50)
        assert torch.equal(cell_states(card, target, draws(1), error_scale=0.0).now, target)

    def test_the_scale_acts_on_the_error_of_a_table_but_not_on_its_shift(self):
        card = load_card("sonos-agrawal2022")
        target = torch.linspace(200.0, 1600.0, 50, dtype=torch.float64)
        none, half, whole = (
            cell_states(card, target, draws(1), time_s=DAY_S, error_scale=scale).now for scale in (0.0, 0.5, 1.0)
        )
        torch.testing.assert_close(half - none, 0.5 * (whole - none))
        assert ((none - target).abs() > 0.5).any()

    def test_clipping_to_the_window_or_at_0(self):
        wide = {"kind": "polynomial", "coefficients": [5.0]}
        target = torch.linspace(0.0, 1.0, 1000)
        free = cell_states(edited("ideal", programming=wide), target, draws(1)).now
        assert free.min() == 0
        assert free.max() > 2
        kept = cell_states(edited("ideal", programming=wide | {"clip": "window"}), target, draws(1), window=(0.2, 0.9))
        assert kept.now.aminmax() == (pytest.approx(0.2), pytest.approx(0.9))

    @pytest.mark.parametrize("stuck", [(-0.1, 0.0), (0.0, 1.1), (0.6, 0.6), (float("nan"), 0.0)])
    def test_impossible_fractions_are_refused(self, stuck):
        with pytest.raises(InputError, match="stuck"):
            cell_states(PCM, torch.ones(3), draws(1), stuck=stuck)

    @pytest.mark.parametrize("time_s", [-1.0, float("nan"), float("inf"), True, "1 day"])
    def test_impossible_times_are_refused(self, time_s):
        with pytest.raises(InputError, match="time_s"):
            cell_states(PCM, torch.ones(3), draws(1), time_s=time_s)


@given(
    shape=st.lists(st.integers(0, 4), max_size=4),
    name=st.sampled_from(card_names()),
    time_s=st.sampled_from([0.0, 1.0, 100.0, 2 * DAY_S]),
    stuck=st.sampled_from([(0.0, 0.0), (0.2, 0.3)]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_any_shape_is_programmed_cell_by_cell(shape, name, time_s, stuck, dtype):
    card = load_card(name)
    target = torch.linspace(card.range.min, card.range.max, math.prod(shape), dtype=dtype).reshape(shape)
    states = cell_states(card, target, draws(1), time_s=time_s, stuck=stuck)
    flat = cell_states(card, target.reshape(-1), draws(1), time_s=time_s, stuck=stuck)
    for state, of_flat in zip(states, flat, strict=True):
        assert state.dtype == dtype
        torch.testing.assert_close(state, of_flat.reshape(shape))
    assert read_std(card, states, time_s=time_s).shape == target.shape
    assert programming_std(card, target).shape == target.shape
