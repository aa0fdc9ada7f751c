"""Code of the user's own, named by an import path `package.module:name`.

Importing and calling it runs it with the rights of the user: a spec of somebody else is a program of somebody else.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import Any, TypeVar

from aimc_robust.errors import AimcError, InputError, short_repr

Built = TypeVar("Built")
_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


_allowed: ContextVar[bool] = ContextVar("user_code_allowed", default=True)


def is_reference(text: str) -> bool:
    """Whether `text` has the form `package.module:name`."""
    return _REFERENCE.fullmatch(text) is not None


@contextmanager
def user_code(allowed: bool) -> Iterator[None]:
    """Whether code of the user's own may be imported inside the block; forbidden if an enclosing block forbids it."""
    token = _allowed.set(allowed and _allowed.get())
    try:
        yield
    finally:
        _allowed.reset(token)


def refuse_standard_library(reference: str, module: str, what: str) -> None:
    """Raise InputError if the module of what `reference` names belongs to Python, before anything is called."""
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise InputError(f"{what} {reference}: {module} is part of Python's standard library; name a module of yours.")


def _require_allowed(reference: str, what: str) -> None:
    if not _allowed.get():
        raise InputError(
            f"{what} {short_repr(reference)} is code to import and run, which --no-user-code (user_code=False) "
            "refuses; name something of this package, or allow it."
        )


def _add_search_paths(module: str, near: Iterable[Path] = ()) -> None:
    """Search modules in the working directory, as `python -m` does, then in folders around which this one is."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    top = module.partition(".")[0]
    for folder in (above for start in near for above in (start.resolve(), *start.resolve().parents)):
        if (folder / top / "__init__.py").is_file() or (folder / f"{top}.py").is_file():
            if str(folder) not in sys.path:
                sys.path.append(str(folder))
            return


def import_callable(reference: str, *, what: str, kind: type = object, near: Iterable[Path] = ()) -> Callable[..., Any]:
    """Import the function or class that `package.module:name` names, for use as `what`.

    Modules in the working directory, and in and above the folders `near`, are found too. A call must return a `kind`:
    a class of another kind is refused before it is called.

    Raises:
        InputError: If the module cannot be imported, has no such function or class, or is part of Python.
    """
    _require_allowed(reference, what)
    module, _, name = reference.partition(":")
    refuse_standard_library(reference, module, what)
    _add_search_paths(module, near)
    try:
        function = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # whatever a user's module raises
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            problem = f"there is no module {error.name} here"
        else:
            problem = f"the module cannot be imported: {describe_error(error)}"
        raise InputError(
            f"{what} {reference}: {problem}; run the command in the folder that has it, or put that on PYTHONPATH."
        ) from None
    if not callable(function):
        raise InputError(f"{what} {reference}: the module {module} has no function {name}.")
    if isinstance(function, type) and not issubclass(function, kind):
        raise InputError(f"{what} {reference} is a class, but no {kind.__name__}.")
    if isinstance(function, type | FunctionType | BuiltinFunctionType):  # it may be imported from elsewhere
        refuse_standard_library(reference, function.__module__ or "builtins", what)
    return function


def construct(reference: str, kind: type[Built], *, what: str, options: Mapping[str, Any] | None = None) -> Built:
    """Call the function or class that `package.module:name` names, and return an object of type `kind`.

    Raises:
        InputError: If it cannot be imported, raises an error, or returns another type.
    """
    function, options = import_callable(reference, what=what, kind=kind), options or {}
    try:
        built = function(**options)
    except AimcError:
        raise
    except Exception as error:  # whatever a user's function raises
        arguments = f"with the options {dict(options)}" if options else "without arguments"
        raise InputError(f"{what} {reference} cannot be built {arguments}: {describe_error(error)}.") from None
    if not isinstance(built, kind):
        raise InputError(f"{what} {reference} returned {type(built).__name__}; expected a {kind.__name__}.")
    return built


def call(function: Callable[..., Any], *arguments: Any, what: str) -> Any:
    """Call a user's function; whatever it raises becomes an InputError that names it as `what`."""
    try:
        return function(*arguments)
    except AimcError:
        raise
    except Exception as error:  # whatever a user's function raises
        raise InputError(f"{what} raised {describe_error(error)}.") from error


def describe_error(error: Exception) -> str:
    """Return an exception as a part of a sentence."""
    return f"{type(error).__name__}: {error}".rstrip(": .")


def source_digest(reference: str, near: Iterable[Path] = ()) -> str | None:
    """Return a digest of the file that defines `package.module:name`, searched as by `import_callable`; None if none.

    A spec that names the same function asks for something else once that file has changed. Modules that the file
    imports do not count.
    """
    module, _, name = reference.partition(":")
    if not name:
        return None
    _require_allowed(reference, "the source of")
    _add_search_paths(module, near)
    try:
        spec = importlib.util.find_spec(module)
        origin = Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None
        return None if origin is None else hashlib.blake2b(origin.read_bytes(), digest_size=12).hexdigest()
    except Exception:  # whatever the import of a parent package raises; importing the function reports it
        return None
