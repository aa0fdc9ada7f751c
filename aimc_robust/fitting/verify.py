"""Check by simulation that the implementation reproduces a card's statistics, with a stated false-alarm rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aimc_robust.devices.card import Card
from aimc_robust.devices.library import load_card
from aimc_robust.devices.limits import require_time, time_text
from aimc_robust.errors import InputError, require_finite, require_whole
from aimc_robust.fitting.checks import Check
from aimc_robust.fitting.drift_checks import drift_checks
from aimc_robust.fitting.read_checks import read_checks
from aimc_robust.fitting.reference_implementation import Reference
from aimc_robust.fitting.simulated_cells import simulate_cells
from aimc_robust.fitting.state_checks import independence_checks, state_checks, stuck_checks
from aimc_robust.seeding import Axes

CHIPS, TARGETS = 4, 7
SHOWN_FAILURES = 5


@dataclass(frozen=True, kw_only=True)
class Verification:
    """All checks of a card.

    Attributes:
        card: The card.
        alpha: Probability that a right implementation fails, over all checks together.
        cells: Number of cells for each target on each chip.
        times_s: Times that were checked [s].
        checks: The checks.
    """

    card: Card
    alpha: float
    cells: int
    times_s: tuple[float, ...]
    checks: tuple[Check, ...]

    @property
    def smallest_p(self) -> float:
        """Smallest p value with Bonferroni's correction, at most 1."""
        return min(1.0, min(check.p for check in self.checks) * len(self.checks))

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks whose corrected p value is below alpha, or NaN."""
        return tuple(check for check in self.checks if not check.p * len(self.checks) >= self.alpha)

    @property
    def verified(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    def sentence(self) -> str:
        """Summarize the result in one sentence."""
        count = len(self.checks)
        if self.verified:
            return (
                f"{self.card.name} verified at alpha = {self.alpha:g}: {count} checks, smallest corrected p = "
                f"{self.smallest_p:.2g}"
            )
        named = "; ".join(_check_text(check, self.card.unit) for check in self.failed[:SHOWN_FAILURES])
        more = len(self.failed) - SHOWN_FAILURES
        return (
            f"{self.card.name} NOT verified at alpha = {self.alpha:g}: {len(self.failed)} of {count} checks failed: "
            f"{named}{f'; and {more} more' if more > 0 else ''}"
        )


def verify_card(
    device: Card | str | Path | dict[str, Any],
    *,
    alpha: float = 0.01,
    cells: int = 2000,
    times_s: Sequence[float] | None = None,
    chip_seed: int = 0,
) -> Verification:
    """Compare simulated cells of a card with an independent implementation of its formulas (`fitting.reference`).

    Cells are programmed by `program`, as any network is: `cells` for each of 7 targets on each of 4 chips. Checked
    at each target and time: mean and variance (with the reference's own fourth moment), at the first and last time
    also the distribution; read noise of every read; independence of cells, targets and chips; that a chip drifts
    along one trajectory, drawn as the card says; the fractions of stuck cells.

    Args:
        device: The card; see `load_card`.
        alpha: Probability that a right implementation fails, over all checks together (Bonferroni's correction).
        cells: Number of cells for each target on each chip.
        times_s: Seconds since programming; None: times that the card's drift covers.
        chip_seed: Root seed of the chips.

    Returns:
        All checks.

    Raises:
        InputError: If an argument is invalid, or the reference lacks a law of the card.
    """
    card = load_card(device)
    require_finite("alpha", alpha, low=1e-9, high=0.5)
    require_whole("cells", cells, low=200, high=1_000_000)
    times = _times_s(card, times_s)
    simulated = simulate_cells(card, targets=TARGETS, cells=cells, chips=CHIPS, times_s=times, chip_seed=chip_seed)
    rng = np.random.default_rng(Axes(chip_seed).at(effect="verify").seed())
    references = [[Reference(card, float(target), t) for target in simulated.targets] for t in times]
    scores, checks = state_checks(simulated, references, rng)
    checks += independence_checks(scores)
    checks += drift_checks(simulated, references, scores)
    checks += read_checks(card, simulated)
    checks += stuck_checks(card, simulated)
    return Verification(card=card, alpha=alpha, cells=cells, times_s=times, checks=tuple(checks))


def _check_text(check: Check, unit: str) -> str:
    where = f" of target {check.target:.4g} {unit}" if check.target is not None else ""
    when = f" at {time_text(check.time_s)}" if check.time_s is not None else ""
    return f"{check.name}{where}{when}: expected {check.expected:.5g}, observed {check.observed:.5g}"


def _times_s(card: Card, times_s: Sequence[float] | None) -> tuple[float, ...]:
    """Time 0 and the others, rising."""
    if times_s is not None:
        for time_s in times_s:
            require_time(time_s)
        if not card.depends_on_time and any(times_s):
            raise InputError(f"{card.name} has no drift, so only time 0 can be verified; leave out times_s.")
        return tuple(sorted({0.0, *map(float, times_s)}))
    if card.drift is None:
        return (0.0, 3600.0) if card.depends_on_time else (0.0,)
    return tuple(sorted({0.0, *card.drift.sample_times_s}))
