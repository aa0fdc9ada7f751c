"""A waterfall adds up to the whole loss; contours are those of the losses, the first direction to the right."""

import math

import numpy as np
import pandas as pd
import pytest

from aimc_robust import Attribution, plot
from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.statistics.primary_metric import ACCURACY


def attribution(costs, ideal=95.0, crossbar=85.0, metric=ACCURACY, kind="source"):
    rows = [{"kind": kind, "name": name, "cost_alone": cost} for name, cost in costs.items()]
    return Attribution(metric, ideal, crossbar, 4, pd.DataFrame(rows))


def bars(ax):
    return [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches]


def test_every_bar_begins_where_the_one_above_ends_and_the_last_is_the_whole_loss(ax):
    assert plot.waterfall(attribution({"programming": 6.0, "drift": 3.0, "adc": -0.5}), ax=ax) is ax
    np.testing.assert_allclose(bars(ax), [(0, 6), (6, 9), (9, 8.5), (8.5, 10), (0, 10)])
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["programming", "drift", "adc", "acting together", "all errors\n95.00 to 85.00 %"]
    assert [text.get_text() for text in ax.texts] == ["+6.00", "+3.00", "-0.50", "+1.50", "10.00"]
    assert ax.get_xlabel() == "points of accuracy lost"
    gain, cost = ax.patches[2].get_facecolor(), ax.patches[0].get_facecolor()
    assert gain != cost


def test_errors_that_mask_each_other_go_back(ax):
    plot.waterfall(attribution({"a": 8.0, "b": 7.0}), ax=ax)
    assert bars(ax)[2] == pytest.approx((15.0, 10.0))


def test_of_many_layers_the_cheapest_are_one_bar(ax):
    costs = {f"layer{i}": 3.0 - 0.1 * i for i in range(20)}
    plot.waterfall(attribution(costs, kind="layer"), "layer", ax)
    assert len(ax.patches) == 12 + 2
    start, end = bars(ax)[11]
    assert ax.get_yticklabels()[11].get_text() == "9 other layers"
    assert end - start == pytest.approx(sum(list(costs.values())[11:]))
    assert end == pytest.approx(sum(costs.values()))


def test_of_a_metric_that_is_better_low_the_loss_is_a_rise(ax, perplexity):
    plot.waterfall(attribution({"drift": 2.0}, ideal=10.0, crossbar=13.0, metric=perplexity), ax=ax)
    np.testing.assert_allclose(bars(ax), [(0, 2), (2, 3), (0, 3)])
    assert ax.get_xlabel() == "rise of the perplexity"


def test_an_attribution_of_another_kind_is_refused():
    with pytest.raises(InputError, match="per_layer=True"):
        plot.waterfall(attribution({"drift": 1.0}), "layer")
    with pytest.raises(UnknownNameError, match="kind"):
        plot.waterfall(attribution({"drift": 1.0}), "device")
    with pytest.raises(InputError, match="attribution must be what attribute"):
        plot.waterfall({"drift": 1.0})


def test_contours_have_the_first_direction_to_the_right(ax, monkeypatch):
    seen = []
    contourf = type(ax).contourf
    monkeypatch.setattr(
        type(ax), "contourf", lambda axes, *given, **how: seen.append(given) or contourf(axes, *given, **how)
    )
    losses = np.array([[1.0, 1.0], [5.0, 9.0]])  # rises along the first
    assert plot.landscape(losses, 0.5, ax, colorbar=False) is ax
    across, up, values, levels = seen[0]
    assert (across, up) == ([-0.5, 0.5], [-0.5, 0.5])
    np.testing.assert_allclose(values, losses.T)
    assert (levels[0], levels[-1]) == pytest.approx((1.0, 9.0))
    assert ax.get_xlabel() == "along the first direction"
    assert ax.lines[0].get_xydata().tolist() == [[0.0, 0.0]]


def test_a_bar_shows_the_losses(ax):
    plot.landscape([[0.1, 1.0], [math.nan, 2.0]], ax=ax)
    (bar,) = [other for other in ax.figure.axes if other is not ax]
    assert bar.get_ylabel() == "loss"


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([[1.0, 1.0], [1.0, 1.0]], "the same everywhere"),
        ([[math.nan] * 2] * 2, "nowhere finite"),
        ([1.0, 2.0], r"shape \(2,\)"),
        ([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], r"shape \(2, 3\)"),
    ],
)
def test_losses_without_contours_are_refused(losses, message):
    with pytest.raises(InputError, match=message):
        plot.landscape(losses)
