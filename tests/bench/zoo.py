"""Networks that the model tests name as `module:function`."""

from torch import nn


def tiny(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def wrong_output() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


def not_a_module() -> str:
    return "a model"


constant = 3
