"""Classify work by what decides its time: work of one kind is timed once."""

from __future__ import annotations

from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.targets.target import Target
from aimc_robust.training.methods.base import Method


def method_kind(method: Method) -> str:
    """Return what decides the time of an update as text: the passes, and what perturbs the weights."""
    noise = getattr(method, "noise", None)
    by_noise = "" if noise is None else f" by {type(noise).__name__}"
    draws = f" of {method.draws} draws" if method.draws > 1 else ""
    return f"{type(method).__name__}{by_noise} ({' and '.join(method.passes)} pass{draws})"


def target_kind(target: Target) -> str:
    """Return what decides the time of a chip as text."""
    condition, deployment = target.condition, target.deployment
    if target.direction is not None or condition is None:
        return target.direction or "digital"
    if not isinstance(condition, Crossbar):
        return f"{type(condition).__name__} noise"
    parts = [condition.device.cell.name, deployment.backend, *deployment.compensation]
    if target.time_s:
        parts.append("drifting")
    if condition.computes_in_arrays:
        parts.append(f"arrays of {condition.arrays.rows or 'unlimited'} rows")
    if condition.weights.mapping.banks > 1:
        parts.append("sliced")
    return ", ".join(parts)
