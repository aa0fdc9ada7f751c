"""Output of `evaluate`: the table of results."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import typer
from rich.console import Console

from aimc_robust.cli.printed_table import print_table
from aimc_robust.experiments.results.evaluation import EvaluationResults
from aimc_robust.experiments.results.summary import summary_table
from aimc_robust.experiments.spec.evaluation import EvaluationSpec
from aimc_robust.plot.labels import unit_in_brackets
from aimc_robust.report.formatting import MISSING, format_interval, format_number
from aimc_robust.report.metric_text import chips_text, ci_text, column_text, format_value, heading
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.tasks.metrics import metric_columns


def show(results: EvaluationResults) -> None:
    """Print the primary metric of all models and targets."""
    spec, metric, items = results.spec, results.metric, results.task.items
    estimates = results.estimates()
    summary = summary_table(estimates, threshold=spec.threshold)
    has_seeds = bool((summary["models"] > 1).any())
    rows = [
        _cells(row, estimates[row["model"], row["target"]], spec, has_seeds=has_seeds)
        for row in summary.to_dict("records")
    ]
    title = f"{heading(metric)}{unit_in_brackets(metric.unit)} on {summary['n'].max()} {items}"
    print_table(rows, title=title, names=2)
    typer.echo(f"Normalization of inputs: {spec.images.normalization}.")
    if metric.is_proportion:
        Console().print(
            f"Another test set of {summary['n'].max()} {items} would change a mean {metric.title} by up to "
            f"±{format_number(summary['sampling'].max())} points (95 %).",
            highlight=False,
            soft_wrap=True,
        )


def _cells(row: Mapping[str, Any], estimate: Estimate, spec: EvaluationSpec, *, has_seeds: bool) -> dict[str, str]:
    """Return column -> text of one row."""
    number = partial(format_value, estimate.metric)
    cells = {"model": row["model"], "target": row["target"], "mean": number(row["mean"])}
    cells |= {"95 % interval": ci_text(estimate), "sd_noise": number(row["sd_noise"])}
    if has_seeds:
        cells["sd_seed"] = number(row["sd_seed"])
    cells |= {name: column_text(estimate, name).replace("\n", " ") for name in metric_columns(spec.metrics)}
    cells |= {"reached by 95 %": number(row["reached_by_95"]), "worst": number(row["worst"])}
    if spec.threshold is not None:
        interval = format_interval(row["yield_low"], row["yield_high"], 0) or MISSING
        sign = ">=" if estimate.metric.is_higher_better else "<="
        cells[f"{sign} {spec.threshold:g}"] = f"{format_number(row['yield'], 0)} {interval}"
    return cells | {"chips": chips_text(row, spec.precision)}
