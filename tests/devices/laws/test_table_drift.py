"""Drift tables against independently computed float64 numbers: SONOS in linear time, Wan's RRAM in its logarithm."""

import math

import numpy as np
import pytest
import torch
from support.draws import draws, fixed
from support.for_each import for_each

from aimc_robust.devices.cell_model_checks import programming_std, read_std
from aimc_robust.devices.library import load_card
from aimc_robust.devices.states import cell_states

DAY_S = 86400.0
SONOS, WAN = load_card("sonos-agrawal2022"), load_card("rram-wan2022-drift")

# Shift [nA] in ascending powers of the current [nA], amplitude and constant [nA], by days: the fit published with
# CrossSim 3.2.0 (BSD-3, sandialabs/cross-sim) of Agrawal et al., IEDM 2022.
SHIFTS = {
    0: [0.0],
    1: [0.172684, 0.0572552, -0.000685715, 3.50271e-06, -9.37682e-09, 1.40575e-11, -1.19803e-14, 5.41293e-18,
        -8.85448e-22, -1.66869e-25, 5.9518e-29],
    2: [0.250712, 0.0662195, -0.000683218, 2.99442e-06, -6.78255e-09, 7.70482e-12, -3.04983e-15, -2.15919e-18,
        2.94617e-21, -1.23359e-24, 1.85329e-28],
    3: [-0.01753, 0.0976883, -0.000963791, 4.55551e-06, -1.22391e-08, 1.93786e-11, -1.85899e-14, 1.07659e-17,
        -3.58211e-21, 5.96785e-25, -3.3041e-29],
    4: [0.0403338, 0.103111, -0.0010474, 4.83961e-06, -1.28132e-08, 1.99484e-11, -1.85139e-14, 1.00008e-17,
        -2.84944e-21, 3.01008e-25, 1.18747e-29],
    5: [0.319927, 0.106596, -0.00104054, 4.5029e-06, -1.10352e-08, 1.56477e-11, -1.27592e-14, 5.45513e-18,
        -7.26841e-22, -2.43893e-25, 7.14608e-29],
}  # fmt: skip
AMPLITUDES = [19.88665, 25.59102, 28.72753, 31.04318, 33.76214, 34.57909]
CONSTANTS = [176.3115, 186.85544, 193.56834, 198.90332, 204.77023, 207.34309]
# quartic coefficients [uS] of g / 40 uS: aihwkit 1.2.0 (MIT, IBM/aihwkit), Wan et al., Nature 2022
WAN_AT = {
    1.0: [0.348, 16.03, -43.853, 45.393, -16.815],
    86400.0: [0.701, 22.086, -50.773, 47.095, -16.458],
    172800.0: [0.782, 20.274, -43.507, 37.062, -11.934],
}


def sonos(current, xi, days):
    """The aged current: rows before and after mixed in proportion."""
    before = min(int(days), 4)
    share = days - before
    padded = {day: np.pad(shift, (0, 11 - len(shift))) for day, shift in SHIFTS.items()}
    shift = (1 - share) * padded[before] + share * padded[before + 1]
    amplitude = (1 - share) * AMPLITUDES[before] + share * AMPLITUDES[before + 1]
    constant = (1 - share) * CONSTANTS[before] + share * CONSTANTS[before + 1]
    centre = current + sum(c * current**power for power, c in enumerate(shift))
    sigma = np.maximum(amplitude * (1 - np.exp(-centre / constant)), 0)
    return np.maximum(centre + sigma * xi, 0)


@for_each("days", [0, 0.3, 1, 2, 2.5, 4.999, 5, 7])
@for_each("xi", [-2.0, 0.0, 1.0])
def test_sonos_is_the_published_fit_at_every_time(days, xi):
    current = np.linspace(0, 1800, 721)
    draw = fixed(programming=torch.tensor(xi))
    aged = cell_states(SONOS, torch.from_numpy(current), draw, time_s=days * DAY_S).now
    np.testing.assert_allclose(aged.numpy(), sonos(current, xi, days), rtol=1e-9, atol=1e-7)


def test_sonos_in_float32_is_within_a_hundredth_of_a_nanoampere_or_so():
    current = torch.linspace(0, 1600, 5001)
    aged = cell_states(SONOS, current, fixed(programming=torch.tensor(1.0)), time_s=2.5 * DAY_S).now
    np.testing.assert_allclose(aged.numpy(), sonos(current.double().numpy(), 1.0, 2.5), rtol=0, atol=0.05)


@pytest.mark.parametrize("days", [0, 3])
def test_read_noise_of_sonos_follows_the_present_current(days):
    current = torch.linspace(0, 1600, 200, dtype=torch.float64)
    states = cell_states(SONOS, current, draws(1), time_s=days * DAY_S)
    expected = 12.58037 * (1 - np.exp(-states.now.numpy() / 215.36557))
    np.testing.assert_allclose(read_std(SONOS, states, time_s=days * DAY_S).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("time_s", [1.0, 86400.0, 172800.0])
def test_wan_at_its_tabulated_times_is_the_published_fit(time_s):
    target = np.linspace(0, 40, 81)
    sigma = sum(c * (target / 40.0) ** power for power, c in enumerate(WAN_AT[time_s]))
    draw = fixed(programming=torch.tensor(1.0))
    aged = cell_states(WAN, torch.from_numpy(target), draw, time_s=time_s).now
    np.testing.assert_allclose(aged.numpy() - target, sigma, rtol=1e-9, atol=1e-12)


def test_wan_does_not_inherit_the_defect_of_its_source():
    # aihwkit 1.2.0 at its default window takes 25 uS for 40: 0.0809 of g_max instead of 0.0506, 1.6 times too much
    assert float(programming_std(WAN, torch.tensor([20.0]))) / 40.0 == pytest.approx(0.0506, abs=5e-5)


def test_wan_in_between_is_mixed_in_the_logarithm_of_time():
    halfway = math.sqrt(1.0 * 86400.0)
    _, law = WAN.drift.interpolate(halfway)
    np.testing.assert_allclose(law.coefficients, (np.array(WAN_AT[1.0]) + WAN_AT[86400.0]) / 2, rtol=1e-12)
    _, linear = WAN.drift.model_copy(update={"interpolation": "linear"}).interpolate(halfway)
    assert not np.allclose(linear.coefficients, law.coefficients)


def test_beyond_the_last_row_the_last_two_are_extended():
    shift, law = SONOS.drift.interpolate(6 * DAY_S)
    np.testing.assert_allclose(shift, 2 * np.array(SHIFTS[5]) - SHIFTS[4], rtol=1e-9)
    assert law.amplitude == pytest.approx(2 * AMPLITUDES[5] - AMPLITUDES[4])


def test_a_constant_that_would_fall_below_0_makes_a_step_and_nothing_infinite():
    rows = [
        {"time_s": t, "std": {"kind": "saturating-exponential", "amplitude": 1.0, "constant": c}}
        for t, c in ((0.0, 2.0), (1.0, 1.0))
    ]
    drift = {"kind": "table", "limits_s": [0.0, 1.0], "at": rows}
    card = load_card(load_card("ideal").model_dump(exclude_none=True) | {"drift": drift})
    aged = cell_states(card, torch.tensor([0.0, 0.5]), fixed(programming=torch.tensor(1.0)), time_s=50.0).now
    torch.testing.assert_close(aged, torch.tensor([0.0, 1.5]))
