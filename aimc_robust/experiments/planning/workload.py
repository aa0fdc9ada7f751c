"""What decides how long an update or a chip takes, in words: work of one kind is timed once."""

from __future__ import annotations

from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.targets.target import Target
from aimc_robust.training.methods.base import Method


def method_kind(method: Method) -> str:
    """What decides how long an update takes: as many passes of a kind, and what perturbs."""
    noise = getattr(method, "noise", None)
    by = "" if noise is None else f" by {type(noise).__name__}"
    draws = f" of {method.draws} draws" if method.draws > 1 else ""
    return f"{type(method).__name__}{by} ({' and '.join(method.passes)} pass{draws})"


def target_kind(target: Target) -> str:
    """What decides how long a chip takes."""
    condition, how = target.condition, target.deployment
    if target.direction is not None or condition is None:
        return target.direction or "digital"
    if not isinstance(condition, Crossbar):
        return f"{type(condition).__name__} noise"
    parts = [condition.card.name, how.backend, *how.compensation, *(["drifting"] if how.time_s else [])]
    if condition.computes_in_arrays:
        parts.append(f"arrays of {condition.rows or 'unlimited'} rows")
    parts += [] if isinstance(condition.mapping, str) else ["sliced"]
    return ", ".join(parts)
