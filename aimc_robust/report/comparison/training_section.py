"""Section of a comparison's page on the trainings: settings, costs, curves and diagnostics."""

from __future__ import annotations

from functools import partial

from aimc_robust.plot.labels import unit_in_brackets
from aimc_robust.plot.style import Styles, others_label
from aimc_robust.report.comparison import figures, text
from aimc_robust.report.comparison.content import ComparisonContent
from aimc_robust.report.comparison.histories import MeanRows
from aimc_robust.report.formatting import MISSING, format_ratio, format_significant
from aimc_robust.report.page_model import Cell, Figure, Grid, Legend, Prose, Row, Section, Table
from aimc_robust.statistics.primary_metric import PrimaryMetric


def training(content: ComparisonContent) -> Section:
    """Show how each method was trained, at which cost."""
    curves = Figure(
        partial(figures.training_curves, content.results.spec, content.metric, content.means, content.styles),
        f"Training loss and validation {content.metric.title} over the epochs",
        "Mean over training seeds. For methods that perturb the weights, the training loss is that of the perturbed "
        "weights.",
    )
    table = Table("Training", [_method_row(content, method) for method in content.results.spec.labels])
    return Section("Training", [table, Prose(_recipe(content)), curves, _diagnostics(content)])


def _method_row(content: ComparisonContent, method: str) -> Row:
    spec, cost = content.results.spec, content.costs[method]
    built = spec.method(method, seed=0)
    own = text.method_overrides(spec, method) or MISSING
    passes = f"{cost.passes} pass{'es' if cost.passes > 1 else ''} per update"
    seconds = "" if cost.seconds is None else f"{format_significant(cost.seconds)} s"
    return [
        ("method", method),
        ("kind", spec.methods[method].kind),
        ("settings", text.method_settings(spec, method)),
        *([("overrides", own)] if text.has_method_overrides(spec) else []),
        ("batches per update", str(built.batches_per_update)),
        ("BatchNorm statistics from", f"{built.bn_stats} pass"),
        ("FLOPs", Cell(f"{format_ratio(cost.passes)}\n{passes}", value=cost.passes)),
        ("time per epoch", Cell(f"{format_ratio(cost.time)}\n{seconds}", value=cost.seconds)),
    ]


def _recipe(content: ComparisonContent) -> str:
    spec = content.results.spec
    recipe = spec.config()
    decay = " with cosine decay" if recipe.schedule == "cosine" else ""
    exception = ", except where a method overrides it" if text.has_method_overrides(spec) else ""
    doubt = "; the trainings ran in different environments, so their times may not be comparable"
    return (
        f"Recipe: {recipe.epochs} epochs, batch size {recipe.batch_size}, {text.optimizer_name(recipe)}, learning rate "
        f"{recipe.lr}{decay}, weight decay {recipe.weight_decay}, label smoothing {recipe.label_smoothing}{exception}. "
        f"{text.checkpoint_note(spec, content.metric)} FLOPs: forward and backward passes per update relative to SGD, "
        "which takes one. Time per epoch: median over epochs and training seeds, including validation, relative to sgd "
        f"with the same network and data{doubt if len(content.results.environments) > 1 else ''}."
    )


def _diagnostics(content: ComparisonContent) -> Section | None:
    rows, styles = figures.diagnostics_rows(content.means), content.styles
    if not rows:
        return None
    note = (
        "Mean over training seeds; a dot marks the last epoch. The values of every epoch are in "
        "`runs/*/history.jsonl`. Losses are those that the training minimizes, on data without augmentation. "
        "Sharpness: increase of the loss at perturbed weights. Gradient sharpness: the same at the perturbation "
        "where the method takes its gradient. Test data are only monitored, never used for training. "
        f"{diagnostics_cost(content)} Figure numbers refer to the Incorruptible paper."
    )
    groups = [
        Section(title, [Grid([_panel(panel, rows, styles) for panel in panels], "panels")])
        for title, panels in figures.panel_groups(content.metric, rows).items()
    ]
    lines = {method: style.svg_line for method, style in styles.items() if style.number is not None}
    others = others_label(styles, "methods")
    table = Section(
        "At the last epoch",
        [Table("Diagnostics at the last epoch", _last_epoch(content.metric, rows), across="method")],
    )
    title = "Training diagnostics: robustness, gradients and sharpness per epoch"
    return Section(title, [Prose(note), Legend(lines, others and f"gray: {others}"), *groups, table], folded=True)


def _panel(panel: figures.Panel, rows: MeanRows, styles: Styles) -> Figure:
    return Figure(partial(figures.panel_figure, panel, rows, styles), f"{panel.title} over {panel.x_label}")


def _last_epoch(metric: PrimaryMetric, means: MeanRows) -> list[Row]:
    """The diagnostics of each method at the last epoch that has any."""
    quantities = {
        f"{split} {metric.title}, sigma = {sigma}{unit_in_brackets(metric.unit)}": f"{split}_{metric.name}@{sigma}"
        for sigma in figures.noise_sigmas(means)
        for split in figures.SPLITS
    } | {
        "norm of the update's gradient": figures.DIAGNOSTICS_KEY,
        "gradient sharpness": "gradient_sharpness",
        "cosine of clean and perturbed gradient": "gradient_cosine",
        "distance travelled": "distance",
        **{f"{split} ascent sharpness": f"{split}_ascent_sharpness" for split in figures.SPLITS},
    }
    last = {method: rows[-1] if rows else {} for method, rows in means.items()}
    return [
        [("", quantity), *((method, format_significant(row.get(key))) for method, row in last.items())]
        for quantity, key in quantities.items()
    ]


def diagnostics_cost(content: ComparisonContent) -> str | None:
    """Return the computing time of the diagnostics in one sentence; None without diagnostics."""
    rows = [row for epochs in content.history.values() for row in epochs if "probe_seconds" in row]
    if not rows:
        return None
    training, probing = (sum(row[key] for row in rows) for key in ("seconds", "probe_seconds"))
    share = f" ({100 * probing / training:.0f} % more)" if training else ""
    return (
        f"The diagnostics took {probing:.1f} s in addition to {training:.1f} s of training{share}. They do not change "
        "the trained weights."
    )
