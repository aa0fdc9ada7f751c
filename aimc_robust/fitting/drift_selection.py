"""Select the drift law of a fitted card."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from aimc_robust.errors import InputError
from aimc_robust.fitting.card_draft import CardDraft, DriftFit
from aimc_robust.fitting.points import Points
from aimc_robust.fitting.power_law import fit_power_law
from aimc_robust.fitting.residuals import marginal_deviance
from aimc_robust.fitting.std_fit import FittedLaws
from aimc_robust.fitting.table_drift import fit_drift_table

DriftChoice = Literal["auto", "none", "table", "power-law"]
"""A drift law to fit, or `auto`: that with the lowest BIC."""


def select_drift(
    choice: DriftChoice,
    points: Points,
    programming: FittedLaws,
    draft: CardDraft,
    *,
    reference: float,
    t0_s: float | None,
    tables: bool,
) -> DriftFit:
    """Fit the requested drift law, or that with the lowest BIC of the marginal Gaussian likelihood of all points.

    `reference` [unit] is that of the laws; `t0_s` is for a power law, see `fit_power_law`. `tables`: whether a table,
    which states the programming error too, may be fitted.

    Raises:
        InputError: If the requested law cannot be fitted to these measurements.
    """
    no_drift = DriftFit(None, programming, 0, 0.0, "no drift")
    if len(points.times_s) == 1:
        if choice in ("table", "power-law"):
            raise InputError(f"drift {choice!r} needs measurements at two times or more (column time_s), got one time.")
        return no_drift._replace(summary="no drift: one time only")
    if choice == "none":
        return no_drift._replace(summary="no drift, as requested: the card ignores later times")
    laws: dict[str, Callable[[], DriftFit | str]] = {
        "table": lambda: fit_drift_table(points, draft.read_noise, reference=reference),
        "power-law": lambda: fit_power_law(points, draft.read_noise, programming, reference=reference, t0_s=t0_s),
    }
    if not tables:
        laws["table"] = lambda: "no drift table, since it states the width of a normal programming error"
    if choice != "auto":
        fit = laws[choice]()
        if isinstance(fit, str):
            raise InputError(f"{fit}; measure more, or use drift='auto'.")
        return fit._replace(summary=f"{fit.summary}; as requested")
    fits = {"none": no_drift} | {kind: law() for kind, law in laws.items()}
    candidates = {kind: fit for kind, fit in fits.items() if isinstance(fit, DriftFit)}
    best, reason = _lowest_bic(candidates, points, draft)
    reasons = [candidates[best].summary, reason, *(fit for fit in fits.values() if isinstance(fit, str))]
    return candidates[best]._replace(summary="; ".join(reasons))


def _lowest_bic(candidates: dict[str, DriftFit], points: Points, draft: CardDraft) -> tuple[str, str]:
    """The candidate with the lowest BIC, and a text with the others' differences."""
    bics = {}
    for kind, drift in candidates.items():
        card = draft.card(drift, {"citation": "not written yet"})
        parameters = drift.parameters + drift.programming.parameters
        deviance = marginal_deviance(card, points, draft.read_noise, time_zero_s=drift.time_zero_s)
        bics[kind] = deviance + parameters * np.log(len(points))
    best = min(bics, key=lambda kind: bics[kind])
    return best, "BIC above the lowest: " + ", ".join(f"{kind} {bics[kind] - bics[best]:.1f}" for kind in candidates)
