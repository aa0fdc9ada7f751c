"""Training curves of a comparison: history rows averaged over training seeds, one line per method."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

from matplotlib.figure import Figure

from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.io.atomic import Row
from aimc_robust.report.plot_style import (
    RenderedFigure,
    Styles,
    add_legend,
    figure_style,
    others_label,
    render_figure,
)
from aimc_robust.training.epoch import score_column

MeanRows = dict[str, list[Row]]
"""Method label -> one row per epoch."""


def mean_rows(spec: ComparisonSpec, history: Mapping[Trial, Iterable[Row]]) -> MeanRows:
    """Average the history rows of each method over its training seeds.

    Args:
        spec: The spec of the comparison.
        history: Trial -> one row per epoch.

    Returns:
        Method label -> one row per epoch with the mean of every numeric key.
    """
    by_epoch: dict[str, dict[int, list[Row]]] = {method: defaultdict(list) for method in spec.labels}
    for trial, rows in history.items():
        for row in rows:
            by_epoch[trial.model][row["epoch"]].append(row)
    return {method: [_mean_row(epochs[number]) for number in sorted(epochs)] for method, epochs in by_epoch.items()}


def _mean_row(rows: list[Row]) -> Row:
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for key, value in row.items():
            if isinstance(value, int | float):
                values[key].append(value)
    return {key: math.fsum(numbers) / len(numbers) for key, numbers in values.items()}


def curve_points(rows: Iterable[Row], x: str, y: str) -> tuple[list[float], list[float]]:
    """Return the values of the keys `x` and `y` in the rows that have both."""
    points = [(row[x], row[y]) for row in rows if x in row and y in row]
    return [a for a, _ in points], [b for _, b in points]


def training_curves(spec: ComparisonSpec, means: MeanRows, styles: Styles) -> RenderedFigure | None:
    """Draw training loss, validation accuracy and early-stopping scores over epochs.

    Args:
        spec: The spec of the comparison.
        means: `mean_rows` of its trainings.
        styles: Label -> style.

    Returns:
        The figure; None without history rows.
    """
    if not any(means.values()):
        return None
    panels = [("train_loss", "training loss"), ("accuracy", "validation accuracy [%]"), *_early_stopping_panels(spec)]
    with figure_style():
        figure = Figure(figsize=(6.4, 2.5 * len(panels)), layout="constrained")
        all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (key, title) in zip(all_axes, panels, strict=True):
            for method, style in styles.items():
                label = None if style.number is None else method
                axes.plot(*curve_points(means[method], "epoch", key), **style.line, label=label)
            axes.set_title(title, loc="left", fontsize=10)
        all_axes[-1].set_xlabel("epoch")
        add_legend(figure, all_axes[0], others_label(styles, "methods"))
        return render_figure(figure, "training")


def _early_stopping_panels(spec: ComparisonSpec) -> list[tuple[str, str]]:
    """(key, title) of the accuracies under noise that early stopping selects by, over all methods."""
    recipes = [recipe for label in spec.labels if (recipe := spec.config_of(label).early_stopping) is not None]
    several = sorted({sigma for recipe in recipes if len(recipe.sigmas) > 1 for sigma in recipe.sigmas if sigma})
    if several:
        return [(score_column(sigma), f"the same at sigma = {sigma:g} [%]") for sigma in several]
    single = {recipe.sigmas[0] for recipe in recipes}
    noise = f"at sigma = {single.pop():g}" if len(single) == 1 else "under the noise that each selects by"
    return [("perturbed_accuracy", f"the same {noise} [%]")] if recipes else []
