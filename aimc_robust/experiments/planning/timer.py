"""Time repeatable work, and how its time grows with the number of images."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import torch

# One warm-up, then at least MIN_REPETITIONS, and further ones until ENOUGH_S have passed; the median is used.
MIN_REPETITIONS, MAX_REPETITIONS, ENOUGH_S = 3, 25, 0.3
MAX_WAIT_S = 8.0  # for all repetitions; work that takes longer is timed on fewer images, and scaled


@dataclass(frozen=True)
class Cost:
    """Time of work as a linear function of the number of images: fixed_s + images * per_image_s.

    Attributes:
        fixed_s: Time that does not depend on the images [s].
        per_image_s: Time per image [s].
    """

    fixed_s: float
    per_image_s: float

    def of(self, images: int) -> float:
        """Return the time for a number of images [s]."""
        return self.fixed_s + images * self.per_image_s

    @classmethod
    def from_two_points(cls, first: tuple[int, float], second: tuple[int, float]) -> Cost:
        """Return the line through two measurements; neither part is negative, whatever the noise of the clock.

        Args:
            first: (images, seconds).
            second: The same for at least as many images.
        """
        (few, few_s), (many, many_s) = first, second
        per_image_s = max(many_s - few_s, 0.0) / (many - few) if many > few else many_s / many
        return cls(max(few_s - few * per_image_s, 0.0), per_image_s)


def affordable_batch(seconds: float, images: int, requested: int) -> int:
    """Return how many images can be timed within MAX_WAIT_S.

    Args:
        seconds: Measured time of `images`.
        images: Number of images of that measurement.
        requested: Largest number to return.
    """
    return min(requested, max(images, int(images * MAX_WAIT_S / (1 + MIN_REPETITIONS) / seconds)))


def median_s(steps: Iterable[object], device: torch.device) -> float:
    """Return the median time of a step [s], without the first one if there are several.

    Args:
        steps: An iterable that does one step of work each time it is advanced.
        device: Device of the work; it is synchronized before the clock is read.
    """
    times = [_now(device)]
    for _ in steps:
        times.append(_now(device))
        repetitions = len(times) - 2
        if repetitions >= MAX_REPETITIONS or (repetitions >= MIN_REPETITIONS and times[-1] - times[1] >= ENOUGH_S):
            break
    seconds = [after - before for before, after in pairwise(times)]
    return median(seconds[1:] or seconds)


def _now(device: torch.device) -> float:
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter()


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Set the number of torch's threads inside the block; None: leave it as it is."""
    previous = torch.get_num_threads()
    torch.set_num_threads(threads or previous)
    try:
        yield
    finally:
        torch.set_num_threads(previous)
