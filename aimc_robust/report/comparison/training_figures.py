"""Curves of the trainings, from their history rows: a line per method, the mean over its seeds.

The figures named are those of the Incorruptible paper that show the same.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.figure import Figure

from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.io.atomic import Row
from aimc_robust.report.comparison.content import Content
from aimc_robust.report.plot_style import DASHES, STYLE, RenderedFigure, colour, drawing, legend, line
from aimc_robust.training.epoch import score_key

MeanRows = dict[str, list[Row]]
SPLITS = ("test", "train")
MARK = "gradient_norm"  # every row with diagnostics has this key


@dataclass(frozen=True)
class Panel:
    """One small picture: `y` over `x`, both keys of the rows, or `epoch`."""

    title: str
    y: str
    x: str = "epoch"
    x_label: str = "epoch"
    y_label: str = ""  # where the title does not say it

    @property
    def name(self) -> str:
        """Of its drawing."""
        return f"diagnostics-{self.y}-over-{self.x}".replace("@", "-at-")


@dataclass(frozen=True)
class Group:
    """Panels that belong together."""

    title: str
    panels: list[Panel]


def mean_rows(spec: ComparisonSpec, history: Mapping[Trial, Iterable[Row]]) -> MeanRows:
    """Method -> a row per epoch that holds, for each key with numbers, their mean over the seeds."""
    found: dict[str, dict[int, list[Row]]] = {method: defaultdict(list) for method in spec.labels}
    for trial, rows in history.items():
        for row in rows:
            found[trial.method][row["epoch"]].append(row)
    return {m: [_mean(epochs[number]) for number in sorted(epochs)] for m, epochs in found.items()}


def _mean(rows: list[Row]) -> Row:
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for key, value in row.items():
            if isinstance(value, int | float):
                values[key].append(value)
    return {key: math.fsum(found) / len(found) for key, found in values.items()}


def curve(rows: Iterable[Row], x: str, y: str) -> tuple[list[float], list[float]]:
    """The values of two keys in the rows that have both."""
    points = [(row[x], row[y]) for row in rows if x in row and y in row]
    return [a for a, _ in points], [b for _, b in points]


def training_curves(spec: ComparisonSpec, means: MeanRows) -> RenderedFigure | None:
    """Training loss and validation accuracy over the epochs."""
    if not any(means.values()):
        return None
    panels = [("train_loss", "training loss"), ("accuracy", "validation accuracy [%]"), *_selections(spec)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 2.5 * len(panels)), layout="constrained")
        all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (key, title) in zip(all_axes, panels, strict=True):
            for i, (method, rows) in enumerate(means.items()):
                axes.plot(*curve(rows, "epoch", key), **line(i), label=method)
            axes.set_title(title, loc="left", fontsize=10)
        all_axes[-1].set_xlabel("epoch")
        legend(figure, all_axes[0])
        return drawing(figure, "training")


def _selections(spec: ComparisonSpec) -> list[tuple[str, str]]:
    """(key, title) of the accuracies under noise that early stopping goes by, over all methods' recipes."""
    recipes = [spec.config_of(label).early_stopping for label in spec.labels]
    several = sorted({sigma for r in recipes if r is not None and len(r.sigmas) > 1 for sigma in r.sigmas if sigma})
    if several:
        return [(score_key(sigma), f"the same at sigma = {sigma:g} [%]") for sigma in several]
    single = {r.sigmas[0] for r in recipes if r is not None}
    noise = f"at sigma = {single.pop():g}" if len(single) == 1 else "under the noise that each selects by"
    return [("perturbed_accuracy", f"the same {noise} [%]")] if any(recipes) else []


def watched(means: MeanRows) -> MeanRows:
    """The rows that have diagnostics; empty where none has."""
    found = {method: [row for row in rows if MARK in row] for method, rows in means.items()}
    return found if any(found.values()) else {}


def sigmas(means: MeanRows) -> list[str]:
    """The strengths of weight noise in the rows, as their keys name them, by rising strength; the first is 0."""
    names = {key.split("@")[1] for rows in means.values() for row in rows for key in row if "@" in key}
    return sorted(names, key=float)


def groups(means: MeanRows) -> list[Group]:
    """The pictures of the diagnostics, without those that no method has numbers for."""
    strengths = sigmas(means)
    noisy = [sigma for sigma in strengths if float(sigma) > 0]
    train, test = {"x": "train_loss@0", "x_label": "training loss"}, {"x": "test_loss@0", "x_label": "test loss"}
    both = ("training sharpness", "test sharpness")
    accuracies = [
        Panel(f"{split} accuracy [%], sigma = {sigma}", f"{split}_accuracy@{sigma}")
        for split in SPLITS
        for sigma in strengths
    ]
    gradients = [
        Panel("norm of the update's gradient", MARK),
        Panel("gradient sharpness", "gradient_sharpness", **train),
        Panel("cosine, clean and perturbed gradient", "gradient_cosine"),
        Panel("distance travelled", "distance"),
        Panel("strength of the perturbation", "strength"),
        Panel("training loss at full strength", "full_strength_loss"),
    ]
    sharpness = [
        panel
        for sigma in noisy
        for panel in (
            Panel(f"training sharpness, sigma = {sigma}", f"train_sharpness@{sigma}", **train),
            Panel(f"test sharpness, sigma = {sigma}", f"test_sharpness@{sigma}", **test),
            Panel(f"both, sigma = {sigma}", f"test_sharpness@{sigma}", f"train_sharpness@{sigma}", *both),
        )
    ]
    ascent = [
        Panel("training sharpness", "train_ascent_sharpness", **train),
        Panel("test sharpness", "test_ascent_sharpness", **test),
    ]
    all_groups = [
        Group("Accuracy under weight noise (as Fig. 3)", accuracies),
        Group("Gradients, distance and ramp (as Figs. 4, 6, 9, 15a and 16)", gradients),
        Group("Sharpness in the average direction (as Figs. 10 and 11)", sharpness),
        Group("Sharpness in the ascent direction (as Fig. 15b)", ascent),
    ]
    drawable = [Group(g.title, [p for p in g.panels if _has_points(p, means)]) for g in all_groups]
    return [group for group in drawable if group.panels]


def _has_points(panel: Panel, means: MeanRows) -> bool:
    return any(curve(rows, panel.x, panel.y)[0] for rows in means.values())


def drawn(panel: Panel, means: MeanRows) -> RenderedFigure:
    """A small picture, as wide as a phone's screen; a dot marks the last epoch."""
    with mpl.rc_context(STYLE | {"font.size": 9}):
        figure = Figure(figsize=(3.4, 2.3), layout="constrained")
        axes = figure.subplots()
        for i, rows in enumerate(means.values()):
            places, values = curve(rows, panel.x, panel.y)
            axes.plot(places, values, **line(i))
            axes.plot(places[-1:], values[-1:], "o", color=colour(i), markersize=4)
        axes.set_title(panel.title, loc="left", fontsize=10)
        axes.set_xlabel(panel.x_label)
        axes.set_ylabel(panel.y_label)
        axes.locator_params(axis="x", nbins=5, integer=panel.x == "epoch")
        return drawing(figure, panel.name)


def sample(number: int) -> str:
    """A short piece of the line of the method of this number, for a legend in the page."""
    dash = DASHES[number % len(DASHES)]
    return (
        '<svg width="30" height="8" aria-hidden="true">'
        f'<path d="M0 4H30" stroke="{colour(number)}" stroke-width="2" stroke-dasharray="{dash}"/></svg>'
    )


def last_epochs(means: MeanRows) -> list[tuple[str, dict[str, float | None]]]:
    """(what, method -> its value at the last epoch with diagnostics; None: it has none), for a table."""
    names = [(f"{split} accuracy, sigma = {s} [%]", f"{split}_accuracy@{s}") for s in sigmas(means) for split in SPLITS]
    names += [
        ("norm of the update's gradient", MARK),
        ("gradient sharpness", "gradient_sharpness"),
        ("cosine of clean and perturbed gradient", "gradient_cosine"),
        ("distance travelled", "distance"),
    ]
    names += [(f"{split} ascent sharpness", f"{split}_ascent_sharpness") for split in SPLITS]
    return [(name, {m: rows[-1].get(key) if rows else None for m, rows in means.items()}) for name, key in names]


def cost(content: Content) -> str | None:
    """What the diagnostics took, in one sentence; None without any."""
    rows = [row for found in content.history.values() for row in found if "probe_seconds" in row]
    training, probing = (sum(row[key] for row in rows) for key in ("seconds", "probe_seconds"))
    if not rows:
        return None
    share = f", {100 * probing / training:.0f} % on top" if training else ""
    return (
        f"The diagnostics took {probing:.1f} s beside {training:.1f} s of training{share}; the trained weights are the "
        "same without them."
    )
