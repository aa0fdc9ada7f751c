"""Write the report of a results folder, whatever experiment it holds."""

from __future__ import annotations

from pathlib import Path

from aimc_robust.experiments.results.archive import unpack
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.filenames import QUESTION
from aimc_robust.io.atomic import atomic_write, read_json
from aimc_robust.report.comparison.page import report_files
from aimc_robust.report.evaluation import page
from aimc_robust.report.freshness import sources, write_stamp


def write_report(folder: Path) -> Path:
    """Write tables, figures and both reports of a results folder from its rows; returns the path of report.html.

    The folder of a comparison or of an evaluation. Works on unfinished results too, and says so in the page. Raises
    InputError when the folder holds neither.
    """
    unpack(folder)
    question = read_json(folder / QUESTION)
    if isinstance(question, dict) and question.get("kind") == "evaluation":
        return page.write_report(folder)
    store = ComparisonResults.open(folder)
    made_from = sources(folder)  # before the rows are read: if some come meanwhile, the report is not current
    files = report_files(store)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        atomic_write(folder / name, content)
    write_stamp(folder, made_from, [folder / name for name in files])
    return folder / "report.html"
