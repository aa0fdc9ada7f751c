"""What the tests of hardware share: models whose weights depend on their names alone, inputs, byte-wise digests."""

import hashlib

import torch
from torch import Tensor, nn

from aimc_robust import Axes, Crossbar

MILO = Crossbar("rram-milo2021")


def fill(model: nn.Module) -> nn.Module:
    """Weights that depend on their own name alone."""
    for name, parameter in model.named_parameters():
        axes = Axes(0).at(parameter=name)
        nn.init.normal_(parameter, std=0.2, generator=axes.generator())
    return model


def small_model() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4))
    model[1].running_mean.fill_(0.3)
    return fill(model)


class Mixed(nn.Module):
    """A convolution, a transposed one, attention and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.up = nn.Conv2d(1, 4, 3, stride=2), nn.ConvTranspose2d(4, 8, 2, stride=2)
        self.mix, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.up(self.conv(x)).flatten(2).transpose(1, 2)
        return self.head(self.mix(tokens, tokens, tokens)[0])


def images(n: int) -> Tensor:
    return torch.randn(n, 1, 6, 6, generator=torch.Generator().manual_seed(1))


def digest(model: nn.Module) -> str:
    """Every parameter and buffer, byte for byte."""
    parts = [f"{name}:".encode() + tensor.numpy().tobytes() for name, tensor in model.state_dict().items()]
    return hashlib.sha256(b"".join(parts)).hexdigest()
