"""The report's figures as SVG text: they open offline, print sharply and are the same bytes for the same rows."""

import io
import re
from collections import defaultdict

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aimc_robust.devices.statistics import programming_std
from aimc_robust.evaluation.estimate import AccuracyEstimate
from aimc_robust.hardware.crossbar import Crossbar
from aimc_robust.report.content import Content
from aimc_robust.report.style import STYLE

# Okabe and Ito's colours, told apart with any colour vision; a marker each, for print in grey.
COLOURS = ["#4d4d4d", "#0072b2", "#d55e00", "#009e73", "#56b4e9", "#e69f00", "#cc79a7", "#000000"]
LINES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))]  # five against eight colours: 40 methods differ
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]


def accuracy_over_targets(content: Content) -> str | None:
    """A dot and interval per method for digital weights and each device."""
    exact = [t.name for t in content.store.spec.built_targets() if t.backend != "noise"]
    targets = [name for name in exact if content.standings[name]]
    labels = content.store.spec.labels
    if not targets:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.9 + 0.62 * len(targets) + 0.2 * len(labels)), layout="constrained")
        axes = figure.subplots()
        for i, method in enumerate(labels):
            offset = 0.7 * (i / max(len(labels) - 1, 1) - 0.5)
            rows = [
                (y, content.estimates[method, t]) for y, t in enumerate(targets) if (method, t) in content.estimates
            ]
            means = np.array([e.mean for _, e in rows])
            _intervals(axes, means, [e.ci for _, e in rows], np.array([y + offset for y, _ in rows]), i, method, "x")
        axes.set_yticks(range(len(targets)), targets)
        axes.set_ylim(len(targets) - 0.45, -0.55)
        axes.set_xlabel("accuracy [%]")
        axes.grid(axis="y", visible=False)
        for y in range(1, len(targets)):
            axes.axhline(y - 0.5, color="#d0d0d0", linewidth=0.8)
        _legend(figure, axes)
        return _svg(figure, "targets")


def points_over_sigma(content: Content) -> dict[str, list[tuple[float, AccuracyEstimate]]]:
    """Method -> (sigma, estimate), by rising sigma, for digital and Gaussian noise of scale filter_max."""
    strengths = [(t.sigma, t.name) for t in content.store.spec.built_targets() if t.sigma is not None]
    return {
        method: [
            (s, content.estimates[method, name]) for s, name in sorted(strengths) if (method, name) in content.estimates
        ]
        for method in content.store.spec.labels
    }


def accuracy_over_sigma(content: Content) -> str | None:
    """Accuracy over the strength of Gaussian weight noise, a line per method; None with fewer than two strengths."""
    lines = points_over_sigma(content)
    if len({sigma for points in lines.values() for sigma, _ in points}) < 2:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        for i, (method, points) in enumerate(lines.items()):
            means = np.array([e.mean for _, e in points])
            _intervals(axes, means, [e.ci for _, e in points], np.array([s for s, _ in points]), i, method, "y")
        axes.set_xlabel("sigma of Gaussian weight noise (share of each filter's largest weight)")
        axes.set_ylabel("accuracy [%]")
        _legend(figure, axes)
        return _svg(figure, "sigma")


def training_means(content: Content, key: str) -> dict[str, dict[int, float]]:
    """Method -> epoch -> mean over the seeds of the history rows' `key`."""
    values: dict[str, dict[int, list[float]]] = {method: defaultdict(list) for method in content.store.spec.labels}
    for cell in content.store.cells:
        for row in content.store.history(cell):
            values[cell.method][row["epoch"]].append(row[key])
    return {m: {epoch: float(np.mean(rows)) for epoch, rows in sorted(v.items())} for m, v in values.items()}


def training_curves(content: Content) -> str | None:
    """Training loss and validation accuracy over the epochs, mean over seeds."""
    if not any(training_means(content, "train_loss").values()):
        return None
    stopping = content.store.spec.config().early_stopping
    panels = [("train_loss", "training loss"), ("accuracy", "validation accuracy [%]")]
    if stopping is not None:
        panels.append(("perturbed_accuracy", f"the same at sigma = {stopping.sigma:g} [%]"))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 2.5 * len(panels)), layout="constrained")
        all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (key, title) in zip(all_axes, panels, strict=True):
            for i, (method, means) in enumerate(training_means(content, key).items()):
                axes.plot(
                    means.keys(),
                    means.values(),
                    color=_colour(i),
                    linestyle=LINES[i % len(LINES)],
                    label=method,
                    linewidth=1.4,
                )
            axes.set_title(title, loc="left", fontsize=10)
        all_axes[-1].set_xlabel("epoch")
        _legend(figure, all_axes[0])
        return _svg(figure, "training")


def device_points(crossbar: Crossbar) -> tuple[torch.Tensor, torch.Tensor]:
    """200 states over the card's limits (and the window, where it leaves them) and their sigma [card.unit]."""
    low, high = crossbar.card.range.limits
    state = torch.linspace(low, max(high, crossbar.programming_window[1]), 200, dtype=torch.float64)
    return state, programming_std(crossbar.card, state)


def device_curve(name: str, crossbar: Crossbar) -> str:
    """sigma(state) over the card's limits, with the programming window shaded; `name` is the target's."""
    card = crossbar.card
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.2, 2.6), layout="constrained")
        axes = figure.subplots()
        axes.axvspan(*crossbar.programming_window, color="#dcebf7", label="programming window")
        axes.plot(*device_points(crossbar), color="#0072b2", linewidth=1.8)
        unit = {"uS": "µS", "1": "share of full scale"}.get(card.unit, card.unit)
        axes.set_xlabel(f"target {card.state} [{unit}]")
        axes.set_ylabel(f"programming error sigma [{unit}]")
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=9)
        return _svg(figure, f"device-{name}")


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _intervals(
    axes: Axes, means: np.ndarray, intervals: list, places: np.ndarray, number: int, label: str, along: str
) -> None:
    """Means with their 95 % intervals; where there is none (nothing repeated), the mean alone."""
    half = np.nan_to_num(np.array([high - mean for (_, high), mean in zip(intervals, means, strict=True)]))
    look = {"color": _colour(number), "marker": MARKERS[number % len(MARKERS)], "markersize": 5, "capsize": 2.5}
    look |= {"label": label, "elinewidth": 1.1}
    if along == "x":
        axes.errorbar(means, places, xerr=half, linestyle="none", **look)
    else:
        axes.errorbar(places, means, yerr=half, linewidth=1.4, **look)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 3))


def _svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element that scales with the page; ids derive from `name`, so that figures do not clash."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    element = text[text.index("<svg") :]
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", element)
