"""Lay a report out: report.html, self-contained, and report.md; tables and figures as files beside them."""

from __future__ import annotations

from pathlib import Path

import aimc_robust
from aimc_robust.bench.layout import QUESTION
from aimc_robust.bench.store import Store
from aimc_robust.bench.tables import summary
from aimc_robust.evaluation.workers import begun
from aimc_robust.files import read_json, write_whole
from aimc_robust.report import drawings, evaluation_page, exports, training_figures, words
from aimc_robust.report.at_once import at_once
from aimc_robust.report.content import Content, gather
from aimc_robust.report.rendering import environment
from aimc_robust.report.setup import ranges_over_models, setup
from aimc_robust.report.stamp import sources, write_stamp
from aimc_robust.report.training_figures import MeanRows

Files = dict[str, str | bytes]


def write_report(folder: Path) -> Path:
    """Write tables, figures and both reports of a results folder from its rows; returns the path of report.html.

    The folder of a comparison or of an evaluation. Works on unfinished results too, and says so in the page. Raises
    InputError when the folder holds neither.
    """
    question = read_json(folder / QUESTION)
    if isinstance(question, dict) and question.get("kind") == "evaluation":
        return evaluation_page.write_report(folder)
    store = Store.open(folder)
    made_from = sources(folder)  # before the rows are read: if some come meanwhile, the report is not current
    files = report_files(store)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        write_whole(folder / name, content)
    write_stamp(folder, made_from, [folder / name for name in files])
    return folder / "report.html"


def report_files(store: Store) -> Files:
    """Name -> content of every file of a comparison's report."""
    history = store.histories()
    means = training_figures.mean_rows(store.spec, history)
    early = drawings.before_accuracies(store, means)
    with begun(lambda: [draw() for draw in early]) as first:
        frame = store.table()
        content = gather(store, frame, history)
        texts = [
            lambda: {"evaluations.csv": frame.to_csv(index=False)},
            lambda: {"summary.csv": summary(content.estimates).to_csv(index=False), **exports.tables(content)},
            lambda: {"report.md": _render("report.md.j2", content, means)},
        ]
        made = at_once([*drawings.of_accuracies(content), *drawings.of_diagnostics(means), *texts])
        pictures = {drawing.name: drawing for drawing in [*first(), *made[: -len(texts)]] if drawing is not None}
    files: Files = {name: text for named in made[-len(texts) :] for name, text in named.items()}
    for name, picture in pictures.items():
        files |= {f"figures/{name}.svg": picture.svg_file, f"figures/{name}.png": picture.png}
    # The last: it promises the others.
    return files | {"report.html": _render("report.html.j2", content, means, pictures=pictures)}


def _render(template: str, content: Content, means: MeanRows, **more: object) -> str:
    templates = environment(template)
    templates.filters |= {"gain": words.gain}
    return templates.get_template(template).render(
        content=content,
        spec=content.store.spec,
        recipe=content.store.spec.config(),
        means=means,
        training=training_figures,
        exports=exports,
        words=words,
        setup=setup,
        ranges_over_models=ranges_over_models,
        version=aimc_robust.__version__,
        **more,
    )
