"""Figures stay readable from one method to sixty on forty targets: the plot keeps its room, and no two look alike."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from aimc_robust.plot.style import MAX_HIGHLIGHTED, MAX_STYLES, curve_styles
from aimc_robust.report.comparison import figures as comparison_figures
from aimc_robust.report.evaluation import figures as evaluation_figures
from aimc_robust.report.figures import estimates
from aimc_robust.report.rendering import render_figure
from aimc_robust.statistics.primary_metric import ACCURACY

pytestmark = pytest.mark.drawn_figures
SIZES = [(1, 1), (2, 3), (MAX_STYLES, 10), (MAX_STYLES + 1, 12), (28, 2), (60, 40)]
LONG = "a-name-as-long-as-a-label-may-be-" * 2 + "12345678901"


@pytest.fixture
def drawn(monkeypatch):
    """The Matplotlib figures that were rendered; a warning of a library is an error."""
    figures = []

    def render(figure, name):
        figures.append(figure)
        return render_figure(figure, name)

    for module in (estimates, comparison_figures):
        monkeypatch.setattr(module, "render_figure", render)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield figures


def estimate(i, j):
    mean = 90.0 - 0.5 * i - j
    return SimpleNamespace(mean=mean, ci=(mean - 2.0, mean + 2.0), table={"accuracy": np.array([mean - 1, mean + 1])})


def content(methods, targets, name="method"):
    """The part of a comparison's content that figures of accuracies need; half of the targets are Gaussian noise."""
    labels = [f"{name}-{i}" for i in range(methods)]
    named = {
        f"{name}-target-{j}": SimpleNamespace(name=f"{name}-target-{j}", backend="native", split="test")
        for j in range(targets)
    }
    for j, target in enumerate(named.values()):
        target.sigma = None if j % 2 else 0.01 * j
    return SimpleNamespace(
        results=SimpleNamespace(spec=SimpleNamespace(labels=labels)),
        metric=ACCURACY,
        targets=named,
        rankings={target: dict.fromkeys(labels) for target in named},
        estimates={(m, t): estimate(i, j) for i, m in enumerate(labels) for j, t in enumerate(named)},
        styles=curve_styles(labels, labels[::-1]),
    )


def check(figure, *, height=2.2):
    """Every plot has room for itself, and the legend covers none."""
    total = figure.get_figheight()
    boxes = [axes.get_position() for axes in figure.axes]
    assert all(box.width > 0.5 for box in boxes)
    assert all(box.height * total > height for box in boxes)
    for legend in figure.legends:
        extent = legend.get_window_extent().transformed(figure.transFigure.inverted())
        assert not any(extent.overlaps(box) for box in boxes)
        assert len(legend.get_texts()) <= MAX_STYLES + 1
    assert total < 40


# Long names need more room at every size; short ones at the least and beyond the last style.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("methods", "targets", "name"),
    [(*size, LONG) for size in SIZES] + [(*size, "method") for size in (SIZES[0], SIZES[3])],
)
def test_accuracies_by_target_and_by_sigma(drawn, methods, targets, name):
    shown = content(methods, targets, name)
    comparison_figures.estimates_by_target(shown)
    check(drawn[0], height=0.4 * targets)
    if comparison_figures.estimates_by_sigma(shown) is not None:
        check(drawn[1])


@pytest.mark.slow
@pytest.mark.parametrize("methods", [1, 8, 16, 60])
def test_training_curves(drawn, finished_comparison, methods):
    from aimc_robust.experiments.results.comparison import ComparisonResults

    labels = [f"method-{i}" for i in range(methods)]
    rows = {
        label: [{"epoch": e, "train_loss": 1 / e, "accuracy": 50.0 + i} for e in (1, 2)]
        for i, label in enumerate(labels)
    }
    comparison_figures.training_curves(
        ComparisonResults.open(finished_comparison).spec, ACCURACY, rows, curve_styles(labels, labels)
    )
    check(drawn[0], height=1.5)


@pytest.mark.slow
@pytest.mark.parametrize("models", [1, 8, 40])
def test_models_of_an_evaluation(drawn, models):
    shown = content(models, 6)
    families = [list(shown.targets.values())[:3], list(shown.targets.values())[3:]]
    for family in families:
        for time_s, target in zip((0.0, 3600.0, 86400.0), family, strict=True):
            target.time_s = time_s
    shown.families, shown.targets = families, list(shown.targets.values())
    evaluation_figures.over_time(shown)
    evaluation_figures.chips(shown)
    for figure in drawn:
        check(figure)


def test_the_check_sees_a_legend_over_a_plot_and_a_plot_without_room():
    from matplotlib.figure import Figure

    for options in ({"loc": "center"}, {"loc": "upper left", "bbox_to_anchor": (0.2, 0.8)}):
        figure = Figure(figsize=(6.4, 4.2))
        figure.subplots().plot([0, 1], label="a")
        figure.legend(**options)
        figure.canvas.draw()
        with pytest.raises(AssertionError):
            check(figure)
    figure = Figure(figsize=(6.4, 4.2))
    figure.add_axes((0.1, 0.1, 0.8, 0.2))
    with pytest.raises(AssertionError):
        check(figure)


@pytest.mark.parametrize("count", [1, 8, 9, MAX_STYLES, MAX_STYLES + 1, 60])
def test_no_two_highlighted_methods_look_alike(count):
    labels = [f"m{i}" for i in range(count)]
    highlighted = [style for style in curve_styles(labels, labels[::-1]).values() if style.number is not None]
    assert len(highlighted) == (count if count <= MAX_STYLES else MAX_HIGHLIGHTED)
    assert len({(style.color, style.points["marker"]) for style in highlighted}) == len(highlighted)
    assert len({(style.color, str(style.line["linestyle"])) for style in highlighted}) == len(highlighted)


def test_of_many_methods_the_baseline_and_the_best_are_highlighted():
    labels = [f"m{i}" for i in range(40)]
    styles = curve_styles(labels, ["m39", *labels[:-1]])
    assert [label for label, style in styles.items() if style.number is not None] == [*labels[:7], "m39"]
