"""A multilayer perceptron, for tables."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from aimc_robust.errors import InputError, require_whole


class MLP(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        features: Numbers in one input, of any shape.
        classes: Outputs.
        hidden: Width of each hidden layer; none: a linear model.
    """

    def __init__(self, *, features: int, classes: int, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        if not isinstance(hidden, list | tuple):
            raise InputError(f"hidden of mlp must be the widths of hidden layers, such as [64, 64], got {hidden!r}.")
        for width in hidden:
            require_whole("hidden of mlp", width, low=1, high=65536)
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in pairwise((features, *hidden, classes)):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs (N, classes) of inputs (N, ...)."""
        return self.layers(inputs)
