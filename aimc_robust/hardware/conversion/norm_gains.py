"""By which factors folded BatchNorms would scale the weights that are programmed, for a model that is trained."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from aimc_robust.hardware.conversion.batchnorm_folding import fold_batchnorm
from aimc_robust.hardware.conversion.prepare import plain_copy
from aimc_robust.noise.analog_weights import layer_name

LEAST_GAIN = 1e-3  # channels that a BatchNorm switches off would divide by 0

# Tracing at every update would be slow: the model -> its modules then, and what was folded.
_FOLDED: WeakKeyDictionary[nn.Module, tuple[list[int], dict[str, str]]] = WeakKeyDictionary()


def foldable_norms(model: nn.Module) -> dict[str, str]:
    """Return name of each BatchNorm that folding would fold -> name of its layer; remembered for the model."""
    modules = [id(module) for module in model.modules()]
    if model not in _FOLDED or _FOLDED[model][0] != modules:
        _FOLDED[model] = modules, fold_batchnorm(plain_copy(model)).folded
    return _FOLDED[model][1]


@torch.no_grad()
def norm_gains(model: nn.Module) -> dict[str, Tensor]:
    """Return layer -> |gamma| / sqrt(running variance + eps) of its BatchNorm for each output, over the largest.

    A common factor of all outputs does not change the states of devices.
    """
    gains = {}
    for name, layer in foldable_norms(model).items():
        norm = model.get_submodule(name)
        variance = norm.get_buffer("running_var")
        gain = (variance.double() + float(norm.eps)).rsqrt()  # type: ignore[arg-type]
        gain = gain if norm.weight is None else gain * norm.weight.double().abs()  # type: ignore[operator]
        gain = (gain / gain.max()).nan_to_num(nan=1.0)  # all are 0
        gains[layer_name(f"{layer}.weight")] = gain.clamp(min=LEAST_GAIN)
    return gains
