"""A fit finds the card that the measurements were simulated with."""

import numpy as np
import pandas as pd
import pytest
import torch
from support.device_oracle import Reference
from support.measurements import measure, noisy

from aimc_robust.devices.cell_model_checks import programming_std
from aimc_robust.devices.library import load_card
from aimc_robust.fitting.fit import fit_card
from aimc_robust.fitting.state_distribution import state_distribution
from aimc_robust.fitting.std_laws import std_at


def fit(device, **options):
    return fit_card(measure(device, **options), name="found", unit=load_card(device).unit)


def true_std(device, state):
    return programming_std(load_card(device), torch.tensor(state)).numpy()


def grid(found, share=0.03):
    low, high = found.card.range.min, found.card.range.max
    return np.linspace(low + share * (high - low), high - share * (high - low), 25)


@pytest.mark.parametrize(
    ("device", "targets"),
    [
        ("rram-milo2021", 0),
        ("rram-milo2021", 6),
        ("rram-wan2022", 0),
        ("sonos-agrawal2022", 0),
        ("pcm-nandakumar2019", 0),
        ("pcm-joshi2020", 16),
    ],
)
def test_the_programming_error_is_found_within_its_sampling_error(device, targets):
    found = fit(device, cells=4000, targets=targets)
    state = grid(found)
    # 4 standard errors of a law with p parameters: relative error of std about sqrt(p / 2n), up to twice at the ends
    relative = std_at(found.card.programming, state) / true_std(device, state) - 1.0
    assert np.abs(relative).max() < 4.0 * 2.0 * np.sqrt(5 / (2 * 4000))
    assert found.goodness.faults() == []
    assert found.warnings == ()


@pytest.mark.parametrize("seed", range(4))
def test_60_points_give_the_size_of_the_error(seed):
    found = fit("rram-milo2021", cells=60, seed=seed)
    state = grid(found, 0.25)
    relative = std_at(found.card.programming, state) / true_std("rram-milo2021", state) - 1.0
    assert np.abs(relative).max() < 4.0 * np.sqrt(2 / (2 * 60))
    assert found.goodness.faults() == []


def test_read_noise_is_told_apart_from_programming_error():
    found = fit("sonos-agrawal2022", reads=6)
    card, state = load_card("sonos-agrawal2022"), grid(found)
    # 10 000 degrees of freedom: the amplitude within 0.7 %, the constant, which the low states hang on, within 3 %
    assert std_at(found.card.read, state) == pytest.approx(std_at(card.read, state), rel=0.09)
    assert std_at(found.card.read, state[12:]) == pytest.approx(std_at(card.read, state[12:]), rel=0.03)
    assert std_at(found.card.programming, state) == pytest.approx(true_std("sonos-agrawal2022", state), rel=0.1)
    assert found.warnings == ()


def test_read_noise_that_grows_with_time_leaves_the_programming_error_right():
    rows = measure("reram-cmo-falcone2025-2pct", times_s=(0.0, 1e3, 1e6), reads=4)  # no read noise at time 0
    found = fit_card(rows, name="found")
    state = grid(found)
    true = true_std("reram-cmo-falcone2025-2pct", state)
    assert std_at(found.card.programming, state) == pytest.approx(true, rel=0.12)
    assert any("read noise changes with time, from 0.00 times" in warning for warning in found.warnings)


def test_without_repeats_the_programming_error_contains_read_noise():
    once = measure("sonos-agrawal2022", reads=2).iloc[:2000]
    found = fit_card(once, name="found", unit="nA")
    card, state = load_card("sonos-agrawal2022"), grid(found, 0.2)
    total = np.hypot(std_at(card.programming, state), std_at(card.read, state))
    assert std_at(found.card.programming, state) == pytest.approx(total, rel=0.1)
    assert found.card.read is None
    assert "No repeated reads" in found.card.source.note


def exponent_at(drift, name, target):
    part = getattr(drift, name)
    return np.clip(part.slope_ln * np.log(target / drift.reference) + part.offset, part.min, part.max)


@pytest.mark.slow
def test_a_power_law_is_found_with_its_exponents_and_start():
    times_s = (0.0, 10.0, 100.0, 1e3, 1e4, 1e5)
    found = fit("pcm-nandakumar2019", times_s=times_s, cells=1500, reads=6, window=(0.5, 25.0))
    law, truth = found.card.drift, load_card("pcm-nandakumar2019").drift
    assert law.kind == "power-law"
    assert law.t0_s == pytest.approx(20.0, rel=0.1)
    for target in (1.0, 5.0, 20.0):
        spread = exponent_at(truth, "exponent_std", target)
        nearby = 1500 * (min(2.0 * target, 25.0) - target / 2.0) / 24.5  # cells within a factor of 2
        error = 4.0 * spread / np.sqrt(nearby)
        assert exponent_at(law, "exponent_mean", target) == pytest.approx(
            exponent_at(truth, "exponent_mean", target), abs=error
        )
        assert exponent_at(law, "exponent_std", target) == pytest.approx(spread, abs=error)
    assert found.goodness.p_times > 0.01
    assert law.limits_s == (0.0, 1e5)


def test_a_power_law_counts_time_from_the_earliest_measurement():
    rows = measure("pcm-nandakumar2019", times_s=(0.0, 100.0, 1e3, 1e4), cells=600, window=(2.0, 25.0))
    rows["time_s"] += 20.0  # since the programming pulse: the card's t0_s
    found = fit_card(rows, name="found")
    assert found.card.drift.kind == "power-law"
    assert found.card.drift.t0_s == 20.0
    assert found.time_zero_s == 20.0
    assert "Time counts from the earliest measurement, 20 s after programming" in found.card.source.note
    assert found.goodness.p_times > 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("device", "times_s"),
    [("rram-wan2022-drift", (1.0, 86400.0, 172800.0)), ("sonos-agrawal2022", (0.0, 86400.0, 432000.0))],
)
def test_a_table_of_drift_is_found_row_by_row(device, times_s):
    found = fit(device, times_s=times_s, cells=4000)
    assert found.card.drift.kind == "table"
    assert [row.time_s for row in found.card.drift.at] == list(times_s)
    assert found.card.drift.interpolation == load_card(device).drift.interpolation
    state = grid(found, 0.06)
    for time_s in times_s:
        truth = [Reference(load_card(device), float(target), time_s).moments() for target in state]
        true_mean, true_width = np.array([m for m, _ in truth]), np.sqrt([v for _, v in truth])
        mean, std = state_distribution(found.card, state, time_s).moments()
        assert std == pytest.approx(true_width, rel=0.09)
        assert np.abs(mean - true_mean).max() < 0.25 * true_width.max()


def test_cells_that_do_not_age_get_no_drift():
    rows = measure("rram-milo2021", times_s=(0.0,))
    later = rows.assign(time_s=3600.0)
    assert fit_card(pd.concat([rows, later], ignore_index=True), name="found").card.drift is None


def test_stuck_cells_are_counted_and_left_out_of_the_laws():
    rows = noisy(lambda t: 0.5 + 0.0 * t, cells=2000)
    rng = np.random.default_rng(5)
    stuck = rng.random(2000) < 0.02
    rows.loc[stuck, "measured"] = 10.0 + np.abs(rng.normal(size=stuck.sum())) * 0.2
    found = fit_card(rows, name="found")
    assert found.card.stuck.low == pytest.approx(0.02, abs=0.01)
    assert found.card.stuck.high == 0.0
    assert found.stuck[0] == pytest.approx(stuck.sum(), abs=4)
    assert std_at(found.card.programming, np.array([50.0]))[0] == pytest.approx(0.5, rel=0.08)
    assert any("stay at the low" in warning for warning in found.warnings)


def test_states_cut_off_at_0_do_not_narrow_the_error():
    rows = noisy(lambda t: 5.0 + 0.0 * t, cells=4000, low=0.0, high=20.0)
    assert (rows["measured"] == 0).mean() > 0.05
    found = fit_card(rows, name="found")
    assert std_at(found.card.programming, np.array([0.5, 10.0, 19.0])) == pytest.approx(5.0, rel=0.06)
    assert found.goodness.faults() == []
