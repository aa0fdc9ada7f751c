"""Fit a device card to measurements, and check by simulation that a card is reproduced."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aimc_robust.fitting.fit import Fit, fit_card
    from aimc_robust.fitting.verify import Verification, verify_card

_HOME_OF = {"Fit": "fit", "fit_card": "fit", "Verification": "verify", "verify_card": "verify"}

__all__ = ["Fit", "Verification", "fit_card", "verify_card"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'aimc_robust.fitting' has no attribute {name!r}")
    return getattr(importlib.import_module(f"aimc_robust.fitting.{_HOME_OF[name]}"), name)
