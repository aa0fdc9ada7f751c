"""Prepare a copy of a model for deployment: evaluation mode, BatchNorm folded, plain weights."""

import copy
from dataclasses import replace
from types import NoneType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from aimc_robust.errors import InputError, require_type
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.placement import Hardware, Layers, place
from aimc_robust.hardware.conversion.batchnorm_folding import fold_nothing
from aimc_robust.hardware.conversion.captured_modules import reject_aliases, reject_captured_modules
from aimc_robust.hardware.conversion.coverage import Coverage, count_coverage
from aimc_robust.hardware.conversion.example import GetExample
from aimc_robust.hardware.conversion.folding_check import fold_checked
from aimc_robust.hardware.conversion.mac_count import count_macs
from aimc_robust.hardware.conversion.mapping_summary import map_model
from aimc_robust.noise.analog_weights import RECURRENT, analog_weights, is_analog_layer, unwrap_model
from aimc_robust.noise.model_kinds import check_initialized, check_model
from aimc_robust.noise.weight_shift import COMPUTING_HOOKS

PROGRAMMED = "_programmed_by_aimc_robust"


def prepare(
    model: nn.Module,
    get_example: GetExample | None = None,
    *,
    hardware: Hardware | None = None,
    fold: bool = True,
    strict: bool | None = False,
) -> tuple[nn.Module, Coverage]:
    """Make a copy of a trained model that can be programmed, and count what of it will be analog.

    Computed weights (weight_norm and other parametrizations, pruning) of layers that a crossbar can store become plain
    ones. A weight that an array shares with a digital module, such as an embedding, is copied.

    Args:
        model: Trained model; not modified.
        get_example: Returns an input of the model, see `call_model`; asked only if the model cannot be traced, or if
            it has weights outside of known layers.
        hardware: Which layers are on a crossbar; None: all that one can hold. BatchNorms are folded into digital layers
            too, which is exact, so that weights do not depend on it.
        fold: Whether BatchNorms are folded, see `Deployment`.
        strict: What weights do that a crossbar could store if their type were supported: True raises an error, None
            warns, False accepts them.

    Raises:
        InputError: if the model has no layer for a crossbar, has already been programmed, cannot be copied, or does not
            suit the hardware.
    """
    require_type("strict", strict, bool | NoneType, example="True, False or None")
    check_model(model)
    if any(PROGRAMMED in vars(module) for module in model.modules()):
        raise InputError(
            f"this {type(model).__name__} has been programmed already; program the original trained model instead."
        )
    prepared = plain_copy(model)
    if not analog_weights(prepared):
        raise InputError(
            f"{type(model).__name__} has no layer that a crossbar can hold; expected at least one convolution, linear, "
            "attention or recurrent layer."
        )
    if hardware is not None:
        hardware.check_model(prepared)
    shared = _untie(prepared)
    prepared, folding = fold_checked(prepared, get_example) if fold else (prepared, fold_nothing(prepared))
    prepared.eval()  # includes the modules that replaced BatchNorms
    covered = count_coverage(prepared, folding, shared, hardware)
    if get_example is not None and covered.digital_matrices and strict is not False:
        covered = replace(covered, macs=count_macs(prepared, get_example(), hardware))
    if strict:
        covered.require_all_analog()
    elif strict is None:
        covered.warn_if_digital()
    return prepared, covered


def plain_copy(model: nn.Module) -> nn.Module:
    """Copy a model in evaluation mode, with computed weights of layers that a crossbar can store as plain ones.

    Raises:
        InputError: if the model cannot be copied, or a copy would compute with the weights of the original.
    """
    require_type("model", model, nn.Module, example="a torch.nn.Module")
    plain = _copy(model).eval()
    for module in plain.modules():
        if is_analog_layer(module) or isinstance(module, (*RECURRENT, nn.MultiheadAttention)):
            if parametrize.is_parametrized(module):
                _remove_parametrizations(module)
            _remove_computing_hooks(module)
        weight = getattr(module, "weight", None) if is_analog_layer(module) else None
        if isinstance(weight, Tensor) and not isinstance(weight, nn.Parameter):  # a buffer or a plain tensor
            del module.weight
            module.weight = nn.Parameter(weight.detach(), requires_grad=False)
    return plain


def coverage(
    model: nn.Module,
    example: Any = None,
    *,
    crossbar: Hardware | None = None,
    layers: Layers | None = None,
    fold: bool = True,
) -> Coverage:
    """Count how much of a model a crossbar would store, and what would stay digital.

    Args:
        model: Trained model; not modified.
        example: Input of the model: a tensor, a tuple of arguments, or a mapping of keyword arguments. If given,
            multiply-accumulate operations are counted too, and models that cannot be traced are folded. Counts are
            those of one call: give one image or sequence for counts per inference.
        crossbar: A crossbar or a `Placement`. If given, `Coverage.mapping` says in how many arrays each layer lies, how
            full they are, and, with an example, how often they are read and how many values are converted.
        layers: Layers that are not on the crossbar, see `program`.
        fold: Whether BatchNorms are folded, see `Deployment`.

    Raises:
        InputError: see `prepare`.
    """
    require_type("fold", fold, bool, example="True or False")
    require_type("crossbar", crossbar, Hardware | NoneType, example="a Crossbar such as Crossbar('rram-wan2022')")
    hardware = crossbar if layers is None else place(crossbar or Crossbar("ideal"), layers)
    prepared, result = prepare(model, None if example is None else lambda: example, hardware=hardware, fold=fold)
    macs = None if example is None else count_macs(prepared, example, hardware)
    reads = None if macs is None else macs.reads
    mapping = None if hardware is None or crossbar is None else map_model(prepared, hardware, reads)
    return replace(result, macs=macs, mapping=mapping)


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


@torch.no_grad()
def _remove_computing_hooks(module: nn.Module) -> None:
    """Replace weights that a hook computes before each forward pass by their values: pruning, old normalizations."""
    hooks = module._forward_pre_hooks
    for key, hook in list(hooks.items()):
        if not isinstance(hook, COMPUTING_HOOKS):
            continue
        name = hook._tensor_name if isinstance(hook, prune.BasePruningMethod) else hook.name
        hook(module, None)  # the weight may be older than what it is computed from
        value = getattr(module, name).detach().clone()
        del hooks[key]
        delattr(module, name)
        sources = [source for source in module._parameters if source.startswith(f"{name}_")]
        removed = [module._parameters.pop(source) for source in sources]
        for buffer in [buffer for buffer in module._buffers if buffer.startswith(f"{name}_")]:
            del module._buffers[buffer]
        module.register_parameter(
            name, nn.Parameter(value, requires_grad=any(x is not None and x.requires_grad for x in removed))
        )


def _copy(model: nn.Module) -> nn.Module:
    """Copy the model without the wrappers of torch.compile or data parallelism."""
    model = unwrap_model(model)
    check_initialized(model)
    reject_aliases(model)
    # Hooks of pruning and of old normalizations leave computed tensors as attributes, which torch cannot copy.
    computed = [x for module in model.modules() for x in vars(module).values() if isinstance(x, Tensor) and x.grad_fn]
    try:
        copied = copy.deepcopy(model, {id(x): x.detach().clone() for x in computed})
    except Exception as error:  # a model's own __deepcopy__ may raise anything
        raise InputError(
            f"{type(model).__name__} cannot be copied ({error}). Load sharded weights into a plain model, before this."
        ) from error
    reject_captured_modules(copied, model)
    return copied


def _untie(model: nn.Module) -> set[int]:
    """Copy parameters that arrays share with digital modules, which stay exact; return the ids of the latter."""
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
    return set(copies)
