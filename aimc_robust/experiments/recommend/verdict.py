"""Judge a proposal by the sweep: confirmed, refuted, or not settled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.paired_difference import difference_table

Judgement = Literal["confirmed", "refuted", "not settled"]


@dataclass(frozen=True)
class Verdict:
    """What a sweep says of a proposal.

    Attributes:
        judgement: `confirmed`, `refuted` or `not settled`.
        sentence: Why.
        best: Label with the highest mean; empty if every training failed.
        table: Proposal minus rival on the device [percentage points], a row per rival, with 95 % intervals and p values
            corrected over the table (`statistics.paired_difference`).
    """

    judgement: Judgement
    sentence: str
    best: str
    table: pd.DataFrame


def judge(proposal: str, baseline: str, target: str, estimates: Mapping[tuple[str, str], Estimate]) -> Verdict:
    """Compare the proposal with every rival on the device, on the same chips; `estimates` are by (label, target).

    `confirmed`: above the baseline, and below no rival. `refuted`: below the baseline or some rival. Both require
    differences that are settled among all rows of the table; anything else is `not settled`. Methods without an
    estimate, such as those that diverged, are ignored.
    """
    labels = [label for label, name in estimates if name == target]
    means = {label: estimates[label, target].mean for label in labels}
    best = max(means, key=means.__getitem__, default="")
    if proposal not in labels or baseline not in labels:
        absent = proposal if proposal not in labels else baseline
        return Verdict("not settled", f"{absent} has no result: its training failed.", best, pd.DataFrame())
    rivals = [label for label in labels if label != proposal]
    table = difference_table(estimates, [((proposal, target), (rival, target)) for rival in rivals])
    better_rivals = table[table["settled"] & (table["difference"] < 0)].sort_values("difference")
    over_baseline = table[table["second_model"] == baseline].iloc[0]
    if len(better_rivals):
        rival = better_rivals.iloc[0]
        sentence = f"{rival['second_model']} is better on the device by {_gain_text(rival, sign=-1)}."
        return Verdict("refuted", sentence, best, table)
    if over_baseline["settled"]:
        gain = _gain_text(over_baseline)
        sentence = f"{proposal} is better than {baseline} on the device by {gain}, and no rival is shown to be better."
        return Verdict("confirmed", sentence, best, table)
    return Verdict("not settled", _not_settled_text(proposal, baseline, over_baseline), best, table)


def _gain_text(row: pd.Series[Any], *, sign: int = 1) -> str:
    low, high = sorted((sign * row["ci_low"], sign * row["ci_high"]))
    interval = "" if math.isnan(low) else f" [{low:.2f}, {high:.2f}]"
    over = "trained models" if row["covers"] == "models" else "chips of one trained model"
    return f"{sign * row['difference']:.2f}{interval} points (95 %, over {over})"


def _not_settled_text(proposal: str, baseline: str, row: pd.Series[Any]) -> str:
    if not row["pairs"]:
        return f"{proposal} and {baseline} have no trained seed in common, as some failed; use more seeds."
    sample = "so few models do" if row["covers"] == "models" else "one model each does"
    difference = f"{proposal} differs from {baseline} by {row['difference']:+.2f} points"
    return f"{difference}, which {sample} not settle; use more seeds."
