"""Lay a report out: report.html, self-contained, and report.md; tables and figures as files beside them."""

from __future__ import annotations

from pathlib import Path

import aimc_robust
from aimc_robust.bench.layout import QUESTION
from aimc_robust.bench.store import Store
from aimc_robust.bench.tables import summary
from aimc_robust.files import read_json, write_whole
from aimc_robust.report import evaluation_page, exports, training_figures, words
from aimc_robust.report.content import Content, gather
from aimc_robust.report.drawings import drawings
from aimc_robust.report.rendering import environment
from aimc_robust.report.setup import ranges_over_models, setup
from aimc_robust.report.stamp import sources, write_stamp
from aimc_robust.report.style import Drawing
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
    frame = store.table()
    content = gather(store, frame)
    means = training_figures.mean_rows(content)
    pictures = drawings(content, means)
    files: Files = {
        "evaluations.csv": frame.to_csv(index=False),
        "summary.csv": summary(content.estimates).to_csv(index=False),
    }
    files |= {f"tables/{name}": text for name, text in exports.tables(content).items()}
    for name, picture in pictures.items():
        files |= {f"figures/{name}.svg": picture.svg_file, f"figures/{name}.png": picture.png}
    files["report.md"] = _render("report.md.j2", content, means, pictures)
    files["report.html"] = _render("report.html.j2", content, means, pictures)  # the last: it promises the others
    return files


def _render(template: str, content: Content, means: MeanRows, pictures: dict[str, Drawing]) -> str:
    templates = environment(template)
    templates.filters |= {"gain": words.gain}
    return templates.get_template(template).render(
        content=content,
        spec=content.store.spec,
        recipe=content.store.spec.config(),
        means=means,
        pictures=pictures,
        training=training_figures,
        exports=exports,
        words=words,
        setup=setup,
        ranges_over_models=ranges_over_models,
        version=aimc_robust.__version__,
    )
