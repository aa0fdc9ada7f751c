"""What the figures draw is what the rows and the cards say."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.plot.device_curves import crossbar_error_curve
from aimc_robust.plot.style import CurveStyle
from aimc_robust.report import page_files
from aimc_robust.report.comparison import page
from aimc_robust.report.comparison.histories import mean_rows
from aimc_robust.report.figures import estimates
from aimc_robust.statistics.primary_metric import ACCURACY

STYLE = CurveStyle(0)


@pytest.mark.drawn_figures
@pytest.mark.parametrize("along", ["x", "y"])
def test_error_bars_reach_from_one_end_of_the_interval_to_the_other(along, monkeypatch):
    drawn = []
    monkeypatch.setattr(estimates, "render_figure", lambda figure, name: drawn.append(figure))
    ends = [(45.0, 56.0), (67.0, 73.0), (math.nan, math.nan)]  # the last mean has no interval: it is drawn alone
    points = [SimpleNamespace(mean=mean, ci=ci) for mean, ci in zip((50.0, 70.0, 80.0), ends, strict=True)]
    if along == "x":
        shown = {("sgd", name): estimate for name, estimate in zip("abc", points, strict=True)}
        estimates.estimates_by_target(ACCURACY, "abc", shown, {"sgd": STYLE}, name="x", others="")
    else:
        curves = {"sgd": list(enumerate(points))}
        estimates.estimates_over(ACCURACY, curves, {"sgd": STYLE}, name="y", xlabel="", others="")
    (bars,) = drawn[0].axes[0].collections
    segments = [segment[:, 0 if along == "x" else 1].tolist() for segment in bars.get_segments()]
    assert segments == [[45.0, 56.0], [67.0, 73.0], [80.0, 80.0]]


@pytest.mark.parametrize("key", ["train_loss", "accuracy", "perturbed_accuracy"])
def test_training_curves_are_the_means_over_seeds_of_the_history_rows(finished_comparison, key):
    store = ComparisonResults.open(finished_comparison)
    means = mean_rows(store.spec, store.histories())
    for method in store.spec.labels:
        rows = [store.history(trial) for trial in store.trials if trial.model == method]
        expected = {e: (rows[0][e - 1][key] + rows[1][e - 1][key]) / 2 for e in (1, 2, 3)}
        assert [row["epoch"] for row in means[method]] == [1, 2, 3]
        assert {int(row["epoch"]): row[key] for row in means[method]} == pytest.approx(expected)


def test_a_device_curve_spans_the_limits_and_follows_the_card():
    state, std = crossbar_error_curve(Crossbar("pcm-joshi2020"))
    assert (float(state[0]), float(state[-1])) == (0.0, 25.0)
    oracle = 0.28638599 + 0.07585724 * state - 0.00178767 * state**2
    np.testing.assert_allclose(std.numpy(), oracle.numpy(), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.drawn_figures
def test_all_files_are_the_same_bytes_for_any_number_of_processes(finished_comparison, monkeypatch):
    found = []
    for cores in ([0], [0, 1, 2]):
        monkeypatch.setattr(page_files, "available_cpus", lambda cores=cores: cores)
        found.append(page.report_files(ComparisonResults.open(finished_comparison)))
    assert found[0] == found[1]
    assert {"figures/targets.png", "figures/training.svg", "tables/accuracy.tex", "evaluations.csv"} < set(found[0])
    for name, content in found[0].items():
        assert not name.endswith(".png") or content.startswith(b"\x89PNG")
        assert not name.endswith(".svg") or "<path" in content
