"""The page of an evaluation: a list of sections. Another section is a function, and its entry in the list."""

from __future__ import annotations

from collections.abc import Callable

from aimc_robust.experiments.results.evaluation import EvaluationResults
from aimc_robust.report.evaluation import explanation_sections, reproduction, sections
from aimc_robust.report.evaluation.content import EvaluationContent, gather
from aimc_robust.report.page_files import Contents, page_files
from aimc_robust.report.page_model import Page, Section

SECTIONS: list[Callable[[EvaluationContent], Section | None]] = [
    sections.summary,
    sections.estimates,
    sections.differences,
    explanation_sections.attribution,
    explanation_sections.prediction,
    sections.devices,
    sections.noises,
    reproduction.reproduction,
]


def report_files(results: EvaluationResults) -> Contents:
    """Write an evaluation's tables; return the content of every file of its report, by its path in the folder."""
    results.write_tables()
    content = gather(results)
    title = f"{', '.join(results.spec.labels)} on analog memory"
    made = [make(content) for make in SECTIONS]
    return page_files(Page(title, "evaluation", sections.intro(content), made))
