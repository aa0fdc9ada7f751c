"""Settings of a training as plain values that are equal in every process: what `recipe.fingerprint` hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from inspect import getclosurevars
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn

from aimc_robust.models.checkpoint import tensor_digest


def canonical(value: Any) -> Any:
    """Return a setting as plain values: a function by its name and code, an object without own repr by its attributes.

    Of dataclasses, fields at their defaults are left out.
    """
    if is_dataclass(value) and not isinstance(value, type):
        settings = [(field.name, getattr(value, field.name), field.default) for field in fields(value)]
        return [type(value).__name__, {name: canonical(own) for name, own, default in settings if own != default}]
    if isinstance(value, FunctionType | MethodType | partial):
        return _function(value, ())
    # The default repr contains a memory address.
    if getattr(type(value), "__repr__", None) is object.__repr__:
        attributes = {name: canonical(attribute) for name, attribute in vars(value).items()}
        return [f"{type(value).__module__}.{type(value).__qualname__}", attributes]
    return repr(value)


def _function(value: Any, callers: tuple[Any, ...]) -> Any:
    """Return a function by its name, its code, its defaults, and the values outside that it uses by name."""
    if isinstance(value, partial):
        return ["partial", *(_used(part, callers) for part in (value.func, value.args, value.keywords))]
    if isinstance(value, MethodType):
        return ["method", _used(value.__self__, callers), _function(value.__func__, callers)]
    name = f"{value.__module__}.{value.__qualname__}"
    if value in callers:
        return name
    callers = (*callers, value)
    outside = getclosurevars(value)
    used = {key: _used(own, callers) for key, own in {**outside.globals, **outside.nonlocals}.items()}
    defaults = _used([value.__defaults__, value.__kwdefaults__], callers)
    return [name, hashlib.blake2b(_code(value.__code__).encode(), digest_size=16).hexdigest(), defaults, used]


def _code(code: CodeType) -> str:
    """Return instructions, names and constants as text, without the lines that they come from."""
    constants = [_code(own) if isinstance(own, CodeType) else _constant(own) for own in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {code.co_flags} {constants}"


def _constant(value: Any) -> str:
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)  # a set has no order


def _used(value: Any, callers: tuple[Any, ...]) -> Any:
    """Return what a function uses as plain values; modules, classes and functions of libraries by their names."""
    if isinstance(value, Tensor):
        return tensor_digest({"": value})
    if isinstance(value, nn.Module):
        return [type(value).__qualname__, tensor_digest(value.state_dict())]
    if isinstance(value, ModuleType | type):
        return f"{getattr(value, '__module__', '')}.{value.__name__}"
    if isinstance(value, FunctionType) and value.__module__.partition(".")[0] in ("torch", "aimc_robust"):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, FunctionType | MethodType | partial):
        return _function(value, callers)
    if isinstance(value, Mapping):
        return [[_used(key, callers), _used(own, callers)] for key, own in value.items()]
    if isinstance(value, list | tuple):
        return [_used(own, callers) for own in value]
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if getattr(type(value), "__repr__", None) is object.__repr__ and callers:
        name = f"{type(value).__module__}.{type(value).__qualname__}"
        return name if value in callers else [name, _used(vars(value), (*callers, value))]
    return canonical(value)
