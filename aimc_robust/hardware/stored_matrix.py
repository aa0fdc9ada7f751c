"""A layer's weight matrix as its devices hold it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aimc_robust.hardware.crossbar import Crossbar
from aimc_robust.hardware.matrix import ProgrammedMatrix


class StoredMatrix(nn.Module):
    """Weights as parameters, and the signed states that stand for them.

    weight: what the devices stand for, filters first; when it is changed, by an optimizer or load_state_dict, the
        states follow, and the errors of programming stay. bias: digital, or read back from its rows.
    """

    def __init__(self, crossbar: Crossbar, matrix: ProgrammedMatrix, shape: torch.Size) -> None:
        super().__init__()
        self.crossbar, self.shape = crossbar, shape
        self.rows = matrix.weight.shape[1]
        self.extra_rows = matrix.bias_rows[0].shape[1] if matrix.bias_rows else 0
        low, high = crossbar.programming_window
        self.factors, self.offset = crossbar.mapped.factors(low / high, crossbar.cell_bits)
        self.weight = nn.Parameter(matrix.weight.reshape(shape), requires_grad=matrix.requires_grad)
        self.bias = None if matrix.bias is None else nn.Parameter(matrix.bias, requires_grad=matrix.requires_grad)
        self.register_buffer("scale", matrix.scale)
        for kind in ("banks", "bias_rows", "variances"):
            for bank, values in enumerate(getattr(matrix, kind)):
                self.register_buffer(f"{kind}_{bank}", values, persistent=False)

    def signed_states(self, bank: int) -> Tensor:
        """Signed states of one bank as `weight` now is, (outputs, inputs and bias rows)."""
        u = self.weight.flatten(1) / self.scale.clamp(min=torch.finfo(self.scale.dtype).tiny)
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
