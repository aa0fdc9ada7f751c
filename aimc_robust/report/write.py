"""Write the report of a results folder: of a comparison or of an evaluation."""

from __future__ import annotations

from pathlib import Path

from aimc_robust.experiments.results.archive import unpack
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.filenames import QUESTION
from aimc_robust.io.atomic import atomic_write, read_json
from aimc_robust.report.comparison.page import report_files
from aimc_robust.report.evaluation.page import write_evaluation_report
from aimc_robust.report.freshness import inputs_digest, write_manifest


def write_report(folder: Path) -> Path:
    """Write tables, figures, report.html and report.md of a results folder from its rows.

    Unfinished results are reported too; the report then states what is missing.

    Args:
        folder: The folder of a comparison or of an evaluation.

    Returns:
        Path of report.html.

    Raises:
        InputError: If the folder holds neither a comparison nor an evaluation.
    """
    unpack(folder)
    question = read_json(folder / QUESTION)
    if isinstance(question, dict) and question.get("kind") == "evaluation":
        return write_evaluation_report(folder)
    results = ComparisonResults.open(folder)
    inputs = inputs_digest(folder)  # before the rows are read: rows added meanwhile make the report outdated
    files = report_files(results)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        atomic_write(folder / name, content)
    write_manifest(folder, inputs, [folder / name for name in files])
    return folder / "report.html"
