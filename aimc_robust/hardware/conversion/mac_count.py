"""Count the multiply-accumulate operations (MACs) of a model's forward pass, in arrays and outside of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from aimc_robust.noise.analog_weights import CONVOLUTIONS, TRANSPOSED, analog_weights


@dataclass(frozen=True)
class MacCount:
    """Multiply-accumulate operations of one forward pass: in arrays, and outside of them by module."""

    analog: int
    digital: dict[str, int]

    @property
    def total(self) -> int:
        """All operations."""
        return self.analog + sum(self.digital.values())

    @property
    def analog_percent(self) -> float:
        """Operations in arrays, in percent of all."""
        return 100.0 * self.analog / self.total

    def digital_percent(self, module: str) -> float:
        """Operations of a digital module, in percent of all."""
        return 100.0 * self.digital[module] / self.total


@torch.no_grad()
def count_macs(model: nn.Module, example: Any) -> MacCount:
    """Count the multiply-accumulate operations of `model(example)`, for a model from `prepare`.

    Matrix products, convolutions and attention scores count; elementwise operations do not.
    """
    analog: Counter[str] = Counter()
    handles = []
    for name, module in model.named_modules():
        weights = [weight for weight in analog_weights(module).values() if weight.module is module]
        if weights:
            hook = _counting_hook(analog, name, module, [weight.parameter.numel() for weight in weights])
            handles.append(module.register_forward_hook(hook, with_kwargs=True))
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it is a single operation that the counter cannot see into
    try:
        # Attention as plain matrix products: not every version of torch counts its fused forms.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(example)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for handle in handles:
            handle.remove()
    return MacCount(sum(analog.values()), _digital_macs(model, counter, analog))


def _counting_hook(
    analog: Counter[str], name: str, module: nn.Module, sizes: list[int]
) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], None]:
    """Forward hook that adds the MACs of one call: weights times the positions at which they are applied."""
    total = sum(sizes)

    def count(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if isinstance(module, CONVOLUTIONS):
            channels = output.shape[-(module.weight.ndim - 1)]
            analog[name] += output.numel() // channels * total
        elif isinstance(module, TRANSPOSED):
            x: Tensor = args[0] if args else kwargs["input"]
            analog[name] += x.numel() // x.shape[-(module.weight.ndim - 1)] * total
        elif isinstance(module, nn.MultiheadAttention):
            tensors = [*args, *(kwargs[key] for key in ("query", "key", "value") if key in kwargs)][:3]
            each = sizes if len(sizes) == 3 else [total // 3] * 3
            analog[name] += sum(math.prod(x.shape[:-1]) * size for x, size in zip(tensors, each, strict=True))
            # Its out projection is used without being called.
            analog[name] += math.prod(tensors[0].shape[:-1]) * module.out_proj.weight.numel()
        else:
            x = args[0] if args else kwargs["input"]
            analog[name] += math.prod(getattr(x, "data", x).shape[:-1]) * total

    return count


def _digital_macs(model: nn.Module, counter: FlopCounterMode, analog: Counter[str]) -> dict[str, int]:
    """Module -> its own MACs, without those of its children and of its arrays."""
    root = type(model).__name__
    totals = {name: sum(counts.values()) // 2 for name, counts in counter.get_flop_counts().items()}
    digital: dict[str, int] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.RNNBase | nn.RNNCellBase):
            continue
        full_name = f"{root}.{name}" if name else root
        if full_name in totals:
            own = totals[full_name] - sum(
                _module_macs(child, f"{full_name}.{child_name}", totals)
                for child_name, child in module.named_children()
            )
            if own > analog.get(name, 0):
                digital[name or root] = own - analog.get(name, 0)
    return digital


def _module_macs(module: nn.Module, name: str, totals: dict[str, int]) -> int:
    """MACs of a module; the sum over its children if it is a container that is never called itself."""
    if name in totals:
        return totals[name]
    return sum(_module_macs(child, f"{name}.{child_name}", totals) for child_name, child in module.named_children())
