"""Wrappers around a model that are no part of it: data parallelism, torch.compile, Lightning Fabric."""

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's own model inside any of these wrappers, so that its layers have one name whatever runs them."""
    while True:
        if isinstance(model, DataParallel | DistributedDataParallel):
            model = model.module
        elif "_orig_mod" in model._modules:  # torch.compile's OptimizedModule
            model = model._orig_mod
        elif "_forward_module" in model._modules:  # Fabric's
            model = model._forward_module
        else:
            return model
