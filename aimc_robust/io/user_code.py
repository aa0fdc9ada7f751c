"""Code of the user's own, named by an import path `package.module:name`."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from aimc_robust.errors import AimcError, InputError

Built = TypeVar("Built")
_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_reference(text: str) -> bool:
    """Whether `text` has the form `package.module:name`."""
    return _REFERENCE.fullmatch(text) is not None


def add_cwd_to_path() -> None:
    """Put the working directory on the module search path, as `python -m` does."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def import_callable(reference: str, *, what: str) -> Callable[..., Any]:
    """Import the function or class that `package.module:name` names.

    Args:
        reference: The import path; modules in the working directory are found too.
        what: What it is imported for, for error messages.

    Returns:
        The function or class.

    Raises:
        InputError: If the module cannot be imported or has no such function or class.
    """
    module, _, name = reference.partition(":")
    add_cwd_to_path()
    try:
        function = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # whatever a user's module raises
        raise InputError(f"{what} {reference}: the module cannot be imported: {error}.") from None
    if not callable(function):
        raise InputError(f"{what} {reference}: the module {module} has no function {name}.")
    return function


def construct(reference: str, kind: type[Built], *, what: str, options: Mapping[str, Any] | None = None) -> Built:
    """Call the function or class that `package.module:name` names.

    Args:
        reference: The import path.
        kind: Type that the call must return.
        what: What it is called for, for error messages.
        options: Keyword arguments of the call.

    Returns:
        The object.

    Raises:
        InputError: If it cannot be imported, raises an error, or returns another type.
    """
    function, options = import_callable(reference, what=what), options or {}
    try:
        built = function(**options)
    except AimcError:
        raise
    except Exception as error:  # whatever a user's function raises
        arguments = f"with the options {dict(options)}" if options else "without arguments"
        raise InputError(f"{what} {reference} cannot be built {arguments}: {error}.") from None
    if not isinstance(built, kind):
        raise InputError(f"{what} {reference} returned {type(built).__name__}; expected a {kind.__name__}.")
    return built


def source_digest(reference: str) -> str | None:
    """Return a digest of the file that defines `package.module:name`.

    A spec that names the same function asks for something else once that file has changed. Modules that the file
    imports do not count.

    Args:
        reference: The import path.

    Returns:
        A hexadecimal digest; None if `reference` is no import path or its module has no file.
    """
    module, _, name = reference.partition(":")
    if not name:
        return None
    add_cwd_to_path()
    try:
        spec = importlib.util.find_spec(module)
        origin = Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None
        return None if origin is None else hashlib.blake2b(origin.read_bytes(), digest_size=12).hexdigest()
    except Exception:  # whatever the import of a parent package raises; importing the function reports it
        return None
