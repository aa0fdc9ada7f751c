"""The error sources of a crossbar, to be switched on and off one by one."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

from aimc_robust.hardware.config.converters import DAC
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.placement import Hardware

ErrorSource = Literal[
    "programming", "drift", "stuck", "read", "clipping", "quantisation", "ir-drop", "dac", "output", "adc"
]

SOURCES: dict[ErrorSource, str] = {
    "programming": "programming error",
    "drift": "drift since programming",
    "stuck": "stuck cells",
    "read": "read noise at every multiply",
    "clipping": "weights clipped at the percentile",
    "quantisation": "states rounded to levels",
    "ir-drop": "IR drop along the arrays' wires",
    "dac": "input converters, and their noise",
    "output": "noise at the arrays' outputs",
    "adc": "output converters, and their errors",
}
"""Error source -> description."""

RANDOM_SOURCES: tuple[ErrorSource, ...] = ("programming", "drift", "stuck", "read", "output")
"""Sources that differ from chip to chip, as do converters with noise or errors; known stuck devices do not."""


def is_random(crossbar: Crossbar, *, time_s: float = 0.0) -> bool:
    """Whether chips differ: whether a source of RANDOM_SOURCES acts, or noise or errors of a converter."""
    random = set(active_sources(crossbar, time_s=time_s)) & set(RANDOM_SOURCES)
    adc = crossbar.periphery.adc
    random_converters = crossbar.periphery.dac_noise > 0 or (adc is not None and adc.has_errors)
    return random_converters or bool(random - {"stuck"} if crossbar.device.fault_map is not None else random)


def active_sources(hardware: Hardware, *, time_s: float = 0.0) -> tuple[ErrorSource, ...]:
    """Return the error sources that act on any crossbar `time_s` seconds after programming, in the order of SOURCES."""
    active = {source for crossbar in hardware.crossbars for source in _active_sources(crossbar, time_s)}
    return tuple(source for source in SOURCES if source in active)


def _active_sources(crossbar: Crossbar, time_s: float) -> list[ErrorSource]:
    device, weights, periphery = crossbar.device, crossbar.weights, crossbar.periphery
    cell = device.cell
    active: dict[ErrorSource, bool] = {
        "programming": device.programming and device.error_scale > 0 and cell.has_programming_error,
        "drift": device.drift and cell.has_drift and time_s > cell.drift_starts_s,
        "stuck": sum(device.stuck_fractions) > 0 or device.fault_map is not None,
        "read": device.reads_with_noise,
        "clipping": weights.weight_percentile < 1.0,
        "quantisation": weights.cell_bits > 0,
        "ir-drop": crossbar.wires is not None,
        "dac": periphery.dac is not None and (periphery.dac.kind != "ideal" or periphery.dac.noise > 0),
        "output": periphery.output_noise > 0,
        "adc": periphery.adc is not None,
    }
    return [source for source in SOURCES if active[source]]


def with_sources(hardware: Hardware, sources: Collection[str]) -> Hardware:
    """Return crossbars on which only some error sources act; mapping, window and array size are the same.

    A DAC that is switched off applies its inputs exactly, with the same full scale, so that an ADC's range keeps its
    unit. The integer digits of a bit-sliced mapping belong to the mapping and remain.
    """
    return hardware.map(lambda crossbar: _with_sources(crossbar, sources))


def _with_sources(crossbar: Crossbar, sources: Collection[str]) -> Crossbar:
    dac = crossbar.periphery.dac
    switched_off: dict[ErrorSource, dict[str, Any]] = {
        "programming": {"programming": False},
        "drift": {"drift": False},
        "stuck": {"stuck": (0.0, 0.0)},
        "read": {"read_noise": False},
        "clipping": {"weight_percentile": 1.0},
        "quantisation": {"cell_bits": 0},
        "ir-drop": {"parasitics": None},
        "dac": {"dac": dac and DAC(kind="ideal", full_scale=dac.full_scale)},
        "output": {"output_noise": 0.0},
        "adc": {"adc": None},
    }
    options: dict[str, Any] = {}
    for source in SOURCES:
        if source not in sources:
            options |= switched_off[source]
    return crossbar.replace(**options)
