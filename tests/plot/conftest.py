"""A trained network's estimates and arrays, small enough to check by hand, and figures that are closed."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from aimc_robust import Estimate, PrimaryMetric


@pytest.fixture(autouse=True)
def _no_window(monkeypatch):
    """Figures of pyplot without a window, closed at the end."""
    import matplotlib.pyplot as plt

    monkeypatch.setitem(mpl.rcParams, "figure.max_open_warning", 0)
    plt.switch_backend("agg")
    yield
    plt.close("all")


@pytest.fixture
def ax():
    """Empty axes of a caller."""
    return Figure().subplots()


@pytest.fixture
def estimate():
    """Make an estimate of the values of chips: a list, or one for each of several models."""

    def make(values, metric=None):
        rows = np.atleast_2d(np.array(values, dtype=float))
        name = "accuracy" if metric is None else metric.name
        table = pd.DataFrame(
            [
                {"train_seed": seed, "chip": chip, name: value}
                for seed, row in enumerate(rows)
                for chip, value in enumerate(row)
            ]
        )
        return Estimate(table) if metric is None else Estimate(table, metric=metric)

    return make


@pytest.fixture
def perplexity():
    """A metric whose lower values are better."""
    return PrimaryMetric("perplexity", better="lower", bounds=(1.0, float("inf")))
