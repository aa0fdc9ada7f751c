"""Figures of a comparison: estimates by target and by noise, trainings over their epochs, panels of diagnostics."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

from aimc_robust.errors import exact_text
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.plot.estimate_plots import Curves
from aimc_robust.plot.labels import axis_label, unit_in_brackets
from aimc_robust.plot.style import Styles, add_legend, figure_style
from aimc_robust.report.comparison.content import ComparisonContent
from aimc_robust.report.comparison.histories import MeanRows, curve_points
from aimc_robust.report.figures import estimates
from aimc_robust.report.metric_text import heading
from aimc_robust.report.rendering import RenderedFigure, render_figure
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.training.epoch import score_column

SPLITS = ("test", "train")
DIAGNOSTICS_KEY = "gradient_norm"  # every row with diagnostics has this key


def estimates_by_target(content: ComparisonContent) -> RenderedFigure | None:
    """Draw mean and interval of each method on digital weights and on each device; None without rows of these."""
    devices = [target.name for target in content.targets.values() if target.backend != "noise"]
    targets = [name for name in devices if content.rankings[name]]
    if not targets:
        return None
    return estimates.estimates_by_target(
        content.metric, targets, content.estimates, content.styles, name="targets", others="methods"
    )


def curves_over_sigma(content: ComparisonContent) -> Curves:
    """Return each method's estimates over the sigma of Gaussian noise of scale filter_max; digital weights are 0."""
    targets = [target for target in content.targets.values() if target.split == "test"]
    sigmas = sorted((target.sigma, target.name) for target in targets if target.sigma is not None)
    return {
        method: [
            (sigma, content.estimates[method, name]) for sigma, name in sigmas if (method, name) in content.estimates
        ]
        for method in content.results.spec.labels
    }


def estimates_by_sigma(content: ComparisonContent) -> RenderedFigure | None:
    """Draw means over the sigma of Gaussian weight noise, one line per method; None with fewer than two sigmas."""
    curves = curves_over_sigma(content)
    if len({sigma for points in curves.values() for sigma, _ in points}) < 2:
        return None
    xlabel = "sigma of Gaussian weight noise (share of each filter's largest weight)"
    return estimates.estimates_over(
        content.metric, curves, content.styles, name="sigma", xlabel=xlabel, others="methods"
    )


def training_curves(
    spec: ComparisonSpec, metric: PrimaryMetric, means: MeanRows, styles: Styles
) -> RenderedFigure | None:
    """Draw training loss, validation metric and early-stopping scores over epochs; None without history rows."""
    if not any(means.values()):
        return None
    validation = (metric.name, f"validation {axis_label(metric)}")
    panels = [("train_loss", "training loss"), validation, *_early_stopping_panels(spec, metric)]
    with figure_style():
        figure = Figure(figsize=(6.4, 2.5 * len(panels)), layout="constrained")
        all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (key, title) in zip(all_axes, panels, strict=True):
            for method, style in styles.items():
                label = None if style.number is None else method
                axes.plot(*curve_points(means[method], "epoch", key), **style.line, label=label)
            axes.set_title(title, loc="left", fontsize=10)
        all_axes[-1].set_xlabel("epoch")
        add_legend(figure, all_axes[0], styles, "methods")
        return render_figure(figure, "training")


def _early_stopping_panels(spec: ComparisonSpec, metric: PrimaryMetric) -> list[tuple[str, str]]:
    """(key, title) of the metrics under noise that early stopping selects by, over all methods."""
    unit = unit_in_brackets(metric.unit)
    recipes = [recipe for label in spec.labels if (recipe := spec.config_of(label).early_stopping) is not None]
    several = sorted({sigma for recipe in recipes if len(recipe.sigmas) > 1 for sigma in recipe.sigmas if sigma})
    if several:
        return [(score_column(metric, sigma), f"the same at sigma = {exact_text(sigma)}{unit}") for sigma in several]
    single = {recipe.sigmas[0] for recipe in recipes}
    noise = f"at sigma = {exact_text(single.pop())}" if len(single) == 1 else "under the noise that each selects by"
    return [(f"perturbed_{metric.name}", f"the same {noise}{unit}")] if recipes else []


@dataclass(frozen=True)
class Panel:
    """One small plot: keys of the history rows for its axes, and their labels; no `y_label` if the title says it."""

    title: str
    y: str
    x: str = "epoch"
    x_label: str = "epoch"
    y_label: str = ""

    @property
    def name(self) -> str:
        """Name of the rendered figure."""
        return f"diagnostics-{self.y}-over-{self.x}".replace("@", "-at-")


def diagnostics_rows(means: MeanRows) -> MeanRows:
    """Return the rows that have diagnostics; empty if no method has any."""
    rows = {method: [row for row in epochs if DIAGNOSTICS_KEY in row] for method, epochs in means.items()}
    return rows if any(rows.values()) else {}


def noise_sigmas(means: MeanRows) -> list[str]:
    """Return the sigmas of weight noise in the rows' keys, ascending; the first is 0."""
    names = {key.split("@")[1] for rows in means.values() for row in rows for key in row if "@" in key}
    return sorted(names, key=float)


def panel_groups(metric: PrimaryMetric, means: MeanRows) -> dict[str, list[Panel]]:
    """Return title -> panels of each group of diagnostics, without the panels that no method has data for."""
    sigmas = noise_sigmas(means)
    train, test = ("train_loss@0", "training loss"), ("test_loss@0", "test loss")
    groups = {
        f"{heading(metric)} under weight noise (compare Fig. 3)": [
            Panel(f"{split} {axis_label(metric)}, sigma = {sigma}", f"{split}_{metric.name}@{sigma}")
            for split in SPLITS
            for sigma in sigmas
        ],
        "Gradients, distance and ramp (compare Figs. 4, 6, 9, 15a and 16)": [
            Panel("norm of the update's gradient", DIAGNOSTICS_KEY),
            Panel("gradient sharpness", "gradient_sharpness", *train),
            Panel("cosine, clean and perturbed gradient", "gradient_cosine"),
            Panel("distance travelled", "distance"),
            Panel("strength of the perturbation", "strength"),
            Panel("training loss at full strength", "full_strength_loss"),
        ],
        "Sharpness in the average direction (compare Figs. 10 and 11)": [
            Panel(f"{name}, sigma = {sigma}", f"{split}_sharpness@{sigma}", x.format(sigma), *labels)
            for sigma in sigmas
            if float(sigma) > 0
            for name, split, x, *labels in (
                ("training sharpness", "train", *train),
                ("test sharpness", "test", *test),
                ("both", "test", "train_sharpness@{}", "training sharpness", "test sharpness"),
            )
        ],
        "Sharpness in the ascent direction (compare Fig. 15b)": [
            Panel("training sharpness", "train_ascent_sharpness", *train),
            Panel("test sharpness", "test_ascent_sharpness", *test),
        ],
    }
    with_data = {
        title: [panel for panel in panels if any(curve_points(rows, panel.x, panel.y)[0] for rows in means.values())]
        for title, panels in groups.items()
    }
    return {title: panels for title, panels in with_data.items() if panels}


def panel_figure(panel: Panel, means: MeanRows, styles: Styles) -> RenderedFigure:
    """Draw a panel about as wide as a phone screen: one line per method, with a dot at the last epoch."""
    with figure_style(font_size=9):
        figure = Figure(figsize=(3.4, 2.3), layout="constrained")
        axes = figure.subplots()
        for method, rows in means.items():
            style, (x, y) = styles[method], curve_points(rows, panel.x, panel.y)
            axes.plot(x, y, **style.line)
            axes.plot(x[-1:], y[-1:], "o", color=style.color, markersize=4)
        axes.set_title(panel.title, loc="left", fontsize=10)
        axes.set_xlabel(panel.x_label)
        axes.set_ylabel(panel.y_label)
        axes.locator_params(axis="x", nbins=5, integer=panel.x == "epoch")
        return render_figure(figure, panel.name)
