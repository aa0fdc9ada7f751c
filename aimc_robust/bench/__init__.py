"""A comparison: the spec, its data and models, the runs, and the rows they leave.

Names are imported when they are used: what only reads a spec or looks at a folder does without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aimc_robust.bench.comparison import Outcome, compare
    from aimc_robust.bench.progress import Progress
    from aimc_robust.bench.spec import Spec, load_spec
    from aimc_robust.bench.spec_file import written_out
    from aimc_robust.bench.store import Store

_HOME_OF = {
    "Outcome": "comparison",
    "Progress": "progress",
    "Spec": "spec",
    "Store": "store",
    "compare": "comparison",
    "load_spec": "spec",
    "written_out": "spec_file",
}

__all__ = ["Outcome", "Progress", "Spec", "Store", "compare", "load_spec", "written_out"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
