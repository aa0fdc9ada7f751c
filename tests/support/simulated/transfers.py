"""What the operations of a simulated device would wait for: copies to the host, and copies to the device."""

import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

SHAPED_BY_MASK = ("index", "index_put", "index_put_", "_index_put_impl_")


@dataclass
class Transfers:
    """Each transfer with the lines of the package that caused it.

    Attributes:
        to_host: Values that are read on the host: the device has to finish first.
        to_device: Tensors of the host that are copied to the device: the host waits for the copy.
    """

    to_host: list[str] = field(default_factory=list)
    to_device: list[str] = field(default_factory=list)


_RECORDING: list[Transfers] = []


@contextmanager
def recorded():
    """Context manager that records all transfers."""
    transfers = Transfers()
    _RECORDING.append(transfers)
    try:
        yield transfers
    finally:
        _RECORDING.remove(transfers)


def record(operation, args, kwargs):
    """Note what an operation transfers."""
    if not _RECORDING:
        return
    name = operation._schema.name.removeprefix("aten::")
    if _reads_on_host(operation, name, args, kwargs):
        for transfers in _RECORDING:
            transfers.to_host.append(f"{name} at {_caller()}")
    if _copies_to_device(name, args):
        for transfers in _RECORDING:
            transfers.to_device.append(f"{name} at {_caller()}")


def _reads_on_host(operation, name, args, kwargs):
    if name == "copy_":
        return args[0].device.type == "cpu"
    if name == "_to_copy":
        return kwargs.get("device") is not None and kwargs["device"].type == "cpu"
    if name in SHAPED_BY_MASK:
        masks = any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
        return masks and not (name != "index" and args[2].numel() == 1)  # a fill, which needs no numbers of places
    tags = operation.tags
    return torch.Tag.data_dependent_output in tags or torch.Tag.dynamic_output_shape in tags


def _copies_to_device(name, args):
    if name == "copy_":
        return args[0].device.type != "cpu" and args[1].device.type == "cpu"
    return name in SHAPED_BY_MASK and any(index is not None and index.device.type == "cpu" for index in args[1])


def _caller():
    """The innermost lines of the package, or of the test."""
    frames = [frame for frame in traceback.extract_stack() if "support/simulated" not in frame.filename]
    own = [frame for frame in frames if "aimc_robust" in frame.filename] or frames[-1:]
    return " < ".join(f"{frame.filename.rpartition('aimc_robust/')[2]}:{frame.lineno}" for frame in own[-1:-4:-1])
