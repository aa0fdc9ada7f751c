"""How a command ends: an error becomes one sentence and an exit code."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import typer

from aimc_robust.errors import AimcError

UNEXPECTED, BAD_INPUT, SOME_FAILED, INTERRUPTED = 1, 2, 3, 130

Command = TypeVar("Command", bound=Callable[..., None])

RESUMING = ("compare", "evaluate", "recommend")  # keep what is done at once

_debugging = False


def set_debug(wanted: bool) -> None:
    """Let errors pass as they are, traceback and all."""
    global _debugging
    _debugging = wanted


def handle_errors(command: Command) -> Command:
    """Errors and Ctrl-C become one sentence and an exit code, warnings a note; a traceback comes with --debug alone."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                command(*args, **options)
        except KeyboardInterrupt:
            more = "; the same command goes on from here" if command.__name__ in RESUMING else ""
            typer.echo(f"stopped{more}.", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if _debugging:
                raise
            text, code = _sentence(error)
            typer.echo(f"error: {' '.join(text.split())}", err=True)  # on one line, whatever a library wrote
            raise typer.Exit(code) from None

    return run


def _show_warning(message: Warning | str, *where: Any, **more: Any) -> None:
    typer.echo(f"note: {' '.join(str(message).split())}", err=True)


def _sentence(error: Exception) -> tuple[str, int]:
    if isinstance(error, AimcError):
        return str(error), BAD_INPUT
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'} cannot be read or written: {error.strerror}.", BAD_INPUT
    if isinstance(error, MemoryError):
        return "out of memory; use fewer jobs, a smaller --batch-size or fewer images.", UNEXPECTED
    kind = type(error).__name__
    return f"{kind}: {error}. This was not foreseen: the same command with --debug shows where it happened.", UNEXPECTED
