"""Parts of the data for the probes of a prediction: which images a part holds does not depend on the batches."""

from collections.abc import Iterable, Iterator

import torch

from aimc_robust.analysis.expected_rise import NODES
from aimc_robust.tasks.batches import Batch, examples_in, select
from aimc_robust.tasks.task import Task


def image_parts(batches: Iterable[Batch], probes: int, images: int, task: Task) -> Iterator[list[Batch]]:
    """Yield at most `images` images, spread evenly over the data, in equal parts for `probes` probes.

    A part is a list of pieces of batches.
    """
    counts = [examples_in(task.unpack(batch)[1]) for batch in batches]
    total = sum(counts)
    used = min(images, total)
    size = max(1, used * len(NODES) // probes)
    chosen = torch.arange(used) * total // max(used, 1)
    part: list[Batch] = []
    first, missing = 0, size
    for batch, examples in zip(batches, counts, strict=True):
        rows = chosen[(chosen >= first) & (chosen < first + examples)] - first
        first += examples
        while len(rows) > 0:
            piece, rows = rows[:missing], rows[missing:]
            part.append(select(batch, piece))
            missing -= len(piece)
            if missing == 0:
                yield part
                part, missing = [], size
    if part:
        yield part
