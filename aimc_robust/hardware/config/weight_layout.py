"""How weights are stored in devices."""

from dataclasses import dataclass
from typing import Literal, get_args

from aimc_robust.errors import require_finite, require_known, require_whole
from aimc_robust.hardware.config.mapping import WeightMapping
from aimc_robust.hardware.config.standard_mappings import OneSided

Scaling = Literal["layer", "column"]


@dataclass(frozen=True, kw_only=True)
class WeightLayout:
    """How weights are stored in devices.

    Attributes:
        mapping: How one weight becomes the states of its devices.
        scaling: One weight limit per `layer` or per output `column`.
        weight_percentile: Quantile of the weights that is mapped to the end of the window, 0.5 to 1; with 1 it is
            max|W| and nothing is clipped.
        cell_bits: Levels per device as a power of 2, to which target states are rounded; 0: continuous states.

    Raises:
        InputError: if a value is invalid.
        UnknownNameError: if `scaling` is unknown.
    """

    mapping: WeightMapping = OneSided()  # noqa: RUF009, a frozen value
    scaling: Scaling = "layer"
    weight_percentile: float = 1.0
    cell_bits: int = 0

    def __post_init__(self) -> None:
        require_whole("cell_bits (0: continuous)", self.cell_bits, low=0, high=16)
        self.mapping.check_cell_bits(self.cell_bits)
        require_finite("weight_percentile", self.weight_percentile, low=0.5, high=1.0)
        require_known("scaling", self.scaling, get_args(Scaling))

    def factors(self, window: tuple[float, float]) -> tuple[tuple[float, ...], float]:
        """Return the factor of each bank and the offset of reading back from the window (min, max)."""
        low, high = window
        return self.mapping.factors(low / high, self.cell_bits)
