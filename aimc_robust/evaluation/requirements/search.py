"""The hardest level at which enough chips pass: a search on some chips, a confirmation on others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from aimc_robust.errors import InputError, require_finite, require_whole
from aimc_robust.evaluation.monte_carlo import MAX_CHIPS
from aimc_robust.statistics.binomial import allowed_failures, chips_for_yield

Passes = Callable[[int, Sequence[int]], Sequence[bool]]
"""(index of a level, chips) -> whether each chip passes. Level 0 is the hardest."""

BLOCK = 16  # chips that are measured before the next decision; any number of processes makes the same decisions
CONFIRMED_AT = (24, 12, 6, 3, 1, 0)  # steps that a level of the confirmation is easier than the level that was found


def number_of_chips(chips: int | None, required_yield: float) -> tuple[int, int]:
    """Return (number of chips of each search, how many of them may fail); None: as many as allow one failure."""
    require_finite("required_yield (a share of chips, 0 to 1)", required_yield, high=1.0)
    fewest = chips_for_yield(required_yield)
    if chips is None:
        chips = chips_for_yield(required_yield, failures=1)
    require_whole("chips", chips, low=1, high=MAX_CHIPS)
    if chips < fewest:
        raise InputError(
            f"a yield of {required_yield:g} with 95 % confidence needs at least {fewest} chips, none of which fails; "
            f"got chips = {chips}."
        )
    return chips, allowed_failures(chips, required_yield)


class Confirmation(NamedTuple):
    """The hardest confirmed level, and how many of the chips passed at it."""

    level: int
    passing: int
    chips: int


@dataclass
class LevelSearch:
    """Finds the hardest level at which at most `allowed` of `chips` fail, with as few measurements as it can.

    All levels share the draws of the chips. The search takes for granted that a chip that passes at a level passes at
    every easier one; `confirm` does not.
    """

    passes: Passes
    levels: int
    chips: Sequence[int]
    allowed: int

    def __post_init__(self) -> None:
        self._passed_at = dict.fromkeys(self.chips, self.levels)  # the hardest level at which the chip passed
        self._failed_at = dict.fromkeys(self.chips, -1)  # the easiest level at which it failed

    def hardest(self, start: int, jump: int) -> int | None:
        """Return the hardest level that is good enough; None if there is none. `jump`: first steps from `start`."""
        start = min(max(start, 0), self.levels - 1)
        if self.is_enough(start):
            good, bad = start, -1
            while good > 0 and self.is_enough(trial := max(good - jump, 0)):
                good = trial
            bad = max(good - jump, 0) if good > 0 else -1
        else:
            good, bad = self.levels, start
            for trial in [*range(start + jump, self.levels - 1, jump), self.levels - 1]:
                if trial > bad and self.is_enough(trial):
                    good = trial
                    break
                bad = max(bad, trial)
            if good == self.levels:
                return None
        while good - bad > 1:
            middle = (good + bad) // 2
            if self.is_enough(middle):
                good = middle
            else:
                bad = middle
        return good

    def is_enough(self, level: int) -> bool:
        """Whether at most `allowed` chips fail at a level. Those that failed at the easiest levels are tried first."""
        failures = sum(failed >= level for failed in self._failed_at.values())
        unknown = [chip for chip in self.chips if self._failed_at[chip] < level < self._passed_at[chip]]
        unknown.sort(key=lambda chip: -self._failed_at[chip])
        for block in _blocks(unknown):
            if failures > self.allowed:
                break
            for chip, passed in zip(block, self.passes(level, block), strict=True):
                if passed:
                    self._passed_at[chip] = level
                else:
                    self._failed_at[chip] = level
                    failures += 1
        return failures <= self.allowed


def confirm(passes: Passes, found: int, *, levels: int, chips: Sequence[int], allowed: int) -> Confirmation | None:
    """Confirm a level that other chips have found: return the hardest confirmed one, None if there is none.

    Levels that the search has chosen are tested on these chips from the easiest to the hardest, each at 95 %, until one
    fails. In this fixed order the probability to confirm any level whose yield is too low is at most 5 %, whatever the
    number of levels: the first such level would have to pass.

    References:
        Angelopoulos et al., Learn then Test, arXiv 2110.01052, Sec. 3 (fixed-sequence testing).
    """
    confirmed = None
    for level in sorted({min(found + step, levels - 1) for step in CONFIRMED_AT}, reverse=True):
        failures = 0
        for block in _blocks(chips):
            failures += sum(not passed for passed in passes(level, block))
            if failures > allowed:
                return confirmed
        confirmed = Confirmation(level, len(chips) - failures, len(chips))
    return confirmed


def _blocks(chips: Sequence[int]) -> Iterator[Sequence[int]]:
    yield from (chips[i : i + BLOCK] for i in range(0, len(chips), BLOCK))
