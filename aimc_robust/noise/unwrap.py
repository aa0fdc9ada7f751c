"""Remove wrappers around a model: data parallelism, torch.compile, Lightning Fabric."""

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel


def unwrap_model(model: nn.Module) -> nn.Module:
    """Return the model inside its wrappers, so that layer names do not depend on how the model is run."""
    while True:
        if isinstance(model, DataParallel | DistributedDataParallel):
            inner: nn.Module | None = model.module
        elif "_orig_mod" in model._modules:  # torch.compile's OptimizedModule
            inner = model._modules["_orig_mod"]
        else:  # Lightning Fabric
            inner = model._modules.get("_forward_module")
        if inner is None:
            return model
        model = inner
