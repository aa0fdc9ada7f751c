"""Checks of estimates and of mappings of names to estimates, as a user's own loop makes them."""

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

from aimc_robust.errors import InputError, require_type, short_repr
from aimc_robust.statistics.estimate import Estimate

Key = tuple[str, str]
"""(label of a model or method, name of a target)"""

PAIR_EXAMPLE = '(("sgd", "rram"), ("rwp", "rram"))'


def require_estimate(name: str, value: object) -> None:
    """Raise `InputError` unless `value` is an Estimate."""
    require_type(name, value, Estimate, example="an Estimate, as evaluate(...) returns")


def require_estimates(estimates: object, *, key: str = '"sgd"') -> None:
    """Raise `InputError` unless `estimates` maps keys, such as `key`, to Estimates."""
    if not isinstance(estimates, Mapping):
        kind = type(estimates).__name__
        raise InputError(f"expected a mapping of names to Estimates, such as {{{key}: evaluate(...)}}, got {kind}.")
    if wrong := [value for value in estimates.values() if not isinstance(value, Estimate)]:
        raise InputError(f"expected Estimates, such as evaluate returns, got {type(wrong[0]).__name__}.")


def checked_pairs(estimates: Mapping[Key, Estimate], pairs: Iterable[tuple[Key, Key]]) -> list[tuple[Key, Key]]:
    """Return `pairs` as a list; raise `InputError` unless all keys are two names, and all values Estimates."""
    require_estimates(estimates, key='("sgd", "rram")')
    if wrong := [key for key in estimates if not _is_key(key)]:
        raise InputError(
            f'estimates must have keys (model, target) of two texts, such as ("sgd", "rram"), got '
            f"{short_repr(wrong[0])}."
        )
    listed: list[Any] = list(pairs) if isinstance(pairs, Iterable) and not isinstance(pairs, str) else [pairs]
    for pair in listed:
        if not isinstance(pair, tuple) or len(pair) != 2 or not all(map(_is_key, pair)):
            raise InputError(
                f"comparisons must be pairs (first, second) of keys (model, target), such as {PAIR_EXAMPLE}, got "
                f"{short_repr(pair)} as one of them."
            )
    return listed


def require_timed(name: str, estimates: Mapping[Any, Any]) -> None:
    """Raise `InputError` unless all keys are (name, time_s); `name` is what takes such a mapping."""
    if wrong := [key for key in estimates if not is_timed(key)]:
        raise InputError(
            f'{name} takes a mapping (name, seconds) -> estimate, such as {{("rram", 3600.0): estimate}}, got the key '
            f"{short_repr(wrong[0])}."
        )


def is_timed(key: object) -> bool:
    """Whether a key is a name and a time [s]."""
    return isinstance(key, tuple) and len(key) == 2 and isinstance(key[0], str) and _is_time(key[1])


def _is_key(key: object) -> bool:
    return isinstance(key, tuple) and len(key) == 2 and all(isinstance(name, str) for name in key)


def _is_time(value: object) -> bool:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_number and 0 <= float(value) < math.inf  # type: ignore[arg-type]
