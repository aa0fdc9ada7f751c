"""States of a trial in a plan."""

from __future__ import annotations

from typing import Final, Literal

TrialState = Literal["done", "failed", "trained", "shared", "started", "to do"]

DONE: Final = "done"

FAILED: Final = "failed"  # not run again by itself

TRAINED: Final = "trained"  # but not evaluated on all chips

SHARED: Final = "shared"  # its training exists, or an earlier trial makes it; only the evaluation is left

STARTED: Final = "started"

TODO: Final = "to do"
