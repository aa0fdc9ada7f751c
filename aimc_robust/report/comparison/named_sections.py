"""Report sections that a spec names as `package.module:function`, and the comparisons that they make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.io.user_code import import_callable
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.statistics.difference_table import Key


def load_section(reference: str, results: ComparisonResults) -> Callable[..., Any]:
    """Import a section's function.

    Args:
        reference: `package.module:function`, found from the working directory and from the results folder upwards.
        results: The comparison.

    Raises:
        InputError: If it cannot be imported.
    """
    return import_callable(reference, what="report section", near=[results.folder])


def section_pairs(results: ComparisonResults, estimates: Mapping[Key, AccuracyEstimate]) -> Iterable[tuple[Key, Key]]:
    """Yield the pairs that the named sections compare, so that the page corrects for them too.

    A section names them by an attribute `pairs` of its function: a function of the spec and the estimates.

    Args:
        results: The comparison.
        estimates: (label, target) -> estimate.
    """
    for reference in results.spec.report_sections:
        try:
            pairs = getattr(load_section(reference, results), "pairs", None)
            yield from () if pairs is None else list(pairs(results.spec, estimates))
        except Exception:  # the page says what is wrong, in the section's place
            continue
