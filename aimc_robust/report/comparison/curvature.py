"""Sharpness and Hessian spectra of the trained models, from the rows of `analyze`: a table and the densities."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure as MatplotlibFigure

from aimc_robust.analysis.hessian_spectrum import spectral_density
from aimc_robust.io.atomic import Row
from aimc_robust.io.csv_text import csv_text
from aimc_robust.plot.style import figure_style
from aimc_robust.report.comparison.content import ComparisonContent
from aimc_robust.report.comparison.rankings import baselines_of
from aimc_robust.report.formatting import MISSING, format_interval, format_number
from aimc_robust.report.page_model import Block, Figure, Files, Prose, Section, Table
from aimc_robust.report.rendering import RenderedFigure, render_figure
from aimc_robust.statistics.t_interval import LEVEL, mean_error

POINTS = 600
WIDTH_SHARE = 0.01  # width of the Gaussians of the densities, of the range that the figure shows
LOWEST_SHARE = 1e-4  # of its peak: the lowest density that the figure shows

RowsByMethod = dict[str, dict[int, Row]]
"""Label -> training seed -> the row of this trained model."""


def curvature(content: ComparisonContent) -> Section | None:
    """Show sharpness and leading eigenvalues of each method, and its spectral density, once for each split."""
    groups: dict[str, RowsByMethod] = {}
    for trial in content.results.trials:
        for split, row in content.results.analyses(trial).items():
            groups.setdefault(split, {}).setdefault(trial.model, {})[trial.train_seed] = row
    parts = [_split_section(content, split, methods) for split, methods in groups.items()]
    note = (
        "Means over the trained models, in evaluation mode, of the task's loss without augmentation. Average "
        "sharpness: its rise under Gaussian weight noise; ascent sharpness: its rise after a step along the gradient. "
        "The eigenvalues are those of the Hessian over all parameters, by Lanczos; an error is the largest distance of "
        "a model's value from an eigenvalue. A ratio is the geometric mean of the ratios of the largest eigenvalues of "
        "models with the same training seed; its interval is corrected for all ratios of the table (Bonferroni), so "
        "with 95 % confidence every method whose interval leaves out 1 differs."
    )
    return Section("Sharpness and curvature", [Prose(note), *parts]) if parts else None


def _split_section(content: ComparisonContent, split: str, methods: RowsByMethod) -> Section:
    settings = next(row["settings"] for found in methods.values() for row in found.values())
    images = "all images" if settings["images"] is None else f"{settings['images']} images"
    said = (
        f"On {images}; sigma = {settings['sigma']:g}, rho = {settings['rho']:g}, minibatches of {settings['m']}; "
        f"{settings['steps']} Lanczos steps from {settings['probes']} start vectors."
    )
    spec = content.results.spec
    seeds = len(spec.train_seeds)
    baselines = baselines_of(spec)
    ratios = _ratios(methods, baselines)
    baseline = baselines[next(iter(methods))] if len(set(baselines.values())) == 1 else "the baseline"
    rows = []
    for method, found in methods.items():
        largest = np.array(list(_largest(found).values()))
        rows.append(
            [
                ("method", method + (f"\n{len(found)} of {seeds} models" if len(found) < seeds else "")),
                ("average sharpness", _mean(found, "average_sharpness")),
                ("ascent sharpness", _mean(found, "ascent_sharpness")),
                ("largest eigenvalue", format_number(largest.mean(), 3)),
                ("sd over models", format_number(largest.std(ddof=1), 3) if len(found) > 1 else MISSING),
                (f"ratio to {baseline}", ratios.get(method, MISSING)),
                ("error at most", format_number(max(row["errors"][0] for row in found.values()), 3)),
                ("trace", format_number(float(np.mean([row["trace"] for row in found.values()])), 1)),
            ]
        )
    blocks: list[Block | None] = [
        Prose(said),
        Table(f"Sharpness and curvature: {split}", rows),
        Figure(
            partial(spectrum_figure, split, methods),
            f"Spectral density of the Hessian of each method on {split} data",
            "Spectral density of the Hessian, averaged over the trained models; the largest eigenvalues are at the "
            f"right end. Each eigenvalue is drawn as a Gaussian of {100 * WIDTH_SHARE:g} % of the axis.",
        ),
        Files({f"tables/curvature-{split}.csv": lambda: csv_text(_table(methods))}),
    ]
    return Section(f"On {split} data", blocks)


def spectrum_figure(split: str, methods: RowsByMethod) -> RenderedFigure | None:
    """Draw a curve of the density for each method on a logarithmic scale; None if all eigenvalues are equal."""
    nodes = np.concatenate([np.ravel(row["nodes"]) for found in methods.values() for row in found.values()])
    low, high = float(nodes.min()), float(nodes.max())
    if low == high:
        return None
    width = WIDTH_SHARE * (high - low)
    points = np.linspace(low - 4 * width, high + 4 * width, POINTS)
    with figure_style(font_size=9):
        figure = MatplotlibFigure(figsize=(6.4, 3.2), layout="constrained")
        axes = figure.subplots()
        peak = 0.0
        for method, found in methods.items():
            density = np.mean([_density(row, points, width) for row in found.values()], axis=0)
            peak = max(peak, float(density.max()))
            axes.plot(points, density, label=method, linewidth=1.2)
        axes.set_yscale("log")
        axes.set_ylim(LOWEST_SHARE * peak, 2.0 * peak)
        axes.set_xlabel("eigenvalue of the Hessian")
        axes.set_ylabel("density")
        axes.legend()
        return render_figure(figure, f"spectrum-{split}")


def _density(row: Row, points: npt.NDArray[np.float64], width: float) -> npt.NDArray[np.float64]:
    return spectral_density(np.array(row["nodes"]), np.array(row["weights"]), points, width=width)


def _ratios(methods: RowsByMethod, baselines: Mapping[str, str]) -> dict[str, str]:
    """Compare the largest eigenvalues of each method with those of its baseline: label -> ratio and its interval."""
    logarithms = {}
    for method, rows in methods.items():
        here, there = _largest(rows), _largest(methods.get(baselines[method], {}))
        pairs = np.array([(here[seed], there[seed]) for seed in here if seed in there])
        if method != baselines[method] and len(pairs) and (pairs > 0.0).all():
            logarithms[method] = np.log(pairs[:, 0] / pairs[:, 1])
    texts = {}
    for method, values in logarithms.items():
        half_width = mean_error(values).half_width(LEVEL / len(logarithms))
        low, high = np.exp(values.mean() - half_width), np.exp(values.mean() + half_width)  # NaN for a single pair
        texts[method] = f"{format_number(np.exp(values.mean()))} {format_interval(low, high, 2)}".rstrip()
    return texts


def _largest(rows: Mapping[int, Row]) -> dict[int, float]:
    return {seed: row["eigenvalues"][0] for seed, row in rows.items()}


def _mean(rows: Mapping[int, Row], key: str) -> str:
    values = [row[key] for row in rows.values()]
    return "not finite" if None in values else format_number(float(np.mean(values)), 4)


def _table(methods: RowsByMethod) -> pd.DataFrame:
    """A row per trained model."""
    keys = ("loss", "average_sharpness", "ascent_sharpness", "lowest", "trace")
    return pd.DataFrame(
        {"method": method, "train_seed": seed, **{key: row[key] for key in keys}}
        | {f"eigenvalue_{number}": value for number, value in enumerate(row["eigenvalues"], start=1)}
        for method, found in methods.items()
        for seed, row in found.items()
    )
