"""Device cards: TOML files in `device_models/` that say how one memory device behaves, with units and source.

What needs torch is imported when it is used, so that the command line lists the cards at once.
"""

import importlib
from typing import TYPE_CHECKING, Any

from aimc_robust.devices.card import Card
from aimc_robust.devices.library import card_names, load_card
from aimc_robust.devices.limits import check_states, check_time

if TYPE_CHECKING:
    from aimc_robust.devices.states import CellStates, cell_states
    from aimc_robust.devices.statistics import has_read_noise, programming_std, read_std

_HOME_OF = {
    "CellStates": "states",
    "cell_states": "states",
    "state_moments": "moments",
    "has_read_noise": "statistics",
    "programming_std": "statistics",
    "read_std": "statistics",
}

__all__ = [
    "Card",
    "CellStates",
    "card_names",
    "cell_states",
    "check_states",
    "check_time",
    "has_read_noise",
    "load_card",
    "programming_std",
    "read_std",
    "state_moments",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'aimc_robust.devices' has no attribute {name!r}")
    return getattr(importlib.import_module(f"aimc_robust.devices.{_HOME_OF[name]}"), name)
