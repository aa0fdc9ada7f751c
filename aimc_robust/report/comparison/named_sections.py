"""Report sections that a spec names as `package.module:function`, and the comparisons that they make."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aimc_robust.errors import InputError
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.io.user_code import import_callable
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.statistics.paired_difference import Key


def load_section(reference: str, results: ComparisonResults) -> Callable[..., Any]:
    """Import a section's function, found from the working directory and from the results folder upwards."""
    return import_callable(reference, what="report section", near=[results.folder])


def section_pairs(results: ComparisonResults, estimates: Mapping[Key, AccuracyEstimate]) -> Iterable[tuple[Key, Key]]:
    """Yield the pairs that the named sections compare, so that the page corrects for them too.

    A section names them by an attribute `pairs` of its function: a function of the spec and the estimates.
    """
    for reference in results.spec.report_sections:
        try:
            function = load_section(reference, results)
        except InputError:  # the page says so, in the section's place
            continue
        try:
            pairs = list(function.pairs(results.spec, estimates)) if hasattr(function, "pairs") else []
        except Exception as error:  # whatever a user's function raises; the rest of the report is written all the same
            warnings.warn(
                f"the pairs of report section {reference} cannot be found ({type(error).__name__}: {error}); what it "
                "compares is neither tested nor counted in the correction.",
                stacklevel=2,
            )
        else:
            yield from pairs
