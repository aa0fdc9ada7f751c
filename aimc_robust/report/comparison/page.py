"""The page of a comparison: a list of sections. Another section is a function, and its entry in the list."""

from __future__ import annotations

from collections.abc import Callable

from aimc_robust.errors import AimcError, InputError, warn
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.report.comparison import sections
from aimc_robust.report.comparison.content import ComparisonContent, gather, load_section
from aimc_robust.report.comparison.curvature import curvature
from aimc_robust.report.comparison.difference_sections import differences, summary
from aimc_robust.report.comparison.training_section import training
from aimc_robust.report.page_files import Contents, page_files
from aimc_robust.report.page_model import Page, Prose, Section

SECTION = "report section"
LEFT_OUT = "The section is left out"
SectionFunction = Callable[[ComparisonContent], Section | None]
SECTIONS: list[SectionFunction] = [
    summary,
    sections.estimates,
    differences,
    sections.metrics,
    sections.landscape,
    curvature,
    sections.failures,
    training,
    sections.compensation,
    sections.devices,
    sections.noises,
    sections.reproduction,
]


def report_files(results: ComparisonResults) -> Contents:
    """Return the content of every file of a comparison's report, by its path in the results folder."""
    return page_files(comparison_page(gather(results)))


def comparison_page(content: ComparisonContent) -> Page:
    """Return the page of a comparison: the sections that its spec names, then those of every comparison."""
    spec = content.results.spec
    own = [_own_section(reference, content) for reference in spec.report_sections]
    every = [make(content) for make in SECTIONS]
    return Page(spec.name, "comparison of training methods", sections.intro(content), [*own, *every])


def _own_section(reference: str, content: ComparisonContent) -> Section | None:
    """Return what a user's function makes of the content; a warning in its place if there is an error."""
    try:
        function = load_section(reference, content.results)
    except InputError as error:
        return _left_out(reference, f"{error} {LEFT_OUT}; what it compares is neither tested nor counted.")
    try:
        section = function(content)
        if section is not None and not isinstance(section, Section):
            raise InputError(f"{SECTION} {reference} returned {type(section).__name__}; expected a Section or None.")
        return section
    except Exception as error:  # whatever a user's function raises; the rest of the report is written all the same
        text = (
            str(error) if isinstance(error, AimcError) else f"{SECTION} {reference}: {type(error).__name__}: {error}."
        )
        return _left_out(reference, f"{text} {LEFT_OUT}.")


def _left_out(reference: str, text: str) -> Section:
    warn(text)
    return Section(reference, [Prose(text, "warning")])
