"""Networks that the model tests name as `module:function`."""

import torch
from torch import Tensor, nn

from aimc_robust.devices.cell_model import CellModel


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


class HungryWhenBuilt(nn.Module):
    """Asks for more memory than any machine has when it is built."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(10**15))


def leaves() -> nn.Module:
    """Ends the process, as a script does whose arguments are wrong."""
    raise SystemExit(0)


class Leaves(nn.Module):
    """The same, when it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        raise SystemExit(0)


class LeavingCells(CellModel):
    """The same, when cells are programmed."""

    name, unit, window = "leaving", "uS", (1.0, 20.0)

    def programming_std(self, target: Tensor) -> Tensor:
        raise SystemExit(0)


class Hungry(nn.Module):
    """Asks for more memory in training than any machine has."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = tiny()

    def forward(self, images: Tensor) -> Tensor:
        scores = self.layers(images)
        return scores + scores.new_empty(10**15).sum() if self.training else scores
