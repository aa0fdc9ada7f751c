"""Write the report of a results folder: of a comparison or of an evaluation."""

from __future__ import annotations

from pathlib import Path

from aimc_robust.experiments.results.archive import unpack
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.evaluation import EvaluationResults
from aimc_robust.experiments.results.files import QUESTION, read_file
from aimc_robust.report.comparison import page as comparison
from aimc_robust.report.evaluation import page as evaluation
from aimc_robust.report.freshness import inputs_digest, write_manifest
from aimc_robust.report.page_files import write_files


def write_report(folder: Path) -> Path:
    """Write tables, figures, report.html and report.md of a results folder from its rows; return report.html's path.

    Unfinished results are reported too; the report then states what is missing.

    Raises:
        InputError: If the folder holds neither a comparison nor an evaluation.
    """
    unpack(folder)
    if (read_file(folder / QUESTION) or {}).get("kind") == "evaluation":
        write_files(folder, evaluation.report_files(EvaluationResults.open(folder)))
    else:
        inputs = inputs_digest(folder)  # before the rows are read: rows added meanwhile make the report outdated
        files = comparison.report_files(ComparisonResults.open(folder))
        write_files(folder, files)
        write_manifest(folder, inputs, [folder / name for name in files])
    return folder / "report.html"
