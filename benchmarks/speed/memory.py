"""Aim: the memory of a training update per method: what stays, what an update adds, what each image adds.

    python benchmarks/speed/memory.py [--models torchvision:resnet18 ...] [--size 224]

SGD with momentum. Updates run on tensors without values (torch's FakeTensorMode), and every storage that an operation
makes is counted from then until it is freed. Workspaces of a GPU's libraries and rounding by its allocator come on top.
The largest sum at any time within an update is a line through two batches: a fixed part, and one for each image.
"""

import argparse
import copy
import functools
import gc
import weakref
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aimc_robust import RWP, SAM, SGD, AdaptiveSAM, Method, MixedRWP
from aimc_robust.models.registry import ModelSpec, construct
from aimc_robust.noise import model_kinds

MODELS = ["torchvision:resnet18", "torchvision:resnet50", "torchvision:vit_b_16"]
METHODS: dict[str, Method] = {
    "SGD": SGD(),
    "RWP": RWP(sigma=0.05),
    "m-RWP": MixedRWP(sigma=0.05),
    "SAM": SAM(rho=0.05, scope="all"),
    "ASAM": AdaptiveSAM(rho=0.5, scope="all"),
}
BATCHES = (64, 128)


class Memory(TorchDispatchMode):
    """Counts the bytes of the storages that operations make, while they live."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.peak = 0, 0
        self.known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        for value in tree_leaves(outputs):
            if isinstance(value, Tensor):
                self.count(value)
        return outputs

    def count(self, tensor: Tensor) -> None:
        """Count a tensor's storage, if it is not counted yet."""
        storage = tensor.untyped_storage()
        if storage in self.known:
            return
        self.known.add(storage)
        size = storage.nbytes()
        weakref.finalize(storage, self.free, size)
        self.bytes += size
        self.peak = max(self.peak, self.bytes)

    def free(self, size: int) -> None:
        """Subtract a storage that was freed."""
        self.bytes -= size


@functools.cache
def network(name: str, shape: tuple[int, ...]) -> nn.Module:
    """Return a network, with values."""
    return construct(ModelSpec(name=name), SimpleNamespace(shape=shape, outputs=1000))


def without_values(model: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """Return a copy of a model whose parameters and buffers have no values."""
    model = copy.deepcopy(model)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            module._parameters[name] = nn.Parameter(mode.from_tensor(parameter.detach()))
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = mode.from_tensor(buffer)
    return model


def update_bytes(name: str, method: Method, batch: int, shape: tuple[int, ...], *, bf16: bool) -> tuple[int, int, int]:
    """Return parameters, bytes between updates, and the largest number of them within an update."""
    mode = FakeTensorMode()
    model = without_values(network(name, shape), mode)
    with (
        mock.patch.object(model_kinds, "is_wrapped", return_value=False),  # methods refuse weights without values
        mode,
        Memory() as memory,
        torch.autocast("cpu", torch.bfloat16, enabled=bf16),
    ):
        for tensor in (*model.parameters(), *model.buffers()):
            memory.count(tensor)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        inputs, labels = torch.empty(batch, *shape), torch.zeros(batch, dtype=torch.long)
        for step in (1, 2):  # the first makes the momentum
            gc.collect()
            memory.peak = between = memory.bytes
            method.backward(
                model, nn.functional.cross_entropy, [(inputs, labels)] * method.batches_per_update, step=step
            )
            optimizer.step()
            optimizer.zero_grad()
        batch_bytes = sum(tensor.nbytes for tensor in (inputs, labels))
    return sum(parameter.numel() for parameter in model.parameters()), between - batch_bytes, memory.peak


def measure(name: str, method: Method, shape: tuple[int, ...], *, bf16: bool = False) -> dict[str, float]:
    """Return bytes between updates and within one, per parameter, and what each image adds."""
    few, many = BATCHES
    parameters, between, low = update_bytes(name, method, few, shape, bf16=bf16)
    _, _, high = update_bytes(name, method, many, shape, bf16=bf16)
    image = (high - low) / (many - few)
    return {"between": between / parameters, "fixed": (low - few * image) / parameters, "image": image}


HEAD = """\
| network | method | between updates [B/parameter] | within one [B/parameter] | image [MB] | in bf16 [MB] |
|---|---|---:|---:|---:|---:|"""


def row(name: str, label: str, shape: tuple[int, ...]) -> str:
    """Return the memory of one method as a row of Markdown."""
    found, mixed = (measure(name, METHODS[label], shape, bf16=bf16) for bf16 in (False, True))
    numbers = f"{found['between']:.1f} | {found['fixed']:.1f} | {found['image'] / 1e6:.0f}"
    return f"| `{name}` | {label} | {numbers} | {mixed['image'] / 1e6:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    shape = (3, options.size, options.size)
    print(HEAD)
    for name in options.models:
        for label in METHODS:
            print(row(name, label, shape), flush=True)


if __name__ == "__main__":
    main()
