"""How a command ends: errors become one line on standard error and an exit code."""

import functools
import os
import re
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, ParamSpec

import typer

from aimc_robust.errors import PROBLEM, AimcError, InputError, exits_as_errors, is_out_of_memory

EXIT_UNEXPECTED, EXIT_BAD_INPUT, EXIT_SOME_FAILED, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 1, 2, 3, 130, 141
RESUMABLE_COMMANDS = ("compare", "evaluate", "recommend")
IGNORED_AFTER_CTRL_C_S = 10.0
URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # a path has one slash of a URL's two

Arguments = ParamSpec("Arguments")

_debug = False


def set_debug(enabled: bool) -> None:
    """Set whether errors are raised with their traceback instead of shown as one line."""
    global _debug
    _debug = enabled


def handle_errors(command: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Make a command end with an exit code on errors and Ctrl-C.

    An error is shown as one line, or one for each problem; a warning as a note. With `set_debug(True)`, errors are
    raised. If nobody reads the output any more, the command ends silently.
    """

    @functools.wraps(command)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            with warnings.catch_warnings(), _interruption_as_keyboard_interrupt(), exits_as_errors():
                warnings.showwarning = _show_warning
                _refuse_urls(kwargs.values())
                command(*args, **kwargs)
        except KeyboardInterrupt:
            hint = " Run the same command again to continue." if command.__name__ in RESUMABLE_COMMANDS else ""
            typer.echo(f"Interrupted.{hint}", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except (typer.Exit, typer.Abort):
            raise
        except SystemExit:  # rich's, see `exits_as_errors`
            raise typer.Exit(EXIT_BROKEN_PIPE) from None
        except Exception as error:
            if isinstance(error, BrokenPipeError) and _is_closed(sys.stdout.fileno()):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes when it ends
                raise typer.Exit(EXIT_BROKEN_PIPE) from None
            if _debug:
                raise
            message, code = _message_and_code(error)
            lines = [" ".join(part.split()) for part in message.split(PROBLEM)]  # whatever a library wrote
            typer.echo(f"error: {PROBLEM.join(lines)}", err=True)
            raise typer.Exit(code) from None

    return run


def _refuse_urls(values: Iterable[object]) -> None:
    """Raise InputError for a URL where a path is expected. What may be either comes as text."""
    for value in values:
        for path in value if isinstance(value, list | tuple) else (value,):
            if isinstance(path, Path) and URL.match(str(path)):
                url = URL.sub(r"\g<0>/", str(path))
                raise InputError(
                    f"expected a path of this machine, got the URL {url}; only results of a comparison may be in an "
                    "object store. Copy its files first, for example with aws s3 sync."
                )


def _is_closed(descriptor: int) -> bool:
    """Return whether nobody reads what is written to a pipe, as in `aimc-robust plan SPEC | head -1`."""
    poll = select.poll()
    poll.register(descriptor)
    return any(event & select.POLLERR for _, event in poll.poll(0))


@contextmanager
def _interruption_as_keyboard_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt for whatever follows Ctrl-C.

    An import that Ctrl-C interrupts may turn it into an error of its own, as numpy and torch do, or lose it in a
    callback. A second Ctrl-C is ignored, since it would abort what ends, unless the command still runs after
    `IGNORED_AFTER_CTRL_C_S`.
    """
    interrupted_at: float | None = None

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted_at
        if interrupted_at is not None and time.monotonic() < interrupted_at + IGNORED_AFTER_CTRL_C_S:
            return
        interrupted_at = time.monotonic()
        signal.default_int_handler(number, frame)

    in_main_thread = threading.current_thread() is threading.main_thread()
    is_default = in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_default:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception:
        if interrupted_at is not None:
            raise KeyboardInterrupt from None
        raise
    finally:
        if is_default:
            signal.signal(signal.SIGINT, signal.default_int_handler if interrupted_at is None else signal.SIG_IGN)
    if interrupted_at is not None:
        raise KeyboardInterrupt


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    typer.echo(f"note: {' '.join(str(message).split())}", err=True)


def _message_and_code(error: Exception) -> tuple[str, int]:
    if isinstance(error, AimcError):
        return str(error), EXIT_BAD_INPUT
    if isinstance(error, OSError) and error.strerror:
        return f"cannot read or write {error.filename or 'a file'}: {error.strerror}.", EXIT_BAD_INPUT
    if is_out_of_memory(error):
        return "out of memory; use fewer jobs, a smaller --batch-size or fewer examples.", EXIT_UNEXPECTED
    text = f"{type(error).__name__}: {error}. Unexpected error. Re-run with --debug for the traceback."
    return text, EXIT_UNEXPECTED
