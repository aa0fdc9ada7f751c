"""Patterns over names of layers: what they match, and what is wrong with those that decide nothing."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from fnmatch import fnmatchcase

from aimc_robust.errors import InputError, UnknownNameError, join_names, nearest_name, with_question

ALL = "*"
LISTED = 12  # names in a message


@functools.lru_cache(maxsize=2**16)  # asked for every layer at every chip and update
def matches(pattern: str, layer: str) -> bool:
    """Return whether a pattern matches the name of a layer, or of a module around it."""
    return any(fnmatchcase(name, pattern) for name in _names(layer))


def _names(layer: str) -> Iterator[str]:
    """The name of a layer, and of each module around it."""
    while layer:
        yield layer
        layer = layer.rpartition(".")[0]


def unmatched(pattern: str, layers: list[str]) -> UnknownNameError:
    """Return the exception for a pattern that matches no layer; it suggests the nearest name, and lists layers."""
    known = dict.fromkeys(name for layer in layers for name in _names(layer))
    parts = [
        with_question(f"no layer of the model matches the pattern {pattern!r}", nearest_name(pattern, known)),
        f"Layers: {join_names(layers, limit=LISTED)}.",
    ]
    return UnknownNameError(" ".join(parts))


def contradicting(pattern: str, layer: str, earlier: str) -> InputError:
    """Return the exception for a pattern whose layers an earlier one has placed elsewhere."""
    if pattern == ALL:
        return InputError(f"the patterns before {ALL!r} take all layers, such as {layer!r}, and leave none to it.")
    return InputError(
        f"the pattern {pattern!r} contradicts {earlier!r}, which comes first and places {layer!r} elsewhere, so that "
        f"{pattern!r} decides for no layer; put it first, or remove one of them."
    )


def uncovered(layers: list[str]) -> InputError:
    """Return the exception for layers that no pattern matches."""
    listed = join_names([repr(layer) for layer in layers])
    return InputError(f"no pattern covers {listed}; add one, such as {ALL!r} for all other layers.")
