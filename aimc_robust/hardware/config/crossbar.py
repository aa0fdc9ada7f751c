"""A crossbar: a memory device, how weights are stored in it, how arrays are cut, and the periphery."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from aimc_robust.devices.cell_model import CellModel
from aimc_robust.devices.library import load_cell_model
from aimc_robust.devices.limits import OutOfRange
from aimc_robust.errors import InputError, names_arguments, unknown_name
from aimc_robust.hardware.config.converters import ADC, DAC, Periphery
from aimc_robust.hardware.config.device import Device
from aimc_robust.hardware.config.fault_map import FaultMap
from aimc_robust.hardware.config.mapping import WeightMapping
from aimc_robust.hardware.config.parasitics import Parasitics, WireResistances
from aimc_robust.hardware.config.short_text import options_text
from aimc_robust.hardware.config.standard_mappings import OneSided, check_mapping, find_mapping
from aimc_robust.hardware.config.tiling import ArraySize
from aimc_robust.hardware.config.weight_layout import Scaling, WeightLayout
from aimc_robust.hardware.programming.weights_to_states import programmed_weights
from aimc_robust.noise.base import WeightNoise, naming_layer
from aimc_robust.seeding import Axes


@names_arguments
@dataclass(frozen=True, init=False)
class Crossbar(WeightNoise):
    """Memory arrays with their device, weight layout, size and periphery.

    The attributes `device`, `weights`, `arrays` and `periphery` hold the arguments in four groups. As a weight noise it
    applies the errors of programming, at time 0.

    Args:
        device: A cell model: the name of a card of the library, the path of your own TOML card, a card, or a
            `CellModel` in Python, as an object or as its import path `package.module:name`.
        window: (min, max) target states used for programming, in the device's unit; None: the device's own window.
        mapping: `one-sided` or `two-sided` differential pairs, `offset`, `bit-sliced`; or a `WeightMapping` such as
            `BitSliced(weight_bits=8, slices=2)`, as an object or as its import path `package.module:name`.
        cell_bits: Levels per device as a power of 2, to which target states are rounded; 0: continuous states.
        weight_percentile: Quantile of the weights that is mapped to the end of the window; with 1.0 it is max|W| and
            nothing is clipped.
        scaling: One weight limit per `layer` or per output `column`.
        bias_rows: Rows of every layer that hold its bias, driven by an input of 1; 0: biases are digital.
        rows: Largest number of inputs of an array; 0: unlimited.
        columns: Largest number of outputs of an array; 0: unlimited.
        parasitics: Resistances of the arrays' wires, which cause IR drop; None: ideal wires.
        dac: Converter of the inputs; None: ideal.
        adc: Converter of each array's column currents; None: ideal.
        output_noise: Standard deviation of Gaussian noise that is added to each column current at each read, before
            the ADC, in units of the current of one device at the top of the window with a full-scale input (aihwkit:
            `out_noise`).
        read_noise: Whether the device's read noise acts, at every multiply.
        programming: Whether the device's programming error acts.
        drift: Whether the device's drift acts.
        error_scale: Factor on the device's programming error, and on the widths of a drift table; 0 switches both off.
        stuck: (low, high) fractions of cells stuck at the ends of the window; None: the device's own fractions. Or the
            known stuck devices of one chip: a `FaultMap`, or the path of its file.
        on_out_of_range: `warn` or `error` if the window or a time leaves the limits of the device.
        crosssim: Parameters that only CrossSim has, such as parasitic resistances and I-V curves, as a nested
            dictionary that is merged into the translated ones; for the backend `crosssim`.

    Raises:
        InputError: if an argument is invalid.
        UnknownNameError: if the device, the mapping or another name is unknown.

    Examples:
        >>> crossbar = Crossbar("rram-wan2022", rows=256, adc=ADC(bits=8))
        >>> crossbar.arrays.rows, crossbar.periphery.adc.bits
        (256, 8)
    """

    __str__ = options_text
    device: Device
    weights: WeightLayout
    arrays: ArraySize
    periphery: Periphery
    crosssim: Mapping[str, Any] | None = field(hash=False)

    accepts_axes: ClassVar[bool] = True

    def __init__(
        self,
        device: CellModel | type[CellModel] | str | Path | dict[str, Any],
        *,
        window: tuple[float, float] | None = None,
        mapping: str | WeightMapping | type[WeightMapping] = "one-sided",
        cell_bits: int = 0,
        weight_percentile: float = 1.0,
        scaling: Scaling = "layer",
        bias_rows: int = 0,
        rows: int = 0,
        columns: int = 0,
        parasitics: Parasitics | None = None,
        dac: DAC | None = None,
        adc: ADC | None = None,
        output_noise: float = 0.0,
        read_noise: bool = True,
        programming: bool = True,
        drift: bool = True,
        error_scale: float = 1.0,
        stuck: tuple[float, float] | FaultMap | str | Path | None = None,
        on_out_of_range: OutOfRange = "warn",
        crosssim: Mapping[str, Any] | None = None,
    ) -> None:
        self._set_parts(
            device=Device(
                cell=load_cell_model(device),
                window=window,
                programming=programming,
                drift=drift,
                read_noise=read_noise,
                error_scale=error_scale,
                stuck=stuck,
                on_out_of_range=on_out_of_range,
            ),
            weights=WeightLayout(
                mapping=find_mapping(mapping),
                scaling=scaling,
                weight_percentile=weight_percentile,
                cell_bits=cell_bits,
            ),
            arrays=ArraySize(rows=rows, columns=columns, bias_rows=bias_rows, parasitics=parasitics),
            periphery=Periphery(dac=dac, adc=adc, output_noise=output_noise),
            crosssim=crosssim,
        )
        self.device.check_window()

    def _set_parts(self, **parts: Any) -> None:
        """Set the fields during construction; what depends on two parts is checked here."""
        for name, part in parts.items():
            object.__setattr__(self, name, copy.deepcopy(part) if name == "crosssim" else part)
        low, high = self.device.programming_window
        check_mapping(self.weights.mapping, low / high, self.weights.cell_bits)
        full_scale = self.periphery.fixed_full_scale
        if self.arrays.bias_rows and full_scale is not None and full_scale < 1:
            raise InputError(
                f"bias rows are driven by 1, above the DAC's full scale of {full_scale:g}: biases would be clipped. "
                "Use a full_scale of at least 1, or bias_rows=0."
            )
        _ = self.wires  # raises if the device has no resistance

    def replace(self, **options: Any) -> Crossbar:
        """Return a crossbar that differs in some options.

        Args:
            **options: Keyword arguments of `Crossbar`. With another `device`, `window` and `stuck` are the device's own
                unless they are given.

        Raises:
            InputError: if an option is invalid.
            UnknownNameError: if an option is unknown.

        Examples:
            >>> Crossbar("rram-wan2022", rows=256).replace(read_noise=False).arrays.rows
            256
        """
        known = set(Crossbar.__init__.__annotations__) - {"return"}
        for name in options:
            if name not in known:
                raise unknown_name("option of a crossbar", name, known)
        if "device" in options:  # the window and the stuck cells of another device are its own, unless given
            options = {"window": None, "stuck": None} | options
            options["cell"] = load_cell_model(options.pop("device"))
        if "mapping" in options:
            options["mapping"] = find_mapping(options["mapping"])
        parts: dict[str, Any] = {"crosssim": options.pop("crosssim", self.crosssim)}
        for name in ("device", "weights", "arrays", "periphery"):
            part = getattr(self, name)
            keys = [key.name for key in fields(part) if key.name in options]
            parts[name] = replace_fields(part, **{key: options.pop(key) for key in keys}) if keys else part
        crossbar = object.__new__(Crossbar)
        crossbar._set_parts(**parts)
        checked = ("cell", "window", "on_out_of_range")
        if any(getattr(crossbar.device, name) != getattr(self.device, name) for name in checked):
            crossbar.device.check_window()  # otherwise the warning was given when `self` was made
        return crossbar

    def ideal(self) -> Crossbar:
        """Return the same device without any error, converter or cut: it computes the digital product."""
        stored = {"mapping": OneSided(), "cell_bits": 0, "weight_percentile": 1.0}
        cuts = {"bias_rows": 0, "rows": 0, "columns": 0, "parasitics": None}
        periphery = {"dac": None, "adc": None, "output_noise": 0.0, "read_noise": False}
        return self.replace(**stored, **cuts, **periphery, programming=False, drift=False, stuck=(0.0, 0.0))

    @property
    def factors(self) -> tuple[tuple[float, ...], float]:
        """Factor of each bank and offset of reading weights back, see `WeightMapping.factors`."""
        low, high = self.device.programming_window
        return self.weights.mapping.factors(low / high, self.weights.cell_bits)

    @property
    def wires(self) -> WireResistances | None:
        """Resistances of the wires in units of a device at the top of the window; None if no voltage drops."""
        if self.arrays.parasitics is None:
            return None
        wires = self.arrays.parasitics.relative_to(self.device.top_ohm)
        return wires if wires.rows_drop or wires.columns_drop else None

    @property
    def computes_in_arrays(self) -> bool:
        """Whether converters or noise act at every multiply, beyond the errors of the weights."""
        return self.periphery.acts or self.device.reads_with_noise

    @property
    def crossbars(self) -> tuple[Crossbar, ...]:
        """This crossbar alone; a `Placement` has several."""
        return (self,)

    def crossbar_of(self, layer: str) -> Crossbar | None:
        """Return the crossbar of a layer: this one, for all layers; see `Placement`."""
        return self

    def map(self, change: Callable[[Crossbar], Crossbar]) -> Crossbar:
        """Return the changed crossbar; see `Placement.map`."""
        return change(self)

    def perturb(self, name: str, weight: Tensor, generator: torch.Generator | Axes) -> Tensor:
        """Return `weight` as read back right after programming; every device and effect has its own stream.

        Wires have no resistance here: IR drop is no error of programming. On a GPU, where training would wait for the
        check, weights need not be finite.
        """
        matrix = weight.flatten(1) if weight.ndim > 1 else weight.reshape(1, -1)
        if self.device.fault_map is not None and self.arrays.bias_rows:
            raise InputError("a fault map covers bias rows, which a weight noise does not; use bias_rows=0.")
        with self.naming_layer(name):
            chips, checked = [Axes.of(generator)], weight.is_cpu
            read = programmed_weights(self.device, self.weights, matrix, chips, layer=name, checked=checked)
            return read.reshape(weight.shape).to(weight.dtype)

    def naming_layer(self, layer: str) -> AbstractContextManager[None]:
        """Context manager in which errors of a user's mapping or cell model get the layer's name."""
        return naming_layer(layer, f"programming with the mapping {type(self.weights.mapping).__name__}")
