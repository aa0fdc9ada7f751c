"""Several devices of equal significance for each device of another weight mapping."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from aimc_robust.errors import require_whole
from aimc_robust.hardware.config.mapping import WeightMapping


@dataclass(frozen=True)
class ParallelDevices(WeightMapping):
    """Several devices of equal significance in place of each device of another mapping, in the same column.

    All have the same target, so that the errors of one weight average. By name: `one-sided*2`.

    Attributes:
        mapping: The other mapping.
        devices: Number of devices in place of one, 2 to 64.

    Raises:
        InputError: if `devices` is invalid.
    """

    mapping: WeightMapping
    devices: int = 2

    def __post_init__(self) -> None:
        require_whole("devices in parallel", self.devices, low=2, high=64)

    @property
    def description(self) -> str:
        """Description of the other mapping, and the number of devices."""
        return f"{self.mapping.description} ({self.devices} devices in parallel)"

    @property
    def banks(self) -> int:
        """Banks of the other mapping."""
        return self.mapping.banks

    @property
    def signs(self) -> tuple[float, ...]:
        """Each sign of the other mapping, as often as there are devices."""
        return tuple(sign for sign in self.mapping.signs for _ in range(self.devices))

    def to_states(self, u: Tensor, g_min: float, cell_bits: int) -> Iterator[Tensor]:
        """Yield each state of the other mapping, as often as there are devices."""
        for g in self.mapping.to_states(u, g_min, cell_bits):
            yield from [g.clone() for _ in range(self.devices - 1)]
            yield g

    def factors(self, g_min: float, cell_bits: int) -> tuple[tuple[float, ...], float]:
        """Return the factors of the other mapping, divided by the number of devices, and its offset."""
        factors, offset = self.mapping.factors(g_min, cell_bits)
        return tuple(factor / self.devices for factor in factors), offset

    def check_cell_bits(self, cell_bits: int) -> None:
        """Raise InputError if the other mapping does."""
        self.mapping.check_cell_bits(cell_bits)
