"""Random generators of the simulated device: they draw the CPU's numbers, but are refused by the CPU's tensors."""

from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode

CPUGenerator = torch.Generator
_ADDRESSES: set[int] = set()  # of the simulated ones: torch hands an operation another Python object than it was given


class SimulatedGenerator(CPUGenerator):
    """A generator of the simulated device."""

    def __init__(self):
        super().__init__()
        _ADDRESSES.add(self._cdata)

    def __del__(self):
        _ADDRESSES.discard(self._cdata)

    @property
    def device(self):
        return torch.device("simulated", 0)


class _Kind(type):
    def __instancecheck__(cls, value):
        return isinstance(value, CPUGenerator)


class Generator(metaclass=_Kind):
    """In the place of `torch.Generator`, which has no generators of a backend in Python."""

    def __new__(cls, device="cpu"):
        return SimulatedGenerator() if torch.device(device).type == "simulated" else CPUGenerator(device)


class _Default:
    """The state of the device's global generator."""

    state = CPUGenerator().manual_seed(0).get_state()


def is_simulated(generator):
    return generator._cdata in _ADDRESSES


def seed_all(seed):
    _Default.state = CPUGenerator().manual_seed(seed).get_state()


def get_state(device=None):
    return _Default.state.clone()


def set_state(state, device=None):
    _Default.state = state.clone()


@contextmanager
def drawing(operation, values):
    """Let an operation that names no generator draw from the device's global one, not from the CPU's."""
    has_own = any(isinstance(value, CPUGenerator) for value in values)
    if has_own or torch.Tag.nondeterministic_seeded not in operation.tags:
        yield
        return
    of_cpu = torch.default_generator.get_state()
    torch.default_generator.set_state(_Default.state)
    try:
        yield
    finally:
        _Default.state = torch.default_generator.get_state()
        torch.default_generator.set_state(of_cpu)


class RefusedByCPU(TorchFunctionMode):
    """Mode in which a tensor of the CPU cannot be drawn from a simulated generator."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        generator = kwargs.get("generator")
        is_drawn = generator is not None and isinstance(result, torch.Tensor) and is_simulated(generator)
        if is_drawn and result.device.type == "cpu":
            raise RuntimeError("Expected a 'cpu' device type for generator but found 'simulated'.")
        return result
