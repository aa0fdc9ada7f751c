"""A quadratic loss whose Hessian is known."""

import numpy as np
import torch
from torch import nn

from aimc_robust.seeding import global_seed

LOSS = nn.MSELoss()
SAMPLES, INPUTS, OUTPUTS = 12, 5, 3


def example():
    """A linear layer in float64 and one batch: L(W) = mean((x W' - y)^2), quadratic in W."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(INPUTS, OUTPUTS, bias=False, dtype=torch.float64)
    model.weight.data = torch.randn(OUTPUTS, INPUTS, generator=generator, dtype=torch.float64)
    x = torch.randn(SAMPLES, INPUTS, generator=generator, dtype=torch.float64)
    y = torch.randn(SAMPLES, OUTPUTS, generator=generator, dtype=torch.float64)
    return model, (x, y)


def hessian(x):
    """d2L / dW dW over the row-major entries of W: block-diagonal, 2 x'x / (samples outputs) per output."""
    return np.kron(np.eye(OUTPUTS), 2.0 / (SAMPLES * OUTPUTS) * (x.T @ x).numpy())


def batchnorm_net():
    with global_seed(0):
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 3))
