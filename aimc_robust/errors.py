"""Exceptions of the package and checks of arguments.

All exceptions share the base `AimcError`; each also inherits the built-in exception that a caller would expect. A
message states what is wrong with which value, what is allowed and what to do, in one or two sentences.
"""

import difflib
import functools
import inspect
import numbers
import os
import reprlib
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType
from typing import Any, TypeVar

Configuration = TypeVar("Configuration")
MAX_LENGTH = 160  # of a value in a message
PROBLEM = "\n- "  # begins each of several problems in a message
_PACKAGE = f"{Path(__file__).parent}{os.sep}"
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = MAX_LENGTH
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 12
_SHORT.maxlevel = 4


class AimcError(Exception):
    """Base class of all exceptions that this package raises deliberately."""


class InputError(AimcError, ValueError):
    """An argument, a card or a spec holds an invalid value."""


class UnknownNameError(AimcError, LookupError):
    """A name matches no registry entry, key or file."""


class DataError(AimcError, ValueError):
    """A data set is missing, or its arrays are inconsistent."""


class CheckpointError(AimcError, ValueError):
    """A checkpoint does not belong to the model or training recipe that loads it."""


class ResultsError(AimcError, OSError):
    """A results folder cannot be written, is damaged, or holds the results of another spec."""


class StoreError(ResultsError):
    """An object store does not do what it is asked for, or another process has taken it over."""


class DivergenceError(AimcError, ArithmeticError):
    """A loss of training, or an output of a model, is not finite."""


class MissingDependencyError(AimcError, ImportError):
    """An optional package is not installed; the message holds the command that installs it."""


def exact_text(value: float) -> str:
    """Return a number for a name: as short as it can be without printing like another number."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def short_repr(value: object) -> str:
    """Return a value for a message; one that is too long for a sentence is shortened."""
    try:
        text = " ".join(map(str.strip, _SHORT.repr(value).splitlines()))
    except (ValueError, RecursionError):  # an integer of thousands of digits, a list of lists of lists
        return f"a {type(value).__name__} that is too long to print"
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 4]} ..."


def join_names(names: Sequence[str], *, limit: int = 4) -> str:
    """Return the first names, with the number of the others."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def unknown_name(
    kind: str, name: object, known: Iterable[str], *, advice: str = "", within: Sequence[str] = ()
) -> UnknownNameError:
    """Return the exception for a `kind` of name that is not known; the message suggests the nearest known name.

    Names of the same spelling `within` something, such as training.epochs, are suggested first.
    """
    known = sorted(known)
    nearest = f"did you mean {' or '.join(map(repr, within))}?" if within else nearest_name(name, known)
    first = with_question(f"unknown {kind} {short_repr(name)}", nearest)
    parts = [first, f"Known: {', '.join(known) or 'none'}.", advice]
    return UnknownNameError(" ".join(filter(None, parts)))


def with_question(statement: str, question: str) -> str:
    """Return a statement with a question such as that of `nearest_name` behind it; as a sentence without one."""
    return f"{statement}: {question}" if question else f"{statement}."


def nearest_name(name: object, known: Iterable[str], *, cutoff: float = 0.5) -> str:
    """Return the question whether a name of `known` was meant; empty if none is as similar as `cutoff` (0 to 1)."""
    nearest = difflib.get_close_matches(str(name)[:MAX_LENGTH], list(known), n=1, cutoff=cutoff)
    return f"did you mean {nearest[0]!r}?" if nearest else ""


def names_arguments(kind: type[Configuration]) -> type[Configuration]:
    """Class decorator: an unknown keyword argument raises `UnknownNameError`, which suggests the nearest."""
    construct = kind.__init__
    known = [name for name in inspect.signature(construct).parameters if name != "self"]

    @functools.wraps(construct)
    def init(self: Any, *args: Any, **arguments: Any) -> None:
        for name in arguments:
            if name not in known:
                advice = "A Placement places layers, and is given as a crossbar is." if name == "layers" else ""
                raise unknown_name(f"argument of {kind.__name__}", name, known, advice=advice)
        construct(self, *args, **arguments)

    kind.__init__ = init  # type: ignore[method-assign]
    return kind


def require_known(kind: str, name: object, known: Collection[str]) -> None:
    """Raise `UnknownNameError` unless `name` is a string in `known`; see `unknown_name`."""
    if not isinstance(name, str) or name not in known:
        raise unknown_name(kind, name, known)


def require_type(name: str, value: object, kind: Any, *, example: str) -> None:
    """Raise `InputError` unless `value` is an instance of `kind`; `example` describes what is expected."""
    if not isinstance(value, kind):
        raise InputError(f"{name} must be {example}, got {short_repr(value)}.")


def require_finite(name: str, value: float, *, low: float = 0.0, high: float = float("inf")) -> None:
    """Raise `InputError` unless `value` is a finite real number in [low, high]."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or not -sys.float_info.max <= value <= sys.float_info.max:
        bound = f"at least {low:g}" if high == float("inf") else f"within {low:g} and {high:g}"
        raise InputError(f"{name} must be a finite number {bound}, got {short_repr(value)}.")


def require_whole(name: str, value: int, *, low: int, high: int | None = None) -> None:
    """Raise `InputError` unless `value` is a whole number in [low, high]; `high` = None is unbounded."""
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_whole or value < low or (high is not None and value > high):
        bound = f"from {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"{name} must be a whole number {bound}, got {short_repr(value)}.")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory is exhausted; torch's allocator on a CPU raises a plain RuntimeError."""
    is_torchs = type(error).__name__ == "OutOfMemoryError" or "allocate memory" in str(error)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and is_torchs)


@contextmanager
def exits_as_errors() -> Iterator[None]:
    """Turn SystemExit and the like, raised by a user's function, into an InputError that names the function.

    They are no `Exception`: nothing else would report them, and the process would end without a word.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        # The innermost frame that belongs neither to Python, nor to an installed package, nor to this one.
        libraries = (str(Path(__file__).parent), sysconfig.get_path("stdlib"), "<frozen")
        frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)]
        files = [code.co_filename for code, _ in frames]
        own = [i for i, file in enumerate(files) if not file.startswith(libraries) and "site-packages" not in file]
        if not own and isinstance(error.__context__, BrokenPipeError):
            raise  # rich leaves if nobody reads its output any more
        function, line = frames[own[-1] if own else -1]
        raise InputError(
            f"{function.co_qualname} ({function.co_filename}, line {line}) raised {type(error).__name__}({error}), "
            "which would end the process; return a value or raise an Exception."
        ) from error


def warn(message: str) -> None:
    """Warn; the warning points to the line that called this package, through however many of its functions."""
    frames = list(traceback.walk_stack(sys._getframe(1)))  # the caller's first
    files = [frame.f_code.co_filename for frame, _ in frames]
    ours = max((number for number, file in enumerate(files) if file.startswith(_PACKAGE)), default=-1)
    outside = (number for number in range(ours + 1, len(files)) if not _is_wrapper(frames[number][0].f_code))
    frame, line = frames[next(outside, len(frames) - 1)]
    names = frame.f_globals
    registry, module = names.setdefault("__warningregistry__", {}), names.get("__name__", "<unknown>")
    warnings.warn_explicit(message, UserWarning, frame.f_code.co_filename, line, module, registry)


def _is_wrapper(code: CodeType) -> bool:
    """Return whether code is of a decorator of Python or torch, or the `__init__` of a dataclass."""
    if code.co_filename == "<string>":  # also what `python -c` runs
        return code.co_name == "__init__"
    return Path(code.co_filename).name in ("contextlib.py", "_contextlib.py")
