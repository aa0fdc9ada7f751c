"""Prepare a copy of a model for deployment: evaluation mode, BatchNorm folded, plain weights."""

import copy
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from aimc_robust.errors import InputError, require_type
from aimc_robust.hardware.conversion.batchnorm_folding import fold_batchnorm
from aimc_robust.hardware.conversion.coverage import Coverage, count_coverage
from aimc_robust.hardware.conversion.mac_count import count_macs
from aimc_robust.noise.analog_weights import ANALOG_LAYERS, RECURRENT, analog_weights, unwrap_model

ANALOG_MODULES = (*ANALOG_LAYERS, *RECURRENT, nn.MultiheadAttention)
PROGRAMMED = "_programmed_by_aimc_robust"


def prepare(model: nn.Module) -> tuple[nn.Module, Coverage]:
    """Make a copy of a trained model that can be programmed, and count what of it will be analog.

    Computed weights (weight_norm and other parametrizations) of layers that a crossbar can store become plain ones. A
    weight that an array shares with a digital module, such as an embedding, is copied.

    Raises:
        InputError: if the model has no layer for a crossbar, has already been programmed, or cannot be copied.
    """
    require_type("model", model, nn.Module, example="a torch.nn.Module")
    if any(PROGRAMMED in vars(module) for module in model.modules()):
        raise InputError(
            f"this {type(model).__name__} has been programmed already; program the original trained model instead."
        )
    prepared = _copy(model).eval()
    for module in prepared.modules():
        if isinstance(module, ANALOG_MODULES) and parametrize.is_parametrized(module):
            _remove_parametrizations(module)
    if not analog_weights(prepared):
        raise InputError(
            f"{type(model).__name__} has no layer that a crossbar can hold; expected at least one convolution, linear, "
            "attention or recurrent layer."
        )
    _untie(prepared)
    folding = fold_batchnorm(prepared)
    prepared.eval()  # includes the modules that replaced BatchNorms
    return prepared, count_coverage(prepared, folding)


def coverage(model: nn.Module, example: Any = None) -> Coverage:
    """Count how much of a model a crossbar would store, and what would stay digital.

    Args:
        model: Trained model; not modified.
        example: Input for `model(example)`; if given, multiply-accumulate operations are counted too.

    Raises:
        InputError: see `prepare`.
    """
    prepared, result = prepare(model)
    return result if example is None else replace(result, macs=count_macs(prepared, example))


def _remove_parametrizations(module: nn.Module) -> None:
    """Replace computed weights by their values."""
    kind = type(module)  # torch removes the property from the class, which the copy shares with the original
    module.__class__ = type(kind.__name__, kind.__bases__, dict(vars(kind)))
    parametrizations = module.parametrizations
    assert isinstance(parametrizations, nn.ModuleDict)
    for name in list(parametrizations):
        parametrize.remove_parametrizations(module, name)
        value: Tensor = getattr(module, name)
        if not isinstance(value, nn.Parameter):  # torch leaves a tensor if no gradient is required
            setattr(module, name, nn.Parameter(value.detach(), requires_grad=False))


def _copy(model: nn.Module) -> nn.Module:
    """Copy the model without the wrappers of torch.compile or data parallelism."""
    model = unwrap_model(model)
    try:
        return copy.deepcopy(model)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"{type(model).__name__} cannot be copied ({error}). Replace torch.nn.utils.weight_norm and spectral_norm "
            "by their forms in torch.nn.utils.parametrizations, and run lazy layers once."
        ) from error


def _untie(model: nn.Module) -> None:
    """Copy parameters that arrays share with digital modules, so that errors affect only the arrays."""
    weights = analog_weights(model, include_shared=True)
    analog = {(id(weight.module), weight.name.rpartition(".")[2]) for weight in weights.values()}
    digital = {
        id(parameter)
        for module in model.modules()
        for attribute, parameter in module._parameters.items()
        if parameter is not None and (id(module), attribute) not in analog
    }
    copies: dict[int, nn.Parameter] = {}
    for weight in weights.values():
        parameter = weight.parameter
        if id(parameter) in digital:
            untied = nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)
            setattr(weight.module, weight.name.rpartition(".")[2], copies.setdefault(id(parameter), untied))
