"""What the memory is: its cell model, and which of the cell's errors act."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from aimc_robust.devices.cell_model import CellModel
from aimc_robust.devices.limits import OutOfRange, check_states
from aimc_robust.devices.states import StateOptions
from aimc_robust.errors import InputError, require_finite, require_known, short_repr
from aimc_robust.hardware.config.converters import parse_range
from aimc_robust.hardware.config.fault_map import FaultMap


@dataclass(frozen=True, kw_only=True)
class Device:
    """What the memory is: its cell model, the programming window, and which of the cell's errors act.

    The fields after `cell` are the options of `Crossbar` with the same names.

    Raises:
        InputError: if a value is invalid.
        UnknownNameError: if `on_out_of_range` is unknown.
    """

    cell: CellModel
    window: tuple[float, float] | None = None
    programming: bool = True
    drift: bool = True
    read_noise: bool = True
    error_scale: float = 1.0
    stuck: tuple[float, float] | FaultMap | str | Path | None = None
    on_out_of_range: OutOfRange = "warn"

    def __post_init__(self) -> None:
        if not isinstance(self.cell, CellModel):
            raise InputError(f"cell must be a CellModel such as load_card('rram-wan2022'), got {self.cell!r}.")
        for name in ("read_noise", "programming", "drift"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be true or false, got {getattr(self, name)!r}.")
        require_finite("error_scale", self.error_scale)
        require_known("on_out_of_range", self.on_out_of_range, get_args(OutOfRange))
        if self.stuck is not None:
            object.__setattr__(self, "stuck", _parse_stuck(self.stuck))
        if self.fault_map is not None and self.fault_map.unit not in ("", self.cell.unit):
            raise InputError(
                f"the {self.fault_map.subject} is in {self.fault_map.unit}, but the states of {self.cell.name} are in "
                f"{self.cell.unit}; convert it."
            )
        window = parse_range(f"window [{self.cell.unit}]", self.programming_window, least=0.0, ends=("min", "max"))
        if self.window is not None:
            object.__setattr__(self, "window", window)

    @property
    def programming_window(self) -> tuple[float, float]:
        """(min, max) target states in the cell's unit: `window`, or the cell's own."""
        return self.cell.window if self.window is None else self.window

    @property
    def top_ohm(self) -> float | None:
        """Resistance of a cell at the top of the window; None if the cell model does not state it."""
        return self.cell.resistance_ohm(self.programming_window[1])

    @property
    def stuck_fractions(self) -> tuple[float, float]:
        """(low, high) fractions of cells that are drawn as stuck: `stuck`, or the cell's own; none with a fault map."""
        if self.stuck is None:
            return self.cell.stuck_fractions
        return self.stuck if isinstance(self.stuck, tuple) else (0.0, 0.0)

    @property
    def fault_map(self) -> FaultMap | None:
        """The map of the known stuck devices, if `stuck` is one."""
        return self.stuck if isinstance(self.stuck, FaultMap) else None

    @property
    def reads_with_noise(self) -> bool:
        """Whether each multiply has its own read noise."""
        return self.read_noise and self.cell.has_read_noise

    def state_options(self, time_s: float) -> StateOptions:
        """Return the keyword arguments of `cell_states` for a time since programming."""
        return {
            "time_s": time_s,
            "window": self.programming_window,
            "error_scale": self.error_scale,
            "stuck": self.stuck_fractions if self.stuck is not None else None,
            "programming": self.programming,
            "drift": self.drift,
        }

    def check_window(self, *, time_s: float = 0.0) -> None:
        """Warn, or raise InputError (see `on_out_of_range`), if the window leaves the limits of the cell model.

        At times above 0 the limits of the cell's drift count too.
        """
        check_states(
            self.cell,
            self.programming_window,
            time_s=time_s,
            on_out_of_range=self.on_out_of_range,
        )


def _parse_stuck(stuck: Any) -> tuple[float, float] | FaultMap:
    if isinstance(stuck, FaultMap):
        return stuck
    if isinstance(stuck, str | Path):
        return FaultMap.load(stuck)
    try:
        low, high = stuck
    except (TypeError, ValueError):
        raise InputError(
            f"stuck must be the fractions (low, high), a FaultMap or its file, got {short_repr(stuck)}."
        ) from None
    require_finite("stuck low", low, high=1.0)
    require_finite("stuck high", high, high=1.0)
    if low + high > 1.0:
        raise InputError(f"the fractions of stuck cells add up to {low + high:g}; at most 1 is possible.")
    return low, high
