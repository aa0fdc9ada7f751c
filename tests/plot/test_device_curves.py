"""Curves of devices are the formulas of their cards, with units."""

import numpy as np
import pytest

from aimc_robust import Crossbar, load_card, plot
from aimc_robust.devices.curves import drift_curves, read_curve
from aimc_robust.errors import InputError, UnknownNameError


def test_the_programming_error_follows_the_card(ax):
    assert plot.programming_error("pcm-joshi2020", ax) is ax
    state, std = ax.lines[0].get_data()
    assert (state[0], state[-1]) == load_card("pcm-joshi2020").window
    np.testing.assert_allclose(std, 0.28638599 + 0.07585724 * state - 0.00178767 * state**2, rtol=1e-12)
    assert ax.get_xlabel() == "target conductance [µS]"
    assert ax.get_ylabel() == "standard deviation [µS]"


def test_of_a_crossbar_the_window_is_shaded(ax):
    plot.programming_error(Crossbar("sonos-agrawal2022"), ax)
    (window,) = ax.patches
    low, high = Crossbar("sonos-agrawal2022").device.programming_window
    assert (window.get_x(), window.get_x() + window.get_width()) == (low, high)
    assert ax.get_xlabel() == "target current [nA]"


def test_read_noise_has_a_curve_for_each_time(ax):
    card = load_card("pcm-nandakumar2019")
    plot.read_noise(card, ax)
    labels = [line.get_label() for line in ax.lines]
    assert labels == ["1 s after programming", "1 d after programming", "1 y after programming"]
    np.testing.assert_allclose(ax.lines[1].get_ydata(), read_curve(card, 200, time_s=86400.0).std.numpy())


def test_drift_is_the_distance_from_the_target_with_a_band_of_one_deviation(ax):
    plot.drift("sonos-agrawal2022", ax)
    assert [line.get_label() for line in ax.lines[:3]] == ["target 160 nA", "target 800 nA", "target 1600 nA"]
    times, distance = ax.lines[2].get_data()
    expected = drift_curves(load_card("sonos-agrawal2022"), [times[-1]])
    mean, std = float(expected.mean[0, 2]) - 1600.0, float(expected.std[0, 2])
    assert distance[-1] == pytest.approx(mean)
    ends = [y for path in ax.collections[2].get_paths() for x, y in path.vertices if x == times[-1]]
    assert (min(ends), max(ends)) == pytest.approx((mean - std, mean + std))
    assert ax.get_ylabel() == "current − target [nA]"
    assert ax.get_xscale() == "log"


def test_what_a_device_does_not_have_is_refused():
    with pytest.raises(InputError, match="ideal has no drift; draw its programming_error"):
        plot.drift("ideal")
    with pytest.raises(InputError, match="ideal has no read noise"):
        plot.read_noise("ideal")
    with pytest.raises(UnknownNameError, match="unknown device 'sonos'"):
        plot.programming_error("sonos")
