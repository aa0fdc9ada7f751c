"""Networks that the model tests name as `module:function`."""

from torch import Tensor, nn


def tiny(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def wrong_output() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


def not_a_module() -> str:
    return "a model"


constant = 3


def mostly_zero() -> nn.Module:
    """Its weights are 0 but for one: the median weight is 0."""
    layer = nn.Linear(64, 10, bias=False)
    nn.init.zeros_(layer.weight)
    layer.weight.data[0, 0] = 1.0
    return nn.Sequential(nn.Flatten(), layer)


class Hungry(nn.Module):
    """Asks for more memory in training than any machine has."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = tiny()

    def forward(self, images: Tensor) -> Tensor:
        scores = self.layers(images)
        return scores + scores.new_empty(10**15).sum() if self.training else scores
