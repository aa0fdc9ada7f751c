"""A copy of a model in the form in which it is deployed: evaluation mode, BatchNorm folded, plain weights."""

import copy
from dataclasses import replace
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from aimc_robust.errors import InputError
from aimc_robust.hardware.conversion.batchnorm_folding import fold_batchnorm
from aimc_robust.hardware.conversion.coverage import Coverage, count_coverage
from aimc_robust.hardware.conversion.mac_count import count_macs
from aimc_robust.noise.analog_weights import ANALOG_LAYERS, RECURRENT, analog_weights

HOLDERS = (*ANALOG_LAYERS, *RECURRENT, nn.MultiheadAttention)
WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)
PROGRAMMED = "_programmed_by_aimc_robust"


def prepare(model: nn.Module) -> tuple[nn.Module, Coverage]:
    """A copy of `model` ready to be programmed, and what of it will be analog.

    Computed weights (weight_norm and other parametrisations) of layers that a crossbar holds become plain ones; a
    weight that an array shares with a digital part, such as an embedding, gets a copy of its own.
    Raises InputError when the model holds nothing for a crossbar, or has been programmed already.
    """
    if any(PROGRAMMED in vars(module) for module in model.modules()):
        raise InputError(
            f"this {type(model).__name__} has been programmed already; program the trained model that it came from."
        )
    prepared = _copy(model).eval()
    for module in prepared.modules():
        if isinstance(module, HOLDERS) and parametrize.is_parametrized(module):
            kind = type(module)  # torch takes the computed weight out of the class, which the copy shares: copy it too
            module.__class__ = type(kind.__name__, kind.__bases__, dict(vars(kind)))
            for name in list(module.parametrizations):
                parametrize.remove_parametrizations(module, name)
                value = getattr(module, name)
                if not isinstance(value, nn.Parameter):  # torch leaves a tensor where no gradient is kept
                    setattr(module, name, nn.Parameter(value.detach(), requires_grad=False))
    if not analog_weights(prepared):
        raise InputError(
            f"{type(model).__name__} has no layer that a crossbar can hold; expected at least one convolution, linear, "
            "attention or recurrent layer."
        )
    _untie(prepared)
    folding = fold_batchnorm(prepared)
    prepared.eval()  # the parts that took a BatchNorm's place too
    return prepared, count_coverage(prepared, folding)


def coverage(model: nn.Module, example: Any = None) -> Coverage:
    """How much of `model` a crossbar would hold, and what would stay digital.

    example: an input that `model(example)` takes; with it the multiplies are counted too. Raises as `prepare` does.
    """
    prepared, covered = prepare(model)
    return covered if example is None else replace(covered, multiplies=count_macs(prepared, example))


def _copy(model: nn.Module) -> nn.Module:
    """A copy of the model itself, without what torch.compile or a parallel wrapper put around it."""
    while isinstance(model, WRAPPERS) or hasattr(model, "_orig_mod"):
        model = model._orig_mod if hasattr(model, "_orig_mod") else model.module
    try:
        return copy.deepcopy(model)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"{type(model).__name__} cannot be copied ({error}); weights computed by torch.nn.utils.weight_norm or "
            "spectral_norm need their form in torch.nn.utils.parametrizations, lazy layers a first batch."
        ) from error


def _untie(model: nn.Module) -> None:
    """Give arrays their own copy of a parameter that a digital module uses too: its errors are the arrays' alone."""
    uses = analog_weights(model, every_use=True)
    analog = {(id(use.module), use.name.rpartition(".")[2]) for use in uses.values()}
    digital = {
        id(parameter)
        for module in model.modules()
        for attribute, parameter in module._parameters.items()
        if parameter is not None and (id(module), attribute) not in analog
    }
    copies: dict[int, nn.Parameter] = {}
    for use in uses.values():
        if id(use.parameter) in digital:
            fresh = nn.Parameter(use.parameter.detach().clone(), requires_grad=use.parameter.requires_grad)
            setattr(use.module, use.name.rpartition(".")[2], copies.setdefault(id(use.parameter), fresh))
