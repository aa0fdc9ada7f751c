"""Named random streams: keys and generators are derived by hashing named axes, never drawn from a shared stream.

A chip's errors therefore do not depend on batch size, layer order, other layers, the training method or the process
that computes them, and interrupted work resumes with the same random numbers.
"""

from __future__ import annotations

import functools
import hashlib
import json
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Axis = str | int


@dataclass(frozen=True)
class Axes:
    """A root seed with named axes, for example seed 0, chip 3, layer "conv1".

    `at` adds axes, `generator` creates a torch generator for them, `key` keys the random numbers of chips. The order in
    which axes are added does not matter; their names and values do.

    Attributes:
        root: Root seed.
        named: (name, value) of each axis, sorted by name.

    Examples:
        >>> Axes(0).at(chip=3, layer="conv1").seed() == Axes(0).at(layer="conv1", chip=3).seed()
        True
    """

    root: int
    named: tuple[tuple[str, Axis], ...] = ()

    def at(self, **axes: Axis) -> Axes:
        """Return a copy with further axes; a value replaces that of an existing axis of the same name."""
        values = {name: axis if isinstance(axis, str) else operator.index(axis) for name, axis in axes.items()}
        merged = dict(self.named) | values
        return Axes(self.root, tuple(sorted(merged.items())))

    @classmethod
    def of(cls, source: torch.Generator | Axes) -> Axes:
        """Return axes as they are, or those that a generator's next number names."""
        if isinstance(source, Axes):
            return source
        import torch

        return cls(int(torch.randint(2**62, (), generator=source, device=source.device)))

    def seed(self) -> int:
        """Compute a 64-bit seed: the BLAKE2b hash of root and axes.

        torch's CPU generator uses the low 32 bits, so two different sets of axes share a stream with probability
        2**-32.
        """
        return self._hash(8)

    def key(self) -> int:
        """Compute a key of 128 bits, the BLAKE2b hash of root and axes; see `random_numbers`."""
        return self._hash(16)

    def _hash(self, size: int) -> int:
        text = json.dumps([operator.index(self.root), self.named], separators=(",", ":"))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest(), "little")

    def generator(self, device: str | torch.device = "cpu") -> torch.Generator:
        """Create a generator seeded by these axes; a CPU generator gives the same numbers on every machine."""
        import torch

        return torch.Generator(device).manual_seed(self.seed())


@contextmanager
def global_seed(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed the global generators, which dropout and initial weights use; restore those of CPU and device on exit."""
    import torch

    with torch.random.fork_rng(devices=[]), _restored_generator(device):
        seed_global_generators(seed)
        yield


@contextmanager
def _restored_generator(device: torch.device | None) -> Iterator[None]:
    """Restore the global generator of an accelerator on exit; `torch.random.fork_rng` cannot do so on all of them."""
    if device is None or device.type in ("cpu", "meta"):
        yield
        return
    import torch

    module = torch.get_device_module(device)
    of_device = () if device.type == "mps" else (device,)  # MPS has one device, which its functions do not take
    state = module.get_rng_state(*of_device)
    try:
        yield
    finally:
        module.set_rng_state(state, *of_device)


def seed_global_generators(seed: int) -> None:
    """Do as `torch.manual_seed`, in microseconds where torch has the CPU alone.

    There, `torch.manual_seed` takes milliseconds: for each kind of accelerator it formats the stack of its caller.
    """
    import torch

    if _has_accelerator():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


@functools.cache
def _has_accelerator() -> bool:
    """Return whether there is a GPU or another accelerator, without starting CUDA."""
    import torch

    kind = torch.accelerator.current_accelerator()
    if kind is None:
        return False
    return torch.cuda.device_count() > 0 if kind.type == "cuda" else torch.accelerator.is_available()
