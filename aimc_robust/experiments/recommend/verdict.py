"""What a sweep says of a proposal: confirmed, refuted, or not settled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.statistics.difference_table import difference_table

LEVEL = 0.05


@dataclass(frozen=True)
class Verdict:
    """word: `confirmed`, `refuted` or `not settled`. sentence: why. best: the label with the highest mean;
    empty where every training failed.

    table: proposal - rival on the device [points] for each rival, with 95 % interval and p values corrected over the
    table (`evaluation.comparison`).
    """

    word: str
    sentence: str
    best: str
    table: pd.DataFrame


def judge(proposal: str, baseline: str, target: str, estimates: Mapping[tuple[str, str], AccuracyEstimate]) -> Verdict:
    """Compare the proposal with every rival on the device, on the same chips.

    confirmed: above the baseline, and below no rival. refuted: below the baseline or some rival. Both with corrected
    p values below 0.05; anything else is not settled. estimates: (label, target) -> estimate; rivals without one, such
    as those that diverged, have no say.
    """
    labels = [label for label, name in estimates if name == target]
    means = {label: estimates[label, target].mean for label in labels}
    best = max(means, key=means.__getitem__, default="")
    if proposal not in labels or baseline not in labels:
        absent = proposal if proposal not in labels else baseline
        return Verdict("not settled", f"{absent} has no result: its training failed.", best, pd.DataFrame())
    rivals = [label for label in labels if label != proposal]
    table = difference_table(estimates, [((proposal, target), (rival, target)) for rival in rivals])
    settled = table["p_holm"] < LEVEL
    beaten_by = table[settled & (table["difference"] < 0)].sort_values("difference")
    over_baseline = table[table["second_model"] == baseline].iloc[0]
    if len(beaten_by):
        first = beaten_by.iloc[0]
        sentence = f"{first['second_model']} is better on the device by {_gain(-first['difference'], first, -1)}."
        return Verdict("refuted", sentence, best, table)
    if over_baseline["p_holm"] < LEVEL:
        gain = _gain(over_baseline["difference"], over_baseline)
        sentence = f"{proposal} is better than {baseline} on the device by {gain}, and no rival is shown to be better."
        return Verdict("confirmed", sentence, best, table)
    return Verdict("not settled", _open(proposal, baseline, over_baseline), best, table)


def _gain(points: float, row: pd.Series, sign: int = 1) -> str:
    ends = sorted((sign * row["ci_low"], sign * row["ci_high"]))
    interval = "" if math.isnan(ends[0]) else f" [{ends[0]:.2f}, {ends[1]:.2f}]"
    over = "trained models" if row["covers"] == "models" else "chips of one trained model"
    return f"{points:.2f}{interval} points (95 %, over {over})"


def _open(proposal: str, baseline: str, row: pd.Series) -> str:
    if not row["pairs"]:
        return f"{proposal} and {baseline} have no trained seed in common, as some failed; use more seeds."
    models = "so few models do" if row["covers"] == "models" else "one model each does"
    difference = f"{proposal} differs from {baseline} by {row['difference']:+.2f} points"
    return f"{difference}, which {models} not settle; use more seeds."
