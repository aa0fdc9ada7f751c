"""A layer's weight matrix as its devices hold it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.layers.bypass_guard import ForwardDepth, guarded_weight
from aimc_robust.hardware.programming.programmed_matrix import ProgrammedMatrix


class StoredMatrix(nn.Module):
    """Weights as parameters, and the signed states that stand for them.

    weight: what the devices stand for, filters first; when it is changed, by an optimizer or load_state_dict, the
        states follow, and the errors of programming stay. bias: digital, or read back from its rows.
    """

    running: ForwardDepth | None = None

    def __init__(self, name: str, crossbar: Crossbar, matrix: ProgrammedMatrix, shape: torch.Size) -> None:
        super().__init__()
        self.name, self.crossbar, self.shape = name, crossbar, shape
        self.rows = matrix.weight.shape[1]
        self.extra_rows = matrix.bias_rows[0].shape[1] if matrix.bias_rows else 0
        self.factors, self.offset = matrix.factors, matrix.offset
        self._parameters["weight"] = nn.Parameter(matrix.weight.reshape(shape), requires_grad=matrix.requires_grad)
        self.bias = None if matrix.bias is None else nn.Parameter(matrix.bias, requires_grad=matrix.requires_grad)
        self.register_buffer("scale", matrix.scale)
        for kind in ("banks", "bias_rows", "variances"):
            for bank, values in enumerate(getattr(matrix, kind)):
                self.register_buffer(f"{kind}_{bank}", values)

    @property
    def weight(self) -> Tensor:
        """The parameter; while a programmed model runs, one that refuses to be multiplied with."""
        parameter = self._parameters["weight"]
        return parameter if self.running is None or not self.running.depth else guarded_weight(parameter, self.name)

    @property
    def precision(self) -> torch.dtype:
        """The dtype that arrays compute in: the weight's, at least float32."""
        return torch.promote_types(self._parameters["weight"].dtype, torch.float32)

    def signed_states(self, bank: int) -> Tensor:
        """Signed states of one bank as `weight` now is, (outputs, inputs and bias rows)."""
        scale = self.scale.to(self.precision)
        u = self._parameters["weight"].to(self.precision).flatten(1) / scale.clamp(min=torch.finfo(scale.dtype).tiny)
        if len(self.factors) == 1:
            states = ((u - self.offset) if self.offset else u) * (1.0 / self.factors[0])
        else:
            # What the weight has changed by since programming is spread over the banks; its gradient goes the same way.
            stored = [getattr(self, f"banks_{i}") for i in range(len(self.factors))]
            programmed = sum(factor * states for factor, states in zip(self.factors, stored, strict=True))
            states = stored[bank] + (u - self.offset - programmed) / (len(self.factors) * self.factors[bank])
        if not self.extra_rows:
            return states
        return torch.cat([states, getattr(self, f"bias_rows_{bank}")], dim=1)

    def programmed_bias(self) -> Tensor:
        """The bias that its rows stand for."""
        sums = [getattr(self, f"bias_rows_{i}").sum(dim=1) for i in range(len(self.factors))]
        u = sum(factor * total for factor, total in zip(self.factors, sums, strict=True))
        return (u + self.offset * self.extra_rows) * self.scale.flatten()
