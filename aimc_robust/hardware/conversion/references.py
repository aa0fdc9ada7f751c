"""References of a model to layers that were replaced: outside of what torch registers, they are rebound."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MethodType
from typing import Any

from torch import nn

from aimc_robust.hardware.conversion.captured_modules import REGISTERED
from aimc_robust.hardware.layers.bypass_guard import GuardedWeight


def rebind(model: nn.Module, replaced: Mapping[int, nn.Module | GuardedWeight]) -> None:
    """Let attributes and hooks of all modules refer to what replaced a layer or its weight, in place.

    Bound methods (a `forward` that is patched on the object, as Hugging Face's accelerate does), partials, lists,
    tuples and dictionaries are searched, as deep as they are nested.

    Args:
        model: The model, in which layers have been replaced.
        replaced: id of a replaced module -> its replacement; id of a stored weight -> what refuses products with it.
    """
    seen: set[int] = set()
    for module in model.modules():
        for attribute, value in vars(module).items():
            if attribute not in REGISTERED and (new := _rebound(value, replaced, seen)) is not value:
                vars(module)[attribute] = new


def _rebound(value: Any, replaced: Mapping[int, Any], seen: set[int]) -> Any:
    if id(value) in replaced:
        return replaced[id(value)]
    if isinstance(value, MethodType):
        return _method(value, replaced)
    if isinstance(value, functools.partial):
        parts = (value.func, value.args, value.keywords, vars(value))
        func, args, keywords, attributes = (_rebound(part, replaced, seen) for part in parts)
        if func is value.func and args is value.args:
            return value  # keywords and attributes are changed in place
        new: Any = type(value)(func, *args, **keywords)
        vars(new).update(attributes)
        return new
    if type(value) is tuple:
        items = tuple(_rebound(x, replaced, seen) for x in value)
        return items if any(new is not x for new, x in zip(items, value, strict=True)) else value
    if isinstance(value, (list, dict)) and id(value) not in seen:
        seen.add(id(value))
        for key, x in list(value.items() if isinstance(value, dict) else enumerate(value)):
            if (new := _rebound(x, replaced, seen)) is not x:
                value[key] = new
    return value


def _method(method: MethodType, replaced: Mapping[int, Any]) -> Any:
    """The method of the replacement; a function that was bound to the layer by hand is bound to the replacement."""
    owner = replaced.get(id(method.__self__))
    if owner is None:
        return method
    kind, function = type(method.__self__), method.__func__
    name = function.__name__
    if not isinstance(owner, kind) and getattr(kind, name, None) is function and hasattr(owner, name):
        return getattr(owner, name)
    return MethodType(function, owner)
