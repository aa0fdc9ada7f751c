"""Sections of a comparison's page on differences from the baseline: the summary, and every difference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aimc_robust.report import terms
from aimc_robust.report.comparison import table_files, text
from aimc_robust.report.comparison.content import ComparisonContent
from aimc_robust.report.comparison.rankings import BaselineComparison, baseline_pairs
from aimc_robust.report.metric_text import best_mean, difference_cells, limit_text, value_text
from aimc_robust.report.page_model import Bullets, Files, Prose, Row, Section, Table, codes
from aimc_robust.statistics.paired_difference import comparison_table
from aimc_robust.statistics.primary_metric import PrimaryMetric

FEW_SEEDS = 4  # trained models with which only large, very even differences are settled
MANY_ROWS = 24
MANY_LEADS = 6


def summary(content: ComparisonContent) -> Section:
    """Say which method is better than the baseline, which has the best mean, and what is settled to be worse."""
    comparisons = content.baseline_comparisons
    items = [item for c in comparisons if (item := _settled_better(content, c))]
    for baseline in content.baselines:
        items += _overview(content, [c for c in comparisons if c.baseline == baseline])
    seeds = len(content.results.spec.train_seeds)
    if 1 < seeds <= FEW_SEEDS and not all(c.settled for c in comparisons):
        items.append(
            f"With {seeds} trained models per method only large differences that are nearly the same for every seed "
            "are settled; five or more are advisable."
        )
    return Section("Summary", [Bullets(items, "summary") if items else "No two methods have results to compare yet."])


def _settled_better(content: ComparisonContent, c: BaselineComparison) -> str | None:
    if not c.settled or c.comparison is None or (difference := c.comparison.difference) is None:
        return None
    requested = len(content.results.spec.train_seeds)
    reaches = {label: value_text(content.metric, mean) for label, mean in c.means.items()}
    few = f" (over the {difference.seeds} of {requested} models that both methods have)"
    return (
        f"`{c.target}`: **{c.best}** reaches {reaches[c.best]}, {c.baseline} {reaches[c.baseline]}. "
        f"Difference on the same chips: {text.format_difference(difference)}"
        f"{'' if difference.seeds == requested else few}."
        + ("" if c.best in c.best_means else f" {c.best_means[0]} has {reaches[c.best_means[0]]}, not settled.")
    )


def _overview(content: ComparisonContent, comparisons: Sequence[BaselineComparison]) -> list[str]:
    """Sentences on all targets of one baseline."""
    targets, baseline = [c.target for c in comparisons], comparisons[0].baseline
    best: dict[tuple[str, ...], list[str]] = {}
    for c in comparisons:
        best.setdefault(c.best_means, []).append(c.target)
    better, worse = (
        _by_method(
            (label, c.target)
            for c in comparisons
            for label in c.means
            if content.rankings[c.target][label].status == status and label != c.best
        )
        for status in ("better", "worse")
    )
    counted = [
        " and ".join(labels)
        + (f" {'share' if len(labels) > 1 else 'has'} the {best_mean(content.metric)} " if i == 0 else " ")
        + _where(found, targets)
        for i, (labels, found) in enumerate(sorted(best.items(), key=lambda pair: -len(pair[1])))
    ]
    unsettled = [c for c in comparisons if not c.settled]
    places = "any target" if len(unsettled) == len(targets) else codes([c.target for c in unsettled])
    no_method = f"No method is settled to be better than {baseline} on {places}."
    winners, losers = (
        "; ".join(f"{label} {_where(found, targets)}" for label, found in methods.items())
        for methods in (better, worse)
    )
    return [
        f"{'; '.join(counted)}.",
        *([f"Also settled to be better than {baseline}: {winners}."] if better else []),
        *([no_method + _largest_leads(content.metric, unsettled)] if unsettled else []),
        *([f"Settled to be worse than {baseline}: {losers}."] if worse else []),
    ]


def _largest_leads(metric: PrimaryMetric, comparisons: Sequence[BaselineComparison]) -> str:
    """Say how large a lead can be at most on targets where none is settled; empty where no interval says so."""
    leads = {c.target: max(c.largest_lead, 0.0) for c in comparisons if c.largest_lead is not None}
    if not leads:
        return ""
    limits = {target: f"{limit_text(metric, lead)} on {codes([target])}" for target, lead in leads.items()}
    if len(limits) <= MANY_LEADS:
        listed = ", ".join(limits.values())
    else:
        ends = min(leads, key=leads.__getitem__), max(leads, key=leads.__getitem__)
        listed = " to ".join(dict.fromkeys(limits[target] for target in ends))
        listed += "" if ends[0] != ends[1] else " and each other target"
    without = codes([c.target for c in comparisons if c.target not in leads])
    return f" With 95 % confidence for the whole page, a lead is at most {listed}." + (
        f" No limit is known on {without}." if without else ""
    )


def _by_method(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for label, target in pairs:
        found.setdefault(label, []).append(target)
    return found


def _where(found: Sequence[str], targets: Sequence[str]) -> str:
    """Name targets, or count them where they are most of many."""
    if len(found) == len(targets) > 1:
        return f"on all {len(targets)} targets"
    most = len(found) > max(3, len(targets) / 2)
    return f"on {len(found)} of {len(targets)} targets" if most else f"on {codes(found)}"


def differences(content: ComparisonContent) -> Section | None:
    """Show every difference from the baseline, with its p values."""
    spec = content.results.spec
    pairs = baseline_pairs(spec, content.estimates, content.targets)
    records = comparison_table({pair: content.comparisons[pair] for pair in pairs}).to_dict("records")
    several = len(content.baselines) > 1
    rows: list[Row] = [
        [
            ("method", row["first_model"]),
            ("target", row["first_target"]),
            *([("baseline", row["second_model"])] if several else []),
            *difference_cells(
                content.metric, row, "method − baseline" if several else f"method − {row['second_model']}"
            ),
        ]
        for row in records
    ]
    if not rows:
        return None
    note = (
        f"Both sides of a difference use the same training seeds, chips and {content.results.task.items}, so common "
        f"variation cancels. {terms.better_sign(content.metric)}**p**: two-sided test of the paired differences. "
        "**p, corrected**: by Holm's method for all comparisons of the page, which are in `tables/differences.csv`. "
        "**settled**: see [Terms](#terms)."
    )
    title, files = "Differences from the baseline", Files(table_files.difference_files(content))
    return Section(title, [Table(title, rows, heads=2), Prose(note), files], folded=len(rows) > MANY_ROWS)
