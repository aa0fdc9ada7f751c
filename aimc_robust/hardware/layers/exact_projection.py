"""A digital weight matrix of a module of which other matrices are in arrays."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust.noise.analog_weights import AnalogWeight


class ExactProjection(nn.Module):
    """One matrix of attention or of a recurrent layer that torch multiplies with, (..., inputs) -> (..., outputs).

    Its parameters are the module's own: they have the values, and get the gradients, that they would have in torch's.
    """

    bias: nn.Parameter | None

    def __init__(self, weight: AnalogWeight) -> None:
        super().__init__()
        self.weight = weight.parameter
        self.bias, self._part = (None, slice(None)) if weight.bias is None else weight.bias_source()

    def forward(self, x: Tensor) -> Tensor:
        """Multiply with the matrix and add its bias."""
        return F.linear(x, self.weight, None if self.bias is None else self.bias[self._part])
