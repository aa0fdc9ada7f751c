"""Count the multiplies of a model's forward pass, in arrays and outside."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from aimc_robust.noise.analog_weights import CONVOLUTIONS, TRANSPOSED, analog_weights


@dataclass(frozen=True)
class MacCount:
    """Multiply-accumulates of one forward pass: `analog` in arrays; `digital`, module -> those outside of arrays."""

    analog: int
    digital: dict[str, int]

    @property
    def total(self) -> int:
        return self.analog + sum(self.digital.values())

    @property
    def share(self) -> float:
        """Percent of all that arrays do."""
        return 100.0 * self.analog / self.total

    def of(self, module: str) -> float:
        """Percent of all that a digital module does."""
        return 100.0 * self.digital[module] / self.total


@torch.no_grad()
def count_macs(model: nn.Module, example: Any) -> MacCount:
    """MacCount of `model(example)`, for a model in evaluation form as `prepare` makes it.

    Matrix products, convolutions and attention scores count; elementwise operations do not.
    """
    analog: Counter[str] = Counter()
    handles = []
    for name, module in model.named_modules():
        weights = [use for use in analog_weights(module).values() if use.module is module]
        if weights:
            hook = _counter(analog, name, module, [use.parameter.numel() for use in weights])
            handles.append(module.register_forward_hook(hook, with_kwargs=True))
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it is one operation that no counter looks into
    try:
        # Attention as plain matrix products: not every torch counts its fused forms.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(example)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()
    return MacCount(sum(analog.values()), _outside(model, counter, analog))


def _counter(analog: Counter[str], name: str, module: nn.Module, sizes: list[int]) -> Any:
    """A hook that adds the multiplies of one call: weights times the positions that they are applied at."""
    whole = sum(sizes)

    def count(layer: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if isinstance(module, CONVOLUTIONS):
            channels = output.shape[-(module.weight.ndim - 1)]
            analog[name] += output.numel() // channels * whole
        elif isinstance(module, TRANSPOSED):
            x: Tensor = args[0] if args else kwargs["input"]
            analog[name] += x.numel() // x.shape[-(module.weight.ndim - 1)] * whole
        elif isinstance(module, nn.MultiheadAttention):
            tensors = [*args, *(kwargs[key] for key in ("query", "key", "value") if key in kwargs)][:3]
            each = sizes if len(sizes) == 3 else [whole // 3] * 3
            analog[name] += sum(math.prod(x.shape[:-1]) * size for x, size in zip(tensors, each, strict=True))
            # Its out projection is used without being called.
            analog[name] += math.prod(tensors[0].shape[:-1]) * layer.out_proj.weight.numel()
        else:
            x = args[0] if args else kwargs["input"]
            analog[name] += math.prod(getattr(x, "data", x).shape[:-1]) * whole

    return count


def _outside(model: nn.Module, counter: FlopCounterMode, analog: Counter[str]) -> dict[str, int]:
    """Module -> multiplies of its own, without those of its parts and of its arrays."""
    root = type(model).__name__
    totals = {name: sum(counts.values()) // 2 for name, counts in counter.get_flop_counts().items()}
    own: dict[str, int] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.RNNBase | nn.RNNCellBase):
            continue
        full = f"{root}.{name}" if name else root
        if full in totals:
            rest = totals[full] - sum(
                _inside(part, f"{full}.{child}", totals) for child, part in module.named_children()
            )
            if rest > analog.get(name, 0):
                own[name or root] = rest - analog.get(name, 0)
    return own


def _inside(module: nn.Module, name: str, totals: dict[str, int]) -> int:
    """MacCount of a part; of its own parts where it is a container that is never called itself."""
    if name in totals:
        return totals[name]
    return sum(_inside(part, f"{name}.{child}", totals) for child, part in module.named_children())
