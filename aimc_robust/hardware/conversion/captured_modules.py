"""Functions that use the modules of the model they were copied from: a copied model would compute with the original."""

from __future__ import annotations

import dis
import functools
import inspect
import weakref
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError
from aimc_robust.noise.analog_weights import analog_weights

REGISTERED = ("_parameters", "_buffers", "_modules")
"""Attributes in which a module keeps what is registered."""
PLAIN = {bool, int, float, str, type(None)}
"""Types of attributes that hold nothing else."""


def reject_captured_modules(copied: nn.Module, original: nn.Module) -> None:
    """Raise InputError if a copy of a model still computes with the original.

    `copy.deepcopy` copies modules, bound methods and partials, but no functions: a closure, a default argument or a
    global variable of a function that a module keeps (an attribute, a hook, a replaced `forward`) still is a module of
    the original, whose weights are not those of the chip. So is the target of a weak reference.
    """
    held = {id(p): f"the parameter {name!r}" for name, p in original.named_parameters()}
    for name, module in original.named_modules():
        if next(module.parameters(), None) is not None or next(module.buffers(), None) is not None:
            held[id(module)] = f"the module {name!r}" if name else "the model itself"
    for name, module in copied.named_modules():
        if id(module) in held:
            continue
        own_forward = inspect.getattr_static(type(module), "forward", None)  # as it is: torch.jit computes it otherwise
        values = {repr(key): value for key, value in _attributes(module) if key not in REGISTERED}
        for attribute, value in (values | {"the class's forward": own_forward}).items():
            source = next((held[id(x)] for x in _reachable(value, set()) if id(x) in held), None)
            if source is not None:
                raise InputError(
                    f"{attribute} of {_place(name, module)} uses {source} through a closure, a global variable or a "
                    "weak reference, so that a copy of the model on a chip would compute with the original's exact "
                    "weights. Use `self` in a method, or bind the function with types.MethodType."
                )


def reject_aliases(model: nn.Module) -> None:
    """Raise InputError if a module keeps a tensor that shares its memory with the weight of a layer.

    A copy of the model would have exact weights in it. The parameter itself is copied together with the layer.
    """
    storages = {_storage(weight.parameter): weight.layer for weight in analog_weights(model).values()}
    storages.pop(0, None)
    parameters = {id(parameter) for parameter in model.parameters()}
    for name, module in model.named_modules():
        for attribute, value in _attributes(module):
            if attribute in ("_parameters", "_modules"):
                continue
            for x in _reachable(value, set()):
                if isinstance(x, Tensor) and id(x) not in parameters and _storage(x) in storages:
                    raise InputError(
                        f"{attribute!r} of {_place(name, module)} holds a view or an alias of the weight of the layer "
                        f"{storages[_storage(x)]!r} (`.data`, `.detach()`, `.t()`), which would stay exact on a chip. "
                        "Keep the layer, and read its weight where it is used."
                    )


def _attributes(module: nn.Module) -> Iterator[tuple[Any, Any]]:
    """Attributes that can hold something; most are numbers, or hooks that nobody has registered."""
    for attribute, value in vars(module).items():
        if type(value) not in PLAIN and not (isinstance(value, dict) and not value):
            yield attribute, value


def _place(name: str, module: nn.Module) -> str:
    return f"the module {name!r} ({type(module).__name__})" if name else f"the model ({type(module).__name__})"


def _storage(tensor: Tensor) -> int:
    """Address of a tensor's memory; 0 if it has none."""
    try:
        return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else 0
    except RuntimeError:  # of a sharded tensor
        return 0


def _reachable(value: Any, seen: set[int]) -> Iterator[Any]:
    """Modules and tensors that a value is, contains or, as a function, can use; their own attributes are left out."""
    if id(value) in seen:
        return
    seen.add(id(value))
    parts: list[Any] = []
    if isinstance(value, (nn.Module, Tensor)):
        yield value
    elif isinstance(value, MethodType):
        parts = [value.__self__, value.__func__]
    elif isinstance(value, functools.partial):
        parts = [value.func, value.args, value.keywords]
    elif isinstance(value, FunctionType):
        parts = [value.__defaults__, value.__kwdefaults__, *_free_variables(value)]
    elif isinstance(value, weakref.ref):
        target = value()
        parts = [target] if isinstance(target, nn.Module) else []
    elif isinstance(value, dict):
        parts = list(value.values())
    elif isinstance(value, (list, tuple, set, frozenset)):
        parts = list(value)
    for part in parts:
        yield from _reachable(part, seen)


def _free_variables(function: FunctionType) -> list[Any]:
    """Values of the closure and of the global variables that a function reads; of functions, those of its own file."""
    values = []
    for cell in function.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            continue
    variables = function.__globals__
    for name in _global_names(function.__code__):
        value = variables.get(name)
        if not isinstance(value, FunctionType) or value.__globals__ is variables:
            values.append(value)
    return values


@functools.lru_cache(maxsize=4096)
def _global_names(code: CodeType) -> tuple[str, ...]:
    """Names of the global variables that code reads, nested functions included; attributes are none."""
    names = [x.argval for x in dis.get_instructions(code) if x.opname in ("LOAD_GLOBAL", "LOAD_NAME")]
    nested = [name for x in code.co_consts if isinstance(x, CodeType) for name in _global_names(x)]
    return tuple(dict.fromkeys([*names, *nested]))
