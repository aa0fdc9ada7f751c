"""The size of the arrays, and how a weight matrix is cut into them."""

from dataclasses import dataclass
from itertools import pairwise

from aimc_robust.errors import require_type, require_whole
from aimc_robust.hardware.config.parasitics import Parasitics

Interval = tuple[int, int]
"""[start, stop) of rows or columns."""


@dataclass(frozen=True, kw_only=True)
class ArraySize:
    """Size of the arrays that a layer is cut into: the options of `Crossbar` with the same names; 0 rows: unlimited.

    What an array's converters see, and how much voltage is lost on its wires, depends on its size; the errors of the
    devices do not. Raises InputError if a value is invalid.
    """

    rows: int = 0
    columns: int = 0
    bias_rows: int = 0
    parasitics: Parasitics | None = None

    def __post_init__(self) -> None:
        require_whole("bias_rows (0: digital biases)", self.bias_rows, low=0, high=1024)
        require_whole("rows (0: unlimited)", self.rows, low=0)
        require_whole("columns (0: unlimited)", self.columns, low=0)
        require_type("parasitics", self.parasitics, Parasitics | None, example="Parasitics(row_ohm=1.0), or None")


def partition(count: int, limit: int) -> list[Interval]:
    """Cut `count` rows or columns into arrays of at most `limit` (0: unlimited): [start, stop) of each, in order.

    The cut is CrossSim 3.2's, ceil(count / limit) arrays of round(count / arrays) with the remainder in the last,
    unless its last array would exceed the limit; then the sizes differ by at most one.
    """
    if limit == 0 or count <= limit:
        return [(0, count)]
    arrays = -(-count // limit)
    size = round(count / arrays)
    if count - size * (arrays - 1) <= limit:
        edges = [*range(0, size * arrays, size), count]
    else:
        edges = [count * i // arrays for i in range(arrays + 1)]
    return list(pairwise(edges))
