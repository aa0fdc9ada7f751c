"""Classify work by what decides its time: work of one kind is timed once."""

from __future__ import annotations

from aimc_robust.experiments.spec.landscape import LandscapeSpec
from aimc_robust.targets.target import (
    CrossbarTarget,
    NoiseTarget,
    Target,
)
from aimc_robust.training.methods.base import Method


def method_kind(method: Method) -> str:
    """Return what decides the time of an update as text: the passes, and what perturbs the weights."""
    noise = getattr(method, "noise", None)
    by_noise = "" if noise is None else f" by {type(noise).__name__}"
    draws = f" of {method.draws} draws" if method.draws > 1 else ""
    return f"{type(method).__name__}{by_noise} ({' and '.join(method.passes)} pass{draws})"


def target_kind(target: Target | LandscapeSpec) -> str:
    """Return what decides the time of a chip, or of a point of a landscape, as text."""
    if isinstance(target, LandscapeSpec):
        return "plane"
    if isinstance(target, NoiseTarget):
        return f"{type(target.noise).__name__} noise"
    if not isinstance(target, CrossbarTarget):
        return type(target).__name__.removesuffix("Target").lower()
    crossbar, deployment = target.crossbar, target.deployment
    parts = [crossbar.device.cell.name, deployment.backend, *deployment.compensation]
    if target.time_s:
        parts.append("drifting")
    if crossbar.computes_in_arrays:
        parts.append(f"arrays of {crossbar.arrays.rows or 'unlimited'} rows")
    if crossbar.weights.mapping.banks > 1:
        parts.append("sliced")
    return ", ".join(parts)
