"""One error base; each error also inherits the builtin that a caller would expect.

A message says what was expected, what came, and how to mend it, in one sentence where that is possible.
"""

import difflib
import numbers
from collections.abc import Collection, Iterable


class AimcError(Exception):
    """Base of every error that this package raises on purpose."""


class InputError(AimcError, ValueError):
    """An argument, a card or a spec holds something that cannot be right."""


class UnknownNameError(AimcError, LookupError):
    """A name that no registry entry, key or file goes by."""


class DataError(AimcError, ValueError):
    """A data set is missing or its arrays do not fit together."""


class CheckpointError(AimcError, ValueError):
    """A checkpoint does not belong to the model or recipe that asks for it."""


class ResultsError(AimcError, OSError):
    """A results folder cannot be written, or holds the results of another question."""


class DivergenceError(AimcError, ArithmeticError):
    """Training produced a loss that is not finite."""


class MissingDependencyError(AimcError, ImportError):
    """An optional package is needed; the message holds the command that installs it."""


def unknown_name(what: str, name: object, known: Iterable[str], *, advice: str = "") -> UnknownNameError:
    """The error for a name that is not among `known`, with the nearest known name first and `advice` last."""
    known = sorted(known)
    nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return UnknownNameError(f"unknown {what} {name!r}: {hint}Known: {', '.join(known)}.{advice and ' ' + advice}")


def require_known(what: str, name: object, known: Collection[str]) -> None:
    """Raise UnknownNameError unless `name` is a text among `known`."""
    if not isinstance(name, str) or name not in known:
        raise unknown_name(what, name, known)


def require_finite(name: str, value: float, *, low: float = 0.0, high: float = float("inf")) -> None:
    """Raise InputError unless `value` is a number within [low, high] (an infinite bound is open)."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or value in (float("inf"), float("-inf")):
        bound = f"at least {low:g}" if high == float("inf") else f"within {low:g} and {high:g}"
        raise InputError(f"{name} must be a finite number {bound}, got {value!r}.")


def require_whole(name: str, value: int, *, low: int, high: int | None = None) -> None:
    """Raise InputError unless `value` is a whole number from `low` (to `high`)."""
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_whole or value < low or (high is not None and value > high):
        bound = f"from {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"{name} must be a whole number {bound}, got {value!r}.")
