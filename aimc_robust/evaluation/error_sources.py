"""The sources of error of a crossbar, to be switched on and off one by one."""

from __future__ import annotations

from collections.abc import Collection

from aimc_robust.hardware.config.converters import DAC
from aimc_robust.hardware.config.crossbar import Crossbar

SOURCES = {
    "programming": "error of programming",
    "drift": "drift since programming",
    "stuck": "stuck cells",
    "read": "read noise at every multiply",
    "clipping": "weights clipped at the percentile",
    "quantisation": "states rounded to levels",
    "dac": "input converters",
    "adc": "output converters",
}
RANDOM = ("programming", "drift", "stuck", "read")  # the others are the same on every chip


def active_sources(crossbar: Crossbar, *, time_s: float = 0.0) -> tuple[str, ...]:
    """The keys of SOURCES that act on this crossbar at this time, in that order."""
    card, stuck = crossbar.card, crossbar.stuck
    if stuck is None:
        stuck = card.stuck_fractions
    acts = {
        "programming": crossbar.programming and crossbar.error_scale > 0 and card.has_programming_error,
        "drift": crossbar.drift and card.has_drift and time_s > card.drift_starts_s,
        "stuck": sum(stuck) > 0,
        "read": crossbar.reads_with_noise,
        "clipping": crossbar.weight_percentile < 1.0,
        "quantisation": crossbar.cell_bits > 0,
        "dac": crossbar.dac is not None and crossbar.dac.kind != "ideal",
        "adc": crossbar.adc is not None,
    }
    return tuple(source for source in SOURCES if acts[source])


def with_sources(crossbar: Crossbar, kept: Collection[str]) -> Crossbar:
    """`crossbar` with the sources in `kept` alone; mapping, window, arrays and converter ranges stay.

    A DAC that is switched off drives its inputs exactly, at the same full scale, so that an ADC's range keeps its
    meaning. The whole-number digits of a bit-sliced mapping belong to the mapping and stay.
    """
    off = {
        "programming": {"programming": False},
        "drift": {"drift": False},
        "stuck": {"stuck": (0.0, 0.0)},
        "read": {"read_noise": False},
        "clipping": {"weight_percentile": 1.0},
        "quantisation": {"cell_bits": 0},
        "dac": {"dac": crossbar.dac and DAC(kind="ideal", full_scale=crossbar.dac.full_scale)},
        "adc": {"adc": None},
    }
    changes = {key: value for source in SOURCES if source not in kept for key, value in off[source].items()}
    return crossbar._replace_unchecked(**changes)
