"""Named random streams: generators are derived by hashing named axes, never drawn from a shared stream.

A chip's errors therefore do not depend on batch size, layer order, other layers, the training method or the process
that computes them, and interrupted work resumes with the same random numbers.
"""

from __future__ import annotations

import hashlib
import json
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Axis = str | int


@dataclass(frozen=True)
class Axes:
    """A root seed with named axes, for example seed 0, chip 3, layer "conv1".

    `at` adds axes, `generator` creates a torch generator for them. The order in which axes are added does not matter;
    their names and values do.

    Attributes:
        root: Root seed.
        named: (name, value) of each axis, sorted by name.

    Examples:
        >>> Axes(0).at(chip=3, layer="conv1").generator()
    """

    root: int
    named: tuple[tuple[str, Axis], ...] = ()

    def at(self, **axes: Axis) -> Axes:
        """Return a copy with further axes; a value replaces that of an existing axis of the same name."""
        values = {name: axis if isinstance(axis, str) else operator.index(axis) for name, axis in axes.items()}
        merged = dict(self.named) | values
        return Axes(self.root, tuple(sorted(merged.items())))

    def seed(self) -> int:
        """Compute a 64-bit seed: the BLAKE2b hash of root and axes.

        torch's CPU generator uses the low 32 bits, so two different sets of axes share a stream with probability
        2**-32.
        """
        text = json.dumps([operator.index(self.root), self.named], separators=(",", ":"))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")

    def generator(self, device: str | torch.device = "cpu") -> torch.Generator:
        """Create a generator seeded by these axes; a CPU generator gives the same numbers on every machine."""
        import torch

        return torch.Generator(device).manual_seed(self.seed())
