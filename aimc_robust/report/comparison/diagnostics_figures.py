"""Figures and table of the training diagnostics: robustness, gradients and sharpness over epochs.

The group titles name the figures of the Incorruptible paper that show the same quantities.
"""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

from aimc_robust.report.comparison.content import ComparisonContent
from aimc_robust.report.comparison.training_figures import MeanRows, curve_points
from aimc_robust.report.plot_style import RenderedFigure, Styles, figure_style, render_figure

SPLITS = ("test", "train")
DIAGNOSTICS_KEY = "gradient_norm"  # every row with diagnostics has this key


@dataclass(frozen=True)
class Panel:
    """One small plot.

    Attributes:
        title: Title.
        y: Key of the history rows for the vertical axis.
        x: Key for the horizontal axis.
        x_label: Label of the horizontal axis.
        y_label: Label of the vertical axis; empty if the title says it.
    """

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


def panel_groups(means: MeanRows) -> dict[str, list[Panel]]:
    """Return title -> panels of each group of diagnostics, without the panels that no method has data for."""
    sigmas = noise_sigmas(means)
    train, test = ("train_loss@0", "training loss"), ("test_loss@0", "test loss")
    groups = {
        "Accuracy under weight noise (compare Fig. 3)": [
            Panel(f"{split} accuracy [%], sigma = {sigma}", f"{split}_accuracy@{sigma}")
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
    """Draw a panel, one line per method, with a dot at the last epoch.

    Args:
        panel: The panel.
        means: `diagnostics_rows`.
        styles: Label -> style.

    Returns:
        The figure, about as wide as a phone screen.
    """
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


def last_epoch_table(means: MeanRows) -> list[tuple[str, dict[str, float | None]]]:
    """Return the diagnostics at the last epoch that has any.

    Args:
        means: `diagnostics_rows`.

    Returns:
        (quantity, method label -> value or None) for each row of the table.
    """
    sigmas = noise_sigmas(means)
    quantities = [(f"{split} accuracy, sigma = {s} [%]", f"{split}_accuracy@{s}") for s in sigmas for split in SPLITS]
    quantities += [
        ("norm of the update's gradient", DIAGNOSTICS_KEY),
        ("gradient sharpness", "gradient_sharpness"),
        ("cosine of clean and perturbed gradient", "gradient_cosine"),
        ("distance travelled", "distance"),
    ]
    quantities += [(f"{split} ascent sharpness", f"{split}_ascent_sharpness") for split in SPLITS]
    return [(name, {m: rows[-1].get(key) if rows else None for m, rows in means.items()}) for name, key in quantities]


def diagnostics_cost(content: ComparisonContent) -> str | None:
    """Return the computing time of the diagnostics in one sentence; None without diagnostics."""
    rows = [row for epochs in content.history.values() for row in epochs if "probe_seconds" in row]
    training, probing = (sum(row[key] for row in rows) for key in ("seconds", "probe_seconds"))
    if not rows:
        return None
    share = f" ({100 * probing / training:.0f} % more)" if training else ""
    return (
        f"The diagnostics took {probing:.1f} s in addition to {training:.1f} s of training{share}. They do not change "
        "the trained weights."
    )
