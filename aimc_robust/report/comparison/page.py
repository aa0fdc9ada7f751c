"""The page of a comparison: a list of sections. Another section is a function, and its entry in the list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from aimc_robust.errors import InputError
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.io.user_code import import_callable
from aimc_robust.report.comparison import sections
from aimc_robust.report.comparison.content import ComparisonContent, gather
from aimc_robust.report.comparison.paper_section import paper
from aimc_robust.report.comparison.training_section import training
from aimc_robust.report.page_files import Contents, page_files
from aimc_robust.report.page_model import Page, Section

SectionFunction = Callable[[ComparisonContent], Section | None]
SECTIONS: list[SectionFunction] = [
    paper,
    sections.summary,
    sections.accuracy,
    sections.landscape,
    sections.failures,
    training,
    sections.compensation,
    sections.devices,
    sections.reproduction,
]


def report_files(results: ComparisonResults) -> Contents:
    """Return the content of every file of a comparison's report.

    Args:
        results: The comparison, finished or not.

    Returns:
        Path relative to the results folder -> content.
    """
    return page_files(comparison_page(gather(results), _own_sections(results.spec)))


def comparison_page(content: ComparisonContent, own: Sequence[SectionFunction] = ()) -> Page:
    """Return the page of a comparison.

    Args:
        content: What the page states.
        own: Functions of sections that come first.
    """
    spec = content.results.spec
    functions = [*own, *SECTIONS]
    return Page(
        spec.name, "comparison of training methods", sections.intro(content), [make(content) for make in functions]
    )


def _own_sections(spec: ComparisonSpec) -> list[SectionFunction]:
    """The functions that the spec names as `package.module:function`."""
    return [partial(_own_section, reference) for reference in spec.report_sections]


def _own_section(reference: str, content: ComparisonContent) -> Section | None:
    section = import_callable(reference, what="report section")(content)
    if section is None or isinstance(section, Section):
        return section
    raise InputError(f"report section {reference} returned {type(section).__name__}; expected a Section or None.")
