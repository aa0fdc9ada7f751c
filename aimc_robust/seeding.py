"""Random numbers by name: a generator is derived by hashing named axes, never drawn from a shared stream.

So a chip's errors do not depend on batch size, layer order, other layers, the training method or the process
that computes them, and interrupted work continues with the numbers that it would have seen.
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
    """A root seed and the named axes below it, for example seed 0, chip 3, layer "conv1".

    `at` adds axes, `generator` turns the whole into a fresh torch generator. The order in which axes are added
    does not matter; their names and values do.
    """

    root: int
    named: tuple[tuple[str, Axis], ...] = ()

    def at(self, **axes: Axis) -> Axes:
        """These axes and the given ones; an axis given twice takes the last value."""
        plain = {name: axis if isinstance(axis, str) else operator.index(axis) for name, axis in axes.items()}
        merged = dict(self.named) | plain
        return Axes(self.root, tuple(sorted(merged.items())))

    def seed(self) -> int:
        """A 64-bit seed: the BLAKE2b hash of root and axes.

        torch's CPU generator uses the low 32 bits, so two given sets of axes share a stream with probability
        2**-32.
        """
        text = json.dumps([operator.index(self.root), self.named], separators=(",", ":"))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")

    def generator(self, device: str | torch.device = "cpu") -> torch.Generator:
        """A fresh generator for these axes. The CPU's gives the same numbers wherever the result is used."""
        import torch

        return torch.Generator(device).manual_seed(self.seed())
