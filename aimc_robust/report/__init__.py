"""Reports, a pure function of the rows in a folder.

Names are imported when they are used: whether a report is current is known without what draws it.
"""

import importlib
from typing import Any

_HOMES = {"report_is_current": "stamp", "write_advice": "advice_page", "write_report": "page"}

__all__ = ["report_is_current", "write_advice", "write_report"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
