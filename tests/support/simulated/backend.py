"""Register a simulated accelerator with torch, in a process that computes nothing else: it cannot be undone."""

import functools

import torch
from support.simulated import autocast, generators
from support.simulated.tensor import BACKEND, SimulatedTensor, run
from torch.utils import backend_registration

from aimc_robust.noise import model_kinds

HOOK = "_setup_privateuseone_for_python_backend"
UNSUPPORTED = f"torch {torch.__version__} cannot host a backend that is written in Python"

_LIBRARIES: list[torch.library.Library] = []  # their operations end with them


class DeviceModule:
    """`torch.simulated`."""

    def is_available(self):
        return True

    def is_initialized(self):
        return True

    def device_count(self):
        return 1

    def current_device(self):
        return 0

    def synchronize(self, device=None):
        pass

    def _is_in_bad_fork(self):
        return False

    def get_amp_supported_dtype(self):
        return [torch.bfloat16, torch.float16]

    manual_seed_all = staticmethod(generators.seed_all)
    get_rng_state = staticmethod(generators.get_state)
    set_rng_state = staticmethod(generators.set_state)


def is_supported():
    """Whether this torch can host a backend that is written in Python."""
    return hasattr(backend_registration, HOOK)


def register():
    """Make `torch.device("simulated")` an accelerator; before any backward pass, which fixes the number of devices."""
    getattr(backend_registration, HOOK)(BACKEND, DeviceModule())
    fallback = torch.library.Library("_", "IMPL")
    fallback.fallback(_make, "PrivateUse1")
    _LIBRARIES.extend([fallback, *autocast.libraries()])
    torch.Generator = generators.Generator
    torch.tensor, torch.as_tensor = _copying(torch.tensor), _copying(torch.as_tensor)
    is_wrapped = model_kinds.is_wrapped  # this subclass stands for plain tensors of a device
    model_kinds.is_wrapped = lambda value: not isinstance(value, SimulatedTensor) and is_wrapped(value)


def fabric(device, precision):
    """A Fabric of one process on the simulated device, which has no accelerator of Fabric's own."""
    from lightning_fabric import Fabric
    from lightning_fabric.accelerators import CPUAccelerator
    from lightning_fabric.plugins import MixedPrecision
    from lightning_fabric.strategies import SingleDeviceStrategy

    class Accelerator(CPUAccelerator):
        def setup_device(self, device):
            pass

    strategy = SingleDeviceStrategy(device, accelerator=Accelerator())
    if precision == "bf16-mixed":
        return Fabric(strategy=strategy, plugins=MixedPrecision(precision, device=device.type))
    return Fabric(strategy=strategy, precision=precision)


def _copying(function):
    """`torch.tensor`, which cannot reach a backend in Python, by a copy from the CPU, as it makes one for a GPU."""

    @functools.wraps(function)
    def make(*args, device=None, **kwargs):
        if device is None or torch.device(device).type != BACKEND:
            return function(*args, device=device, **kwargs)
        return function(*args, **kwargs).to(device)

    return make


def _make(operation, *args, **kwargs):
    """Run an operation without a simulated tensor among its arguments: it makes one."""
    return run(operation, args, kwargs)
