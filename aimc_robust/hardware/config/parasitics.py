"""Parasitic resistances of an array: of its wires between devices, and in series with them."""

from dataclasses import dataclass

from aimc_robust.errors import InputError, names_arguments, require_finite, require_type


@names_arguments
@dataclass(frozen=True, kw_only=True)
class Parasitics:
    """Resistances [ohm] of the wires of every array, along which voltage drops (IR drop).

    The circuit is CrossSim 3.2's: inputs are voltages at the rows' starts, beside the first output. Columns end, behind
    the last row (bias rows are the last), at a virtual ground.

    Attributes:
        row_ohm: Resistance of one segment of a row: from its start to the first device, and from each device to the
            next. Nothing lies behind the last device.
        column_ohm: Resistance of one segment of a column: from each device to the next, and from the last to its end.
        row_terminal_ohm: Resistance in series with the first segment of each row, such as its driver's.
        column_terminal_ohm: Resistance in series with the last segment of each column, such as its multiplexer's.
        interleaved: Whether devices of positive and negative sign share columns, with rows of opposite voltage, so that
            their currents cancel on the spot; False: each sign has arrays of its own.
        device_ohm: Resistance of a device at the top of the window; None: the inverse of its conductance, for devices
            whose states are conductances or currents at a known voltage.

    Raises:
        InputError: if a value is invalid.

    Examples:
        >>> Parasitics(row_ohm=1.0, column_ohm=1.0).relative_to(62500.0).row
        1.6e-05
    """

    row_ohm: float = 0.0
    column_ohm: float = 0.0
    row_terminal_ohm: float = 0.0
    column_terminal_ohm: float = 0.0
    interleaved: bool = False
    device_ohm: float | None = None

    def __post_init__(self) -> None:
        for name in ("row_ohm", "column_ohm", "row_terminal_ohm", "column_terminal_ohm"):
            require_finite(name, getattr(self, name))
        require_type("interleaved", self.interleaved, bool, example="true or false")
        if self.device_ohm is not None:
            require_finite("device_ohm", self.device_ohm)
            if self.device_ohm == 0:
                raise InputError("device_ohm must be above 0; omit it to take the device's own.")

    def relative_to(self, top_ohm: float | None) -> "WireResistances":
        """Return the resistances in units of that of a device at the top of the window.

        That is `device_ohm`, or else `top_ohm`, which the device states; raises InputError if both are None.
        """
        unit = top_ohm if self.device_ohm is None else self.device_ohm
        if unit is None:
            raise InputError(
                "parasitic resistances need the resistance of a device, which this one does not state; set "
                "Parasitics(device_ohm=...) to that of a device at the top of the window."
            )
        return WireResistances(
            row=self.row_ohm / unit,
            column=self.column_ohm / unit,
            row_terminal=self.row_terminal_ohm / unit,
            column_terminal=self.column_terminal_ohm / unit,
        )


@dataclass(frozen=True, kw_only=True)
class WireResistances:
    """Resistances of `Parasitics` in units of the resistance of a device at the top of the window."""

    row: float
    column: float
    row_terminal: float
    column_terminal: float

    @property
    def rows_drop(self) -> bool:
        """Whether voltage drops along rows."""
        return self.row > 0 or self.row_terminal > 0

    @property
    def columns_drop(self) -> bool:
        """Whether voltage drops along columns."""
        return self.column > 0 or self.column_terminal > 0
