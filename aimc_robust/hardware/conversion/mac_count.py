"""Count the multiply-accumulate operations (MACs) of a model's forward pass, in arrays and outside of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves

from aimc_robust.hardware.config.placement import Hardware, stored_weights
from aimc_robust.hardware.conversion.array_reads import MatrixReads, ReadCounter
from aimc_robust.hardware.conversion.dispatch_mode import DispatchMode
from aimc_robust.tasks.calling import call_model

aten = torch.ops.aten
Count: TypeAlias = Callable[[tuple[Any, ...], Tensor], tuple[int, tuple[Any, ...]]]


@dataclass(frozen=True)
class MacCount:
    """Multiply-accumulate operations of one forward pass.

    Attributes:
        analog: Operations in arrays.
        digital: Module, "" for the model itself -> its operations outside of arrays.
        digital_weights: Parameter or buffer -> operations outside of arrays that multiply with it.
        unknown: Module -> names of operations that may multiply and cannot be counted.
        reads: Weight that a crossbar stores -> how often its arrays are read.
    """

    analog: int
    digital: dict[str, int]
    digital_weights: dict[str, int]
    unknown: dict[str, tuple[str, ...]] = field(default_factory=dict)
    reads: dict[str, MatrixReads] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All operations."""
        return self.analog + sum(self.digital.values())

    @property
    def analog_percent(self) -> float:
        """Operations in arrays, in percent of all."""
        return 100.0 * self.analog / self.total

    def digital_percent(self, module: str) -> float:
        """Operations of a digital module, a key of `digital`, in percent of all."""
        return 100.0 * self.digital[module] / self.total


@torch.no_grad()
def count_macs(model: nn.Module, example: Any, hardware: Hardware | None = None) -> MacCount:
    """Count the multiply-accumulate operations of `call_model(model, example)`.

    Every operation that reaches torch's dispatcher is seen. Matrix products, convolutions and attention scores count;
    so does an elementwise product with a matrix of parameters, which is half of a matrix product. Other elementwise
    operations do not. An operation is analog if one of its factors is a weight that a crossbar of `hardware` stores;
    None: one that any crossbar could. The model comes from `prepare`.
    """
    counter = _Counter(model, hardware)
    # Attention and recurrent layers as matrix products, not as single operations that the dispatcher cannot see into.
    fast_path, (onednn, *_) = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.set_flags(False)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        without_cudnn = torch.backends.cudnn.flags(enabled=False)  # it computes recurrent layers as one operation
        with sdpa_kernel(SDPBackend.MATH), without_cudnn, counter.modules(model), counter.reads.attention(), counter:
            call_model(model, example)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        torch.backends.mkldnn.set_flags(onednn)
    tensors = {_address(x): name for name, x in (*model.named_buffers(), *model.named_parameters())}
    weights = {tensors[address]: macs for address, macs in counter.digital_weights.items()}
    unknown = {name: tuple(operations) for name, operations in counter.unknown.items()}
    return MacCount(counter.analog, dict(counter.digital), weights, unknown, counter.reads.counts)


def _product(first: int, second: int) -> Count:
    """Count of a matrix product whose factors are the arguments at these positions."""
    return lambda args, out: (out.numel() * args[first].shape[-1], (args[first], args[second]))


def _convolution(args: tuple[Any, ...], out: Tensor) -> tuple[int, tuple[Any, ...]]:
    x, weight, transposed = args[0], args[1], args[6]
    applied_at = x if transposed else out  # positions at which the whole kernel is applied
    return applied_at.numel() // applied_at.shape[1] * weight.numel(), (weight,)


def _grouped(args: tuple[Any, ...], out: Tensor) -> tuple[int, tuple[Any, ...]]:
    """Count of a grouped product: each row of the output comes from one group, (rows, inputs) x (groups, ...)."""
    if args[0].ndim == args[1].ndim == 2:  # the groups are cut from the summed dimension
        return args[0].shape[0] * args[0].shape[1] * args[1].shape[1], args[:2]
    return out.numel() // (out.shape[0] if out.ndim == 3 and args[0].ndim == 2 else 1) * args[0].shape[-1], args[:2]


GROUPED = [getattr(aten, name) for name in ("_grouped_mm", "_scaled_grouped_mm") if hasattr(aten, name)]  # torch 2.8
COUNTS: dict[Any, Count] = {
    **dict.fromkeys((aten.mm, aten.bmm, aten.mv, aten.dot, aten.vdot, aten._scaled_mm, aten._int_mm), _product(0, 1)),
    **dict.fromkeys((aten.addmm, aten._addmm_activation, aten.baddbmm, aten.addmv), _product(1, 2)),
    **dict.fromkeys(GROUPED, _grouped),
    **dict.fromkeys((aten.convolution, aten._convolution), _convolution),
    aten.addr: lambda args, out: (out.numel(), args[-2:]),
}
"""Operation -> its count: function (arguments, output) -> (multiplies, the factors that may be weights)."""
BY_NAME = {"grouped_mm_fallback": _grouped}  # an operation of transformers, where torch has no grouped product

ELEMENTWISE = {aten.mul, aten.mul_, aten.addcmul, aten.addcmul_}
MAY_MULTIPLY = re.compile(r"mm(_|$)|matmul|conv|dot|bilinear|linear(_|$)|attention|gemm|rnn|lstm|gru|einsum|cdist")


class _Counter(DispatchMode):
    """Sees every operation; knows which tensors are parameters and buffers or were computed from them alone."""

    def __init__(self, model: nn.Module, hardware: Hardware | None) -> None:
        super().__init__()
        self.reads = ReadCounter(model, hardware)
        self.analog, self.digital, self.digital_weights = 0, Counter[str](), Counter[int]()
        self.unknown: dict[str, dict[str, None]] = {}
        self._running = [""]
        self._stored = {_address(weight.parameter) for weight in stored_weights(model, hardware).values()}
        # Storage -> those of the parameters and buffers it was computed from, for tensors that do not depend on the
        # input. They are kept, so that no other tensor takes their address.
        self._constants = {_address(x): frozenset([_address(x)]) for x in (*model.parameters(), *model.buffers())}
        self._kept: list[Tensor] = []

    @contextmanager
    def modules(self, model: nn.Module) -> Iterator[None]:
        """Context manager that follows which module runs."""
        handles = []
        for name, module in model.named_modules():
            if name:
                handles += [
                    module.register_forward_pre_hook(lambda *_, name=name: self._running.append(name)),
                    module.register_forward_hook(self._leave, always_call=True),
                ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _leave(self, *_: Any) -> None:
        self._running.pop()

    def dispatch(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the result of an operation, which is counted."""
        operation = func.overloadpacket
        count = COUNTS.get(operation) or BY_NAME.get(operation.__name__)
        if count is None and func._can_decompose() and func is not torch.ops.prim.device.default:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        out = func(*args, **kwargs)
        self._count(operation, count, args, out)
        self._follow([x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)], out)
        return out

    def _count(self, operation: Any, count: Count | None, args: tuple[Any, ...], out: Any) -> None:
        name = operation.__name__
        if count is not None:
            macs, factors = count(args, out)
            self._add(macs, factors)
            self._count_reads(macs, factors, args, out)
        elif operation in ELEMENTWISE:
            tensors = [x for x in args[-2:] if isinstance(x, Tensor)]
            matrices = [x for x in tensors if self._sources(x) and sum(size > 1 for size in x.shape) > 1]
            if matrices and not all(_address(x) in self._constants for x in tensors):
                self._add(out.numel(), matrices)
                self._count_reads(out.numel(), tensors, args, out)
        elif MAY_MULTIPLY.search(name) and not name.startswith("_thnn_fused"):  # gates on a GPU are elementwise
            self.unknown.setdefault(self._running[-1], {})[name] = None

    def _add(self, macs: int, factors: Any) -> None:
        sources = frozenset().union(*(self._sources(x) for x in factors))
        if sources & self._stored:
            self.analog += macs
        elif macs:
            self.digital[self._running[-1]] += macs
            self.digital_weights.update(dict.fromkeys(sources, macs))

    def _count_reads(self, macs: int, factors: Sequence[Tensor], args: tuple[Any, ...], out: Tensor) -> None:
        """Count the reads of the arrays that a product belongs to; a single factor is the weight of a convolution."""
        plain = [n for n, factor in enumerate(factors) if _address(factor) in self._stored]
        computed = [n for n, factor in enumerate(factors) if self._sources(factor) & self._stored]
        if len(found := plain or computed) != 1:  # weights times weights: no array computes that
            return
        factor = factors[found[0]]
        x = args[0] if len(factors) == 1 else factors[1 - found[0]]
        for source in self._sources(factor) & self._stored:
            if len(factors) == 1 and args[6]:
                self.reads.add_transposed(source, args, out)
            else:
                self.reads.add(source, macs, factor, x)

    def _sources(self, tensor: Tensor) -> frozenset[int]:
        return self._constants.get(_address(tensor), frozenset())

    def _follow(self, inputs: list[Tensor], out: Any) -> None:
        """Note whether outputs depend on parameters and buffers alone."""
        is_constant = all(_address(x) in self._constants for x in inputs)
        for x in tree_leaves(out):
            if not isinstance(x, Tensor) or (address := _address(x)) in self._stored:
                continue
            if not is_constant:
                self._constants.pop(address, None)  # written in place
            elif address not in self._constants:
                self._constants[address] = frozenset().union(*(self._sources(y) for y in inputs))
                self._kept.append(x)


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
