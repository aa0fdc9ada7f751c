"""Seconds of work that can be done again and again, and how they grow with the images."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import torch

# A thing is done once to warm up, then at least so often, and on until it has taken ENOUGH_S; the median counts.
REPETITIONS, MOST_REPETITIONS, ENOUGH_S = 3, 25, 0.3
PATIENCE_S = 8.0  # for the repetitions of one thing: what takes longer is timed on fewer images, and scaled


@dataclass(frozen=True)
class Cost:
    """Seconds of a task on so many images: fixed_s + images * per_image_s."""

    fixed_s: float
    per_image_s: float

    def of(self, images: int) -> float:
        """Seconds for `images`."""
        return self.fixed_s + images * self.per_image_s

    @classmethod
    def from_two_points(cls, one: tuple[int, float], other: tuple[int, float]) -> Cost:
        """The cost that two (images, seconds) show; neither part is negative, whatever the clock says."""
        (few, fast), (many, slow) = one, other
        per_image_s = max(slow - fast, 0.0) / (many - few) if many > few else slow / many
        return cls(max(fast - few * per_image_s, 0.0), per_image_s)


def affordable_batch(seconds: float, images: int, wanted: int) -> int:
    """How many images, `wanted` at most, can be waited for, when `images` take so many seconds."""
    return min(wanted, max(images, int(images * PATIENCE_S / (1 + REPETITIONS) / seconds)))


def median_s(steps: Iterable[object], device: torch.device) -> float:
    """Seconds of a step, each done when the next is asked for; the first is left out where there is another."""
    moments = [_now(device)]
    for _ in steps:
        moments.append(_now(device))
        timed = len(moments) - 2
        if timed >= MOST_REPETITIONS or (timed >= REPETITIONS and moments[-1] - moments[1] >= ENOUGH_S):
            break
    seconds = [after - before for before, after in pairwise(moments)]
    return median(seconds[1:] or seconds)


def _now(device: torch.device) -> float:
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter()
