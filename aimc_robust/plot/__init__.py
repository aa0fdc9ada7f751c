"""Plots of networks on arrays, of devices and of results: each function draws on `ax` and returns it.

Without `ax` a function draws on a new figure. Names are imported when they are first used, and Matplotlib with them.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names for editors and type checkers
    from aimc_robust.plot.array_map import arrays as arrays
    from aimc_robust.plot.attribution_waterfall import waterfall as waterfall
    from aimc_robust.plot.converter_ranges import ranges as ranges
    from aimc_robust.plot.device_curves import drift as drift
    from aimc_robust.plot.device_curves import programming_error as programming_error
    from aimc_robust.plot.device_curves import read_noise as read_noise
    from aimc_robust.plot.estimate_plots import estimates as estimates
    from aimc_robust.plot.estimate_plots import over_time as over_time
    from aimc_robust.plot.loss_contours import landscape as landscape
    from aimc_robust.plot.state_histogram import states as states
    from aimc_robust.plot.yield_curve import yields as yields

_MODULE_OF = {
    "arrays": "array_map",
    "drift": "device_curves",
    "estimates": "estimate_plots",
    "landscape": "loss_contours",
    "over_time": "estimate_plots",
    "programming_error": "device_curves",
    "ranges": "converter_ranges",
    "read_noise": "device_curves",
    "states": "state_histogram",
    "waterfall": "attribution_waterfall",
    "yields": "yield_curve",
}

__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'aimc_robust.plot' has no attribute {name!r}")
    return getattr(importlib.import_module(f"aimc_robust.plot.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
