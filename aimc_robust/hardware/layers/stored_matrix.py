"""A layer's weight matrix as stored in devices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.weight_layout import nonzero
from aimc_robust.hardware.layers.bypass_guard import ForwardDepth, WeightGuard
from aimc_robust.hardware.programming.programmed_matrix import ProgrammedMatrix
from aimc_robust.hardware.programming.read_noise import to_variance_type


class StoredMatrix(nn.Module):
    """A `ProgrammedMatrix` whose `weight` and `bias` are parameters, with the signed device states that represent them.

    If `weight` changes, by an optimizer or load_state_dict, the states follow and the programming errors remain.

    Attributes:
        shape: Shape of the weight, filters first.
        input_rows: Number of rows for inputs.
        bias_rows: Number of rows that store the bias.
    """

    forward_depth: ForwardDepth | None = None
    bias: nn.Parameter | None
    scale: Tensor

    def __init__(self, name: str, crossbar: Crossbar, matrix: ProgrammedMatrix, shape: torch.Size) -> None:
        super().__init__()
        self.name, self.crossbar, self.shape = name, crossbar, shape
        self.input_rows = matrix.weight.shape[1]
        self.bias_rows = matrix.bias_rows[0].shape[1] if matrix.bias_rows else 0
        self.factors, self.offset = matrix.factors, matrix.offset
        self._parameters["weight"] = nn.Parameter(matrix.weight.reshape(shape), requires_grad=matrix.requires_grad)
        self.bias = None if matrix.bias is None else nn.Parameter(matrix.bias, requires_grad=matrix.requires_grad)
        self.register_buffer("scale", matrix.scale)
        for kind in ("banks", "bias_rows", "variances"):
            for bank, values in enumerate(getattr(matrix, kind)):
                rounded = to_variance_type(values).to(values.dtype) if kind == "variances" else values
                self.register_buffer(f"{kind}_{bank}", rounded)

    @property
    def weight(self) -> Tensor:
        """The parameter; while a programmed model is running, a `GuardedWeight`."""
        parameter = self._weight
        if self.forward_depth is None or not self.forward_depth.is_running:
            return parameter
        return self.guard.mark(parameter)

    def pass_gradients_to(self, weight: Tensor, bias: Tensor | None) -> None:
        """Let gradients of the stored values pass straight through to a weight, filters first, and a bias."""
        for name, source in (("weight", weight), ("bias", bias)):
            if source is not None:
                stored = self._parameters[name]
                assert stored is not None
                # Read like a parameter, but not one: the model that is trained has its own.
                values: Any = _StraightThrough.apply(source, stored.detach())
                self._parameters[name] = values

    @property
    def guard(self) -> WeightGuard:
        """What a product of the model's own code with the weight does."""
        return WeightGuard(self.name)

    @property
    def _weight(self) -> nn.Parameter:
        parameter = self._parameters["weight"]
        assert parameter is not None
        return parameter

    @property
    def precision(self) -> torch.dtype:
        """Data type that arrays compute in: the weight's, at least float32."""
        return torch.promote_types(self._weight.dtype, torch.float32)

    def signed_states(self, bank: int) -> Tensor:
        """Compute the signed states of one bank for the current `weight`, in units of the window's maximum.

        Their shape is (outputs, input_rows + bias_rows).
        """
        weight, scale = self._weight.to(self.precision).flatten(1), nonzero(self.scale.to(self.precision))
        if len(self.factors) == 1:
            states = weight / (scale * self.factors[0])
            states = states - self.offset / self.factors[0] if self.offset else states
        else:
            u = weight / scale
            # A change of the weight since programming is distributed over the banks, and so is the gradient.
            stored = [getattr(self, f"banks_{i}") for i in range(len(self.factors))]
            programmed = sum(factor * states for factor, states in zip(self.factors, stored, strict=True))
            states = stored[bank] + (u - self.offset - programmed) / (len(self.factors) * self.factors[bank])
        if not self.bias_rows:
            return states
        return torch.cat([states, getattr(self, f"bias_rows_{bank}")], dim=1)

    def programmed_bias(self) -> Tensor:
        """Compute the bias that its rows represent, shape (outputs,)."""
        sums: list[Tensor] = [getattr(self, f"bias_rows_{i}").sum(dim=1) for i in range(len(self.factors))]
        u = sum(factor * total for factor, total in zip(self.factors, sums, strict=True))
        return (u + self.offset * self.bias_rows) * self.scale.flatten()


class _StraightThrough(torch.autograd.Function):
    """The values of `stored`, with the gradient of `source`."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, stored: Tensor) -> Tensor:
        return stored.view_as(stored)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None
