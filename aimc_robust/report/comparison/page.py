"""Lay a report out: report.html, self-contained, and report.md; tables and figures as files beside them."""

from __future__ import annotations

import aimc_robust
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.comparison_tables import summary_table
from aimc_robust.parallel.process_pool import background_call
from aimc_robust.report.comparison import figure_list, table_files, text, training_figures
from aimc_robust.report.comparison.content import Content, gather
from aimc_robust.report.comparison.training_figures import MeanRows
from aimc_robust.report.formatting import environment
from aimc_robust.report.hardware_text import widest_ranges, setup
from aimc_robust.report.parallel import run_parallel

Files = dict[str, str | bytes]


def report_files(store: ComparisonResults) -> Files:
    """Name -> content of every file of a comparison's report."""
    history = store.histories()
    means = training_figures.mean_rows(store.spec, history)
    early = figure_list.training_and_device_figures(store, means)
    with background_call(lambda: [draw() for draw in early]) as first:
        frame = store.table()
        content = gather(store, frame, history)
        texts = [
            lambda: {"evaluations.csv": frame.to_csv(index=False)},
            lambda: {"summary.csv": summary_table(content.estimates).to_csv(index=False), **table_files.tables(content)},
            lambda: {"report.md": _render("report.md.j2", content, means)},
        ]
        made = run_parallel([*figure_list.accuracy_figures(content), *figure_list.diagnostics_figures(means), *texts])
        pictures = {drawing.name: drawing for drawing in [*first(), *made[: -len(texts)]] if drawing is not None}
    files: Files = {name: text for named in made[-len(texts) :] for name, text in named.items()}
    for name, picture in pictures.items():
        files |= {f"figures/{name}.svg": picture.svg_file, f"figures/{name}.png": picture.png}
    # The last: it promises the others.
    return files | {"report.html": _render("report.html.j2", content, means, pictures=pictures)}


def _render(template: str, content: Content, means: MeanRows, **more: object) -> str:
    templates = template_environment(template)
    templates.filters |= {"gain": text.gain}
    return templates.get_template(template).render(
        content=content,
        spec=content.store.spec,
        recipe=content.store.spec.config(),
        means=means,
        training=training_figures,
        table_files=table_files,
        text=text,
        setup=setup,
        widest_ranges=widest_ranges,
        version=aimc_robust.__version__,
        **more,
    )
