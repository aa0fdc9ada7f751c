"""Judge a proposal by the sweep: confirmed, refuted, or not settled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from aimc_robust.statistics.estimate import Estimate, best_of
from aimc_robust.statistics.paired_difference import difference_table
from aimc_robust.statistics.primary_metric import PrimaryMetric

Judgement = Literal["confirmed", "refuted", "not settled"]


@dataclass(frozen=True)
class Verdict:
    """What a sweep says of a proposal.

    Attributes:
        judgement: `confirmed`, `refuted` or `not settled`.
        sentence: Why.
        best: Label with the best mean; empty if every training failed.
        table: Proposal minus rival on the device, a row per rival, with 95 % intervals and p values corrected over the
            table (`statistics.paired_difference`).
    """

    judgement: Judgement
    sentence: str
    best: str
    table: pd.DataFrame


def judge(proposal: str, baseline: str, target: str, estimates: Mapping[tuple[str, str], Estimate]) -> Verdict:
    """Compare the proposal with every rival on the device, on the same chips; `estimates` are by (label, target).

    `confirmed`: better than the baseline, and worse than no rival. `refuted`: worse than the baseline or some rival.
    Both require differences that are settled among all rows of the table; anything else is `not settled`. Methods
    without an estimate, such as those that diverged, are ignored.
    """
    labels = [label for label, name in estimates if name == target]
    best = best_of({label: estimates[label, target] for label in labels})
    if proposal not in labels or baseline not in labels:
        absent = proposal if proposal not in labels else baseline
        return Verdict("not settled", f"{absent} has no result: its training failed.", best, pd.DataFrame())
    rivals = [label for label in labels if label != proposal]
    table = difference_table(estimates, [((proposal, target), (rival, target)) for rival in rivals])
    metric = estimates[proposal, target].metric
    gains = metric.loss_of(table["difference"], 0.0)  # of the proposal over each rival
    losses = gains[table["settled"] & (gains < 0.0)]
    over_baseline = table[table["second_model"] == baseline].iloc[0]
    if len(losses):
        rival = table.loc[losses.idxmin()]
        sentence = f"{rival['second_model']} is better on the device by {_size_text(metric, rival)}."
        return Verdict("refuted", sentence, best, table)
    if over_baseline["settled"]:
        gain = _size_text(metric, over_baseline)
        sentence = f"{proposal} is better than {baseline} on the device by {gain}, and no rival is shown to be better."
        return Verdict("confirmed", sentence, best, table)
    return Verdict("not settled", _not_settled_text(metric, proposal, baseline, over_baseline), best, table)


def _size_text(metric: PrimaryMetric, row: pd.Series[Any]) -> str:
    """Format the size of a settled difference."""
    sign = math.copysign(1.0, row["difference"])
    low, high = sorted((sign * row["ci_low"], sign * row["ci_high"]))
    interval = "" if math.isnan(low) else f" [{metric.number(low)}, {metric.number(high)}]"
    over = "trained models" if row["covers"] == "models" else "chips of one trained model"
    size = f"{metric.number(sign * row['difference'])}{interval} {metric.difference_unit}".rstrip()
    return f"{size} (95 %, over {over})"


def _not_settled_text(metric: PrimaryMetric, proposal: str, baseline: str, row: pd.Series[Any]) -> str:
    if not row["pairs"]:
        return f"{proposal} and {baseline} have no trained seed in common, as some failed; use more seeds."
    sample = "so few models do" if row["covers"] == "models" else "one model each does"
    sign = "" if row["difference"] < 0.0 else "+"
    size = f"{sign}{metric.number(row['difference'])} {metric.difference_unit}".rstrip()
    direction = "" if metric.is_higher_better else " (lower is better)"
    return f"{proposal} differs from {baseline} by {size}{direction}, which {sample} not settle; use more seeds."
