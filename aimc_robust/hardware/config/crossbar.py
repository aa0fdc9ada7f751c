"""A crossbar: a device card, how weights are laid on its arrays, and the converters around them."""

from __future__ import annotations

import copy
from collections.abc import Mapping as Table
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aimc_robust.devices.cell_model import CellModel
from aimc_robust.devices.library import load_cell_model
from aimc_robust.devices.limits import check_states
from aimc_robust.errors import InputError, require_finite, require_known, require_whole
from aimc_robust.hardware.config.converters import ADC, DAC
from aimc_robust.hardware.config.mapping import Offset, WeightMapping, find_mapping
from aimc_robust.hardware.config.ranges import LayerRanges
from aimc_robust.hardware.config.tiling import partition
from aimc_robust.hardware.programming.weights_to_states import layer_draws, program_matrix, read_back
from aimc_robust.noise.base import WeightNoise

SCALINGS = ("layer", "column")
BEYOND_LIMITS = ("warn", "error")


@dataclass(frozen=True)
class Crossbar(WeightNoise):
    """Memory arrays and their mapping. As a weight noise it is the errors of programming, at time 0.

    device: a card, the name of one, the path of your own TOML, or a cell model in Python.
    window: (min, max) state used for programming, in the card's unit; None takes the card's own.
    mapping: `one-sided` or `two-sided` differential pairs, `offset`, `bit-sliced`; or a mapping such as
        `BitSliced(weight_bits=8, slices=2)`.
    cell_bits: levels per device as a power of 2, to which target states are rounded; 0 for continuous states.
    weight_percentile: quantile of the weights mapped to the end of the window; 1.0 is max|W|, nothing is clipped.
    scaling: one weight limit per `layer` or per output `column`.
    bias_rows: rows of every array stack that hold the bias, driven by an input of 1; 0 keeps biases digital.
    rows, columns: the most inputs and outputs that one array has; 0 is unlimited. What an array's converters see
        depends on them; the errors of the weights do not.
    dac, adc: converters; None is ideal.
    read_noise: whether the card's read noise acts, at every multiply; without effect for a card that has none.
    programming, drift: whether the card's error of programming, and its drift, act; see `devices.cell_states`. Switched
        off to find what each costs (`attribute`).
    error_scale: multiplies the card's programming error, and the widths of a drift table; 0 switches both off.
    stuck: (low, high) fractions of cells stuck at the ends of the window; None takes the card's own.
    on_out_of_range: `warn` or `error` when the window or a time leaves the limits of the card.
    ranges: converter ranges by layer, from `calibrate`.
    crosssim: parameters of CrossSim alone, such as parasitic resistances and I-V curves, as a nested dict that is
        merged into the translated ones; for backend "crosssim".
    Raises InputError or UnknownNameError for a value that cannot be.
    """

    device: CellModel | str | Path
    _: KW_ONLY
    window: tuple[float, float] | None = None
    mapping: str | WeightMapping = "one-sided"
    cell_bits: int = 0
    weight_percentile: float = 1.0
    scaling: str = "layer"
    bias_rows: int = 0
    rows: int = 0
    columns: int = 0
    dac: DAC | None = None
    adc: ADC | None = None
    read_noise: bool = True
    programming: bool = True
    drift: bool = True
    error_scale: float = 1.0
    stuck: tuple[float, float] | None = None
    on_out_of_range: str = "warn"
    ranges: Table[str, LayerRanges] | None = field(default=None, hash=False, repr=False)
    crosssim: Table[str, Any] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", load_cell_model(self.device))
        require_whole("cell_bits (0: continuous)", self.cell_bits, low=0, high=16)
        if isinstance(self.mapping_object, Offset) and self.cell_bits == 1:
            raise InputError("an offset mapping needs at least 2 cell bits: 1 bit leaves no level for zero.")
        require_finite("weight_percentile", self.weight_percentile, low=0.5, high=1.0)
        require_known("scaling", self.scaling, SCALINGS)
        require_whole("bias_rows (0: digital biases)", self.bias_rows, low=0, high=1024)
        require_whole("rows (0: unlimited)", self.rows, low=0)
        require_whole("columns (0: unlimited)", self.columns, low=0)
        for name, kind in (("dac", DAC), ("adc", ADC)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise InputError(f"{name} must be a {kind.__name__} such as {kind.__name__}(bits=8), got {value!r}.")
        for name in ("read_noise", "programming", "drift"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be true or false, got {getattr(self, name)!r}.")
        require_finite("error_scale", self.error_scale)
        require_known("on_out_of_range", self.on_out_of_range, BEYOND_LIMITS)
        scale = None if self.dac is None or self.dac.kind == "ideal" else self.dac.full_scale
        if self.bias_rows and scale is not None and scale < 1:
            raise InputError(
                f"bias rows are driven by 1, above the DAC's full scale of {scale:g}: biases would be clipped. Use a "
                "full_scale of at least 1, or bias_rows=0."
            )
        self._check_stuck()
        self._check_window()

    def _check_stuck(self) -> None:
        if self.stuck is None:
            return
        try:
            low, high = self.stuck
        except (TypeError, ValueError):
            raise InputError(f"stuck must be the fractions (low, high), got {self.stuck!r}.") from None
        object.__setattr__(self, "stuck", (low, high))
        require_finite("stuck low", low, high=1.0)
        require_finite("stuck high", high, high=1.0)
        if low + high > 1.0:
            raise InputError(f"the fractions of stuck cells add up to {low + high:g}; at most 1 is possible.")

    def _check_window(self) -> None:
        try:
            low, high = self.programming_window
            valid = 0 <= low < high < float("inf")
        except (TypeError, ValueError):
            valid = False
        if not valid:
            raise InputError(f"window must be (min, max) with 0 <= min < max in {self.card.unit}, got {self.window!r}.")
        if self.window is not None:
            object.__setattr__(self, "window", (low, high))
        check_states(self.card, self.programming_window, on_out_of_range=self.on_out_of_range, stacklevel=5)

    @property
    def programming_window(self) -> tuple[float, float]:
        """(min, max) target state [card.unit]: `window`, or the card's own."""
        return self.card.window if self.window is None else self.window

    @property
    def card(self) -> CellModel:
        """The device: a card, or a cell model in Python."""
        return self.device

    @property
    def mapping_object(self) -> WeightMapping:
        """The mapping itself."""
        return find_mapping(self.mapping)

    @property
    def factors(self) -> tuple[tuple[float, ...], float]:
        """Factor of each bank, and offset, of reading weights back; see `WeightMapping.factors`."""
        low, high = self.programming_window
        return self.mapping_object.factors(low / high, self.cell_bits)

    @property
    def reads_with_noise(self) -> bool:
        """Whether each multiply carries fresh read noise."""
        return self.read_noise and self.card.has_read_noise

    @property
    def computes_in_arrays(self) -> bool:
        """Whether more happens than errors of weights: converters or read noise, which act at every multiply."""
        return self.dac is not None or self.adc is not None or self.reads_with_noise

    @property
    def needs_ranges(self) -> bool:
        """Whether `calibrate` must find converter ranges before a model can run."""
        dac_open = self.dac is not None and self.dac.needs_calibration
        unit_open = self.adc is not None and (self.dac is None or self.dac.full_scale is None)
        return dac_open or unit_open or (self.adc is not None and self.adc.needs_calibration)

    def _replace_unchecked(self, **fields: Any) -> Crossbar:
        """A copy with other fields that need no check, and no second warning."""
        twin = copy.copy(self)
        for name, value in fields.items():
            object.__setattr__(twin, name, value)
        return twin

    def ideal(self) -> Crossbar:
        """The same card without any error, converter or cut: what it computes is the digital product."""
        return self._replace_unchecked(
            mapping="one-sided",
            cell_bits=0,
            weight_percentile=1.0,
            bias_rows=0,
            rows=0,
            columns=0,
            dac=None,
            adc=None,
            read_noise=False,
            programming=False,
            drift=False,
            stuck=(0.0, 0.0),
        )

    def arrays(self, inputs: int, outputs: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """The arrays of a matrix: ([start, stop) of its inputs, of its outputs) for each, row by row of arrays.

        inputs: of one group of a convolution times its kernel, and bias rows. outputs: of one group.
        """
        columns = partition(outputs, self.columns)
        return [(rows, part) for rows in partition(inputs, self.rows) for part in columns]

    def perturb(self, name: str, weight: Tensor, generator: torch.Generator) -> Tensor:
        """`weight` as read back right after programming; every device and effect has a random stream of its own."""
        matrix = weight.flatten(1) if weight.ndim > 1 else weight.reshape(1, -1)
        cells = program_matrix(self, matrix, layer_draws(generator))
        return read_back(self, cells).reshape(weight.shape).to(weight.dtype)
