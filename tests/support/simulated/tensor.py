"""Tensors of a simulated accelerator: they hold CPU data, and behave on every operation as those of a GPU would.

An operation that mixes devices, or draws from a generator of another device, raises as on a GPU. `transfers.LOG`
records what would wait for a GPU. Numbers are those of the CPU, bit for bit: every operation runs there.
"""

import copy
import functools

import torch
from support.simulated import generators, transfers

BACKEND = "simulated"
CPU = torch.device("cpu")

# They take lengths on the CPU, and the first one also returns some there.
PACKING = {"_pack_padded_sequence", "_pad_packed_sequence", "_pack_padded_sequence_backward"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}


@functools.cache
def device():
    """The one simulated device; the backend must be registered."""
    return torch.device(BACKEND, 0)


class SimulatedTensor(torch.Tensor):
    """A tensor on the simulated device; `held` has its values."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held, requires_grad=False):
        if isinstance(held, SimulatedTensor):  # as `type(parameter)(values, requires_grad)` makes a parameter
            return torch.nn.Parameter(held, requires_grad)
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "layout": held.layout}
        tensor = torch.Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype, device=device(), **layout)
        tensor.held = held
        return tensor

    def __repr__(self):
        return f"{self.held!r} on {BACKEND}"

    def __format__(self, spec):
        return format(self.item() if self.ndim == 0 else str(self), spec)

    def as_subclass(self, kind):
        marked = self.view_as(self)
        marked.__class__ = _subclass(kind)
        return marked

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            values = SimulatedTensor(copy.deepcopy(self.held, memo))
            is_parameter = isinstance(self, torch.nn.Parameter)
            memo[id(self)] = torch.nn.Parameter(values, self.requires_grad) if is_parameter else values
        return memo[id(self)]

    def tolist(self):
        return self.cpu().tolist()

    def numpy(self, **_):
        raise TypeError(f"can't convert {BACKEND} device type tensor to numpy. Use Tensor.cpu() first.")

    def __array__(self, *_, **__):
        return self.numpy()

    def data_ptr(self):
        return self.held.data_ptr()

    def untyped_storage(self):
        return self.held.untyped_storage()

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if is_composite(operation):  # in inference mode they arrive whole
            result = operation.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        return run(operation, args, kwargs)


@functools.cache
def _subclass(kind):
    """A class of simulated tensors that are also of this kind, whose functions come first."""
    return type(kind.__name__, (kind, SimulatedTensor), {"__module__": kind.__module__})


@functools.cache
def is_composite(operation):
    return torch._C._dispatch_has_kernel_for_dispatch_key(operation.name(), "CompositeImplicitAutograd")


def run(operation, args, kwargs):
    """Run an operation with simulated tensors among its arguments, or the simulated device."""
    values = list(leaves((args, kwargs)))
    check_devices(operation, args, values)
    transfers.record(operation, args, kwargs)
    target = kwargs.get("device")
    results_on_cpu = (target is not None and torch.device(target).type == "cpu") or (
        _name(operation) == "copy_" and not isinstance(args[0], SimulatedTensor)
    )
    with generators.drawing(operation, values):
        result = operation(*mapped(_to_cpu, args), **mapped(_to_cpu, kwargs))
    known = {id(value.held): value for value in values if isinstance(value, SimulatedTensor)}
    if results_on_cpu:
        return result
    if _name(operation) == "_pack_padded_sequence":
        return SimulatedTensor(result[0]), result[1]
    return mapped(lambda value: _wrapped(value, known), result)


def leaves(value):
    """What is in nested tuples, lists and dictionaries; a tenth of the time of torch's pytrees."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        yield value
        return
    for part in value:
        yield from leaves(part)


def mapped(function, value):
    """The same nested values with the function's results in place of the leaves."""
    if isinstance(value, list | tuple):
        return type(value)([mapped(function, part) for part in value])
    if isinstance(value, dict):
        return {key: mapped(function, part) for key, part in value.items()}
    return function(value)


def check_devices(operation, args, values):
    """Raise as a GPU does for tensors of the CPU among those of the device, and for generators of the CPU."""
    for value in values:
        if isinstance(value, torch.Generator) and not generators.is_simulated(value):
            raise RuntimeError(f"Expected a '{BACKEND}' device type for generator but found 'cpu' in {operation}.")
    name = _name(operation)
    if name in ("copy_", "_to_copy") or name in PACKING:
        return
    on_cpu = [value for value in values if isinstance(value, torch.Tensor) and not isinstance(value, SimulatedTensor)]
    if name in INDEXING and isinstance(args[0], SimulatedTensor):
        indices = {id(index) for index in args[1] if index is not None}
        on_cpu = [value for value in on_cpu if id(value) not in indices]  # they are copied to the device
    takes_scalars = torch.Tag.pointwise in operation.tags or name in (*INDEXING, "masked_fill", "masked_fill_", "where")
    if any(value.ndim > 0 or not takes_scalars for value in on_cpu):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {BACKEND} and cpu, in "
            f"{operation}."
        )


@functools.cache
def _name(operation):
    return operation._schema.name.removeprefix("aten::")


def _to_cpu(value):
    if isinstance(value, SimulatedTensor):
        return value.held
    return CPU if isinstance(value, torch.device) and value.type == BACKEND else value


def _wrapped(value, known):
    if not isinstance(value, torch.Tensor):
        return value
    wrapper = known.get(id(value))
    if wrapper is None:
        if not torch.is_inference_mode_enabled():
            return SimulatedTensor(value)
        # A view of a tensor from outside of inference mode is none of inference mode either.
        with torch.inference_mode(value.is_inference()):
            return SimulatedTensor(value)
    if wrapper.shape != value.shape or wrapper.stride() != value.stride():  # squeeze_ and the like
        wrapper.data = SimulatedTensor(value)
        wrapper.held = value
    return wrapper
