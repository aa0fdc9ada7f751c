"""What the folding tests share: BatchNorms with nothing neutral about them, and the difference that folding makes."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from aimc_robust import Coverage
from aimc_robust.hardware.conversion.prepare import prepare

TOLERANCE = 1e-10


def stirred(model: nn.Module) -> nn.Module:
    """`model` in float64 with BatchNorms as training leaves them: nothing at its neutral starting value."""
    generator = torch.Generator().manual_seed(0)
    for norm in (module for module in model.modules() if isinstance(module, _BatchNorm)):
        if norm.running_mean is not None:
            norm.running_mean.normal_(generator=generator)
            norm.running_var.uniform_(0.5, 2.0, generator=generator)
        if norm.affine:
            nn.init.normal_(norm.weight, mean=1.0, std=0.3, generator=generator)
            nn.init.normal_(norm.bias, generator=generator)
    return model.double()


@torch.no_grad()
def folded_and_difference(model: nn.Module, *inputs: Tensor) -> tuple[Coverage, float]:
    """The coverage, and the largest difference that folding made to the output."""
    prepared, coverage = prepare(stirred(model))
    difference = (copy.deepcopy(model).eval()(*inputs) - prepared(*inputs)).abs().max()
    return coverage, float(difference)


def noise_inputs(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
