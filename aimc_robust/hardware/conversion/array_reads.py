"""Count how often the arrays of each weight matrix are read in a forward pass, and how many inputs drive their rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from aimc_robust.hardware.config.placement import Hardware, stored_weights
from aimc_robust.hardware.layers.own_forward import has_own_forward
from aimc_robust.noise.analog_weights import TRANSPOSED, AnalogWeight


@dataclass(frozen=True)
class MatrixReads:
    """How often one weight matrix is multiplied with, in a forward pass.

    Attributes:
        reads: Matrix-vector multiplies: input vectors that are applied to the matrix, one after another. Each group of
            a convolution has arrays of its own, which are read as often.
        inputs: Inputs that drive rows, of all groups together, without bias rows.
        signed: Whether one of these inputs is negative.
    """

    reads: int = 0
    inputs: int = 0
    signed: bool = False

    def plus(self, reads: int, inputs: int, x: Tensor | None) -> MatrixReads:
        """Return the count after further reads with inputs from `x`."""
        negative = x is not None and x.is_floating_point() and bool((x < 0).any())
        return MatrixReads(self.reads + reads, self.inputs + inputs, self.signed or negative)


class ReadCounter:
    """Counts the reads of each weight matrix from the products of a forward pass.

    A product with a part of a matrix reads its arrays like one with the whole matrix. The joint arrays of attention are
    read once for each different tensor among query, key and value, as `AnalogAttention` reads them.
    """

    def __init__(self, model: nn.Module, hardware: Hardware | None = None) -> None:
        weights = stored_weights(model, hardware)
        self._give_own_storage(weights)
        self._names = {_address(weight.parameter): name for name, weight in weights.items()}
        self._weights = weights
        self.counts = {name: MatrixReads() for name in weights}
        self._attention = {
            name: weight.module
            for name, weight in weights.items()
            if isinstance(weight.module, nn.MultiheadAttention)
            and weight.parameter is weight.module.in_proj_weight
            and not has_own_forward(weight.module)
        }

    @staticmethod
    def _give_own_storage(weights: dict[str, AnalogWeight]) -> None:
        """Copy weights that share memory with others, as those of a recurrent layer on a GPU; here memory is a name."""
        for weight in weights.values():
            values = weight.parameter.data
            if values.untyped_storage().nbytes() != values.numel() * values.element_size():
                weight.parameter.data = values.clone()

    @contextmanager
    def attention(self) -> Iterator[None]:
        """Context manager that counts the reads of the joint projections of attention."""
        handles = [
            module.register_forward_pre_hook(
                lambda _, *called, name=name: self._project(name, *called), with_kwargs=True
            )
            for name, module in self._attention.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _project(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        values = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        for x in {id(x): x for x in (values["query"], values["key"], values["value"])}.values():
            self.counts[name] = self.counts[name].plus(x.numel() // x.shape[-1], x.numel(), x)

    def add(self, source: int, macs: int, factor: Tensor, x: Tensor | None) -> None:
        """Count a product with the weight at the address `source`, or with what was computed from it (`factor`)."""
        name = self._names[source]
        if name in self._attention:
            return
        weight = self._weights[name]
        matrix = min(_values(factor), weight.parameter.numel())
        reads = macs // matrix
        outputs = len(weight.filters_first()) // getattr(weight.module, "groups", 1)
        self.counts[name] = self.counts[name].plus(reads, reads * (weight.parameter.numel() // outputs), x)

    def add_transposed(self, source: int, args: tuple[Any, ...], out: Tensor) -> None:
        """Count a transposed convolution: a read for each position of the output, which drives some of the rows."""
        name, (x, _, _, stride, padding, dilation, *_) = self._names[source], args
        weight = self._weights[name]
        assert isinstance(weight.module, TRANSPOSED)
        driven = math.prod(
            sum(0 <= i * s - p + d * k < size for i in range(n) for k in range(kernel))
            for n, size, kernel, s, p, d in zip(
                x.shape[2:], out.shape[2:], weight.parameter.shape[2:], stride, padding, dilation, strict=True
            )
        )
        reads = out.numel() // out.shape[1]
        self.counts[name] = self.counts[name].plus(reads, x.shape[0] * x.shape[1] * driven, x)


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _values(tensor: Tensor) -> int:
    """Number of values of a tensor, without those that `expand` repeats."""
    return math.prod(size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride)
