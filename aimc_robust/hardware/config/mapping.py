"""The abstract weight mapping: normalized weights to device states and back.

Notation: u = W / w_max in [-1, 1]; g = state / max state in [g_min, 1], with g_min = min / max of the window.
The devices of a weight are grouped in banks. The devices of one bank share a column, whose current is their signed sum.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

from torch import Tensor


def quantize_states(g: Tensor, g_min: float, cell_bits: int) -> Tensor:
    """Round g to the nearest of 2**cell_bits equally spaced levels on [g_min, 1], ties to even; not at all with 0."""
    if cell_bits == 0:
        return g
    steps = 2**cell_bits - 1
    return g.sub(g_min).mul_(steps / (1.0 - g_min)).round_().mul_((1.0 - g_min) / steps).add_(g_min)


class WeightMapping(ABC):
    """Abstract base of weight mappings: how one weight is stored in the states of its devices.

    A subclass is a value without mutable state. Make it a frozen dataclass, so that crossbars with equal mappings are
    equal and hashable.
    """

    @property
    @abstractmethod
    def signs(self) -> tuple[float, ...]:
        """Sign (+1 or -1) with which each device's current enters the sum of its bank, bank after bank."""

    @property
    def banks(self) -> int:
        """Number of banks; each has `len(signs) // banks` devices."""
        return 1

    @abstractmethod
    def to_states(self, u: Tensor, g_min: float, cell_bits: int) -> Iterator[Tensor]:
        """Yield the target states of each device, in the order of `signs`.

        Args:
            u: Normalized weights in [-1, 1], any shape; must not be modified.
            g_min: Smallest normalized state.
            cell_bits: Bits per device to which states are rounded; 0: continuous.

        Yields:
            Normalized states g in [g_min, 1], of u's shape; one new tensor per device.
        """

    @abstractmethod
    def factors(self, g_min: float, cell_bits: int) -> tuple[tuple[float, ...], float]:
        """Return the linear read-out: u = sum over banks of factor * (signed sum of the bank's g) + offset.

        Args:
            g_min: Smallest normalized state.
            cell_bits: Bits per device; 0: continuous.

        Returns:
            The factor of each bank, and the offset.
        """

    @property
    def description(self) -> str:
        """Name of the mapping in reports."""
        return type(self).__name__

    def check_cell_bits(self, cell_bits: int) -> None:  # noqa: B027, most mappings accept every number
        """Raise InputError if the mapping cannot work with this number of bits per device (0: continuous)."""

    def to_weights(self, states: Iterable[Tensor], g_min: float, cell_bits: int) -> Tensor:
        """Return the normalized weights that the states of each device, in the order of `signs`, represent."""
        factors, offset = self.factors(g_min, cell_bits)
        devices_per_bank = len(self.signs) // self.banks
        u: Tensor | None = None
        for device, (g, sign) in enumerate(zip(states, self.signs, strict=True)):
            factor = sign * factors[device // devices_per_bank]
            u = g.mul(factor) if u is None else u.add_(g, alpha=factor)
        assert u is not None
        return u.add_(offset) if offset else u
