"""Select the drift law of a fitted card."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from aimc_robust.errors import InputError, unknown_name
from aimc_robust.fitting.card_draft import CardDraft
from aimc_robust.fitting.drift_fit import DriftFit
from aimc_robust.fitting.points import Points
from aimc_robust.fitting.power_law import fit_power_law
from aimc_robust.fitting.read_noise import ReadNoise
from aimc_robust.fitting.residuals import marginal_deviance
from aimc_robust.fitting.std_fit import FittedLaws
from aimc_robust.fitting.table_drift import MIN_CELLS, fit_drift_table

DriftChoice = Literal["auto", "none", "table", "power-law"]
"""A drift law to fit, or `auto`: that with the lowest BIC."""

DRIFT_CHOICES: tuple[DriftChoice, ...] = get_args(DriftChoice)


def drift_choice(name: str) -> DriftChoice:
    """Return `name` as a drift choice.

    Raises:
        UnknownNameError: If `name` is none of `DRIFT_CHOICES`.
    """
    for choice in DRIFT_CHOICES:
        if choice == name:
            return choice
    raise unknown_name("drift", name, DRIFT_CHOICES)


def select_drift(
    choice: DriftChoice,
    points: Points,
    read_noise: ReadNoise | None,
    programming: FittedLaws,
    draft: CardDraft,
    *,
    reference: float,
    t0_s: float | None,
) -> DriftFit:
    """Fit the requested drift law, or that with the lowest BIC of the marginal Gaussian likelihood of all points.

    Args:
        choice: The drift law, or `auto`.
        points: The cells.
        read_noise: Their read noise.
        programming: The programming error.
        draft: The rest of the card.
        reference: Reference state [unit].
        t0_s: For a power law; see `fit_power_law`.

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
    if choice == "power-law":
        power_law = fit_power_law(points, read_noise, programming, reference=reference, t0_s=t0_s)
        if isinstance(power_law, str):
            raise InputError(f"{power_law}; use drift='table' or 'auto'.")
        return power_law._replace(summary=f"{power_law.summary}; as requested")
    table = fit_drift_table(points, read_noise, reference=reference)
    if choice == "table":
        if table is None:
            raise InputError(
                f"a drift table needs at least {MIN_CELLS} cells at a second time; measure more, or use drift='none'."
            )
        return table._replace(summary=f"{table.summary}; as requested")
    power_law = fit_power_law(points, read_noise, programming, reference=reference, t0_s=t0_s)
    candidates = {"none": no_drift} | ({"table": table} if table is not None else {})
    if isinstance(power_law, DriftFit):
        candidates["power-law"] = power_law
    best, reason = _lowest_bic(candidates, points, read_noise, draft)
    if isinstance(power_law, str):
        reason += f"; {power_law}"
    return candidates[best]._replace(summary=f"{candidates[best].summary}; {reason}")


def _lowest_bic(
    candidates: dict[str, DriftFit], points: Points, read_noise: ReadNoise | None, draft: CardDraft
) -> tuple[str, str]:
    """The candidate with the lowest BIC, and a text with the others' differences."""
    bics = {}
    for kind, drift in candidates.items():
        card = draft.card(drift, {"citation": "not written yet"})
        parameters = drift.parameters + drift.programming.parameters
        deviance = marginal_deviance(card, points, read_noise, time_zero_s=drift.time_zero_s)
        bics[kind] = deviance + parameters * np.log(len(points))
    best = min(bics, key=lambda kind: bics[kind])
    return best, "BIC above the lowest: " + ", ".join(f"{kind} {bics[kind] - bics[best]:.1f}" for kind in candidates)
