"""Lines, bands, strokes and steps are those of the estimates."""

import math

import numpy as np
import pytest
from matplotlib.collections import PolyCollection

from aimc_robust import EvaluationGrid, plot
from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.statistics.binomial import clopper_pearson

HOUR, DAY = 3600.0, 86400.0


@pytest.fixture
def grid(estimate):
    values = {0.0: [90.0, 92.0, 91.0], HOUR: [88.0, 91.0, 89.5], DAY: [80.0, 86.0, 85.0]}
    rows = {("rram", t): estimate(v) for t, v in values.items()}
    return EvaluationGrid(rows | {("digital", t): estimate([95.0]) for t in values})


def band_at(band, x):
    """Lowest and highest y of a band at x."""
    ends = [y for path in band.get_paths() for at, y in path.vertices if at == x]
    return min(ends), max(ends)


def test_a_line_of_means_and_a_band_of_intervals_over_time(grid, ax):
    assert plot.over_time(grid, ax) is ax
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(lines["rram"].get_xdata(), [0.0, HOUR, DAY])
    np.testing.assert_allclose(lines["rram"].get_ydata(), [91.0, 89.5, (80 + 86 + 85) / 3])
    np.testing.assert_allclose(lines["digital"].get_ydata(), [95.0] * 3)
    rram, digital = (found for found in ax.collections if isinstance(found, PolyCollection))
    for time_s in (0.0, HOUR, DAY):
        assert band_at(rram, time_s) == pytest.approx(grid["rram", time_s].ci)
        assert band_at(digital, time_s) == (95.0, 95.0)  # no interval: the mean alone
    assert ax.get_ylabel() == "accuracy [%]"
    assert ax.get_xlabel() == "time since programming"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["rram", "digital"]


def test_a_band_of_the_chips_ends_at_their_quantiles(grid, ax):
    plot.over_time(grid, ax, band="chips", legend=False)
    ends = (grid["rram", DAY].quantile(0.05), grid["rram", DAY].quantile(0.95))
    assert band_at(ax.collections[0], DAY) == pytest.approx(ends)
    assert ax.get_legend() is None


def test_the_axis_of_time_has_its_zero_and_ticks_where_they_have_room(estimate, ax):
    times = [0.0, 1.0, HOUR, DAY, 2 * DAY, 365 * DAY]
    plot.over_time({("rram", t): estimate([90.0, 91.0]) for t in times}, ax)
    ax.figure.canvas.draw()
    shown = [tick.get_text() for tick in ax.get_xticklabels()]
    assert shown == ["0", "1 s", "1 h", "2 d", "1 y"]  # 1 d is too close to 2 d
    places = ax.transData.transform([(t, 90.0) for t in times])[:, 0]
    assert (np.diff(places) > 0).all()
    assert places[1] - places[0] > 20


def test_times_need_not_begin_at_zero_and_may_be_one(estimate, ax):
    plot.over_time({("rram", HOUR): estimate([90.0, 91.0]), ("rram", DAY): estimate([80.0, 81.0])}, ax)
    assert ax.get_xscale() == "log"
    alone = plot.over_time({("rram", 0.0): estimate([90.0, 91.0])})
    alone.figure.canvas.draw()
    assert [tick.get_text() for tick in alone.get_xticklabels()] == ["0"]


def test_every_chip_is_a_stroke_beside_mean_and_interval(estimate, ax):
    shown = {"SGD": estimate([70.0, 74.0, 75.0]), "RWP": estimate([80.0, 82.0, 81.5])}
    plot.estimates(shown, ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["SGD", "RWP"]
    strokes = [line for line in ax.lines if line.get_marker() == "|" and len(line.get_xdata()) == 3]
    np.testing.assert_allclose([line.get_xdata() for line in strokes], [[70, 74, 75], [80, 82, 81.5]])
    bars = next(found for found in ax.collections if found.get_label() != "")
    ends = [segment[:, 0].tolist() for segment in bars.get_segments()]
    np.testing.assert_allclose(ends, [shown["SGD"].ci, shown["RWP"].ci])
    assert ax.get_xlabel() == "accuracy [%]"


def test_a_yield_curve_is_the_share_of_chips_at_least_as_good(estimate, ax):
    values = [70.0, 74.0, 74.0, 80.0]
    plot.yields({"SGD": estimate(values)}, ax, threshold=72.0)
    curve, mark = ax.lines
    assert curve.get_drawstyle() == "steps-pre"  # the share of the next value to the right
    at, share = curve.get_data()
    for threshold in (60.0, 70.0, 72.0, 74.0, 79.9, 80.0):
        step = share[np.searchsorted(at, threshold)] if threshold >= at[0] else share[0]
        assert step == 100.0 * np.mean(np.array(values) >= threshold)
    assert share[-1] == 0.0
    assert mark.get_xdata()[0] == 72.0
    low, high = (100.0 * end for end in clopper_pearson(3, 4))
    assert any(
        np.isclose(path.vertices[:, 1], low).any() and np.isclose(path.vertices[:, 1], high).any()
        for path in ax.collections[0].get_paths()
    )
    assert ax.get_ylabel() == "chips that are at least as good [%]"


def test_of_lower_values_that_are_better_the_curve_rises(estimate, perplexity, ax):
    plot.yields({"a": estimate([10.0, 12.0, 20.0, 30.0], perplexity)}, ax)
    (curve,) = ax.lines
    assert curve.get_drawstyle() == "steps-post"
    at, share = curve.get_data()
    assert share[np.searchsorted(at, 15.0, side="right") - 1] == 50.0
    assert (share[0], share[-1]) == (0.0, 100.0)
    assert ax.get_xlabel() == "perplexity, lower is better"


def test_models_weigh_the_same_and_names_have_times(estimate, grid):
    two = plot.yields({"a": estimate([[70.0, 80.0], [90.0, 90.0]])})
    at, share = two.lines[0].get_data()
    assert share[np.searchsorted(at, 80.0)] == 75.0
    shown = plot.yields(grid)
    assert [text.get_text() for text in shown.get_legend().get_texts()][:3] == ["rram", "rram, 1 h", "rram, 1 d"]


def test_a_threshold_beyond_all_chips_is_within_the_axis(estimate, ax):
    plot.yields({"a": estimate([70.0, 80.0])}, ax, threshold=95.0)
    assert ax.get_xlim()[1] > 95.0


@pytest.mark.parametrize("draw", [plot.over_time, plot.estimates, plot.yields])
def test_what_holds_no_estimates_is_refused(draw, estimate, perplexity):
    with pytest.raises(InputError, match="not empty"):
        draw({})
    with pytest.raises(InputError, match="got float"):
        draw({("a", 0.0): 93.0})
    mixed = {("a", 0.0): estimate([90.0, 91.0]), ("a", 1.0): estimate([9.0, 8.0], perplexity)}
    with pytest.raises(InputError, match="accuracy and perplexity; draw one metric at a time"):
        draw(mixed)


def test_keys_of_another_form_are_refused(estimate):
    known = estimate([90.0, 91.0])
    for key in ("rram", ("rram", -1.0), ("rram", math.inf), ("rram", "1d")):
        with pytest.raises(InputError, match="over_time takes a mapping"):
            plot.over_time({key: known})
    with pytest.raises(InputError, match="for times use over_time"):
        plot.estimates({("rram", 0.0): known})
    with pytest.raises(InputError, match="threshold"):
        plot.yields({"a": known}, threshold=math.nan)
    with pytest.raises(UnknownNameError, match="band"):
        plot.over_time({("rram", 0.0): known}, band="sd")
