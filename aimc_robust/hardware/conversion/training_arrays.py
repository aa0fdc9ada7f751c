"""Let the layers of a model compute in the arrays of a chip while it is trained."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError
from aimc_robust.hardware.calibration.batch_ranges import batch_ranges
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.placement import Hardware
from aimc_robust.hardware.config.ranges import LayerRanges
from aimc_robust.hardware.conversion.output_scales import OutputScales, with_scale_gradient
from aimc_robust.hardware.conversion.replace_layers import analog_form, array_layer, filled
from aimc_robust.hardware.layers.array_layer import ArrayLayer
from aimc_robust.hardware.layers.bypass_guard import ForwardDepth
from aimc_robust.hardware.layers.own_forward import ArrayGuard, has_own_forward, layer_geometry
from aimc_robust.hardware.programming.programmed_matrix import Chip, ProgrammedMatrix, program_arrays
from aimc_robust.hardware.programming.read_noise import ReadNoise
from aimc_robust.noise.analog_weights import RECURRENT, AnalogWeight, analog_weights, is_analog_layer
from aimc_robust.noise.weight_shift import derived_weights


@contextmanager
def computing_in_arrays(
    model: nn.Module,
    hardware: Hardware,
    chip: Chip,
    *,
    ranges: Mapping[str, LayerRanges] | None = None,
    percentile: float = 0.9999,
    strength: float = 1.0,
    gains: Mapping[str, Tensor] | None = None,
    worker: int = 0,
    learn_ranges: Callable[[ArrayLayer], None] | None = None,
    output_scales: OutputScales | None = None,
) -> Iterator[nn.Module]:
    """Context manager in which the layers of `model` compute in the arrays of a newly programmed chip.

    The model's parameters are not changed; gradients of the programmed weights pass straight through to them.
    Everything else of the model runs as it is: BatchNorm, dropout, hooks.

    Args:
        model: The model, without wrappers.
        hardware: The crossbar, or a placement on several; digital layers are not changed.
        chip: The chip, and which layers it holds; the others stay digital.
        ranges: Converter ranges. A layer without an entry finds them from each batch, right after programming.
        percentile: Quantile of the ranges that are found, see `calibrate`.
        strength: Factor on the errors of the devices and of the arrays' edge, 0 to 1: programming errors, drift, noise,
            errors of ADCs. Clipping and rounding by the mapping and by converters always act.
        gains: Layer -> factor of each output, above 0, on the weights that are programmed, as folding a BatchNorm does;
            the outputs are divided by it, digitally.
        worker: Rank of this process. All workers have the same chip, and each its own read noise.
        learn_ranges: Called with each layer whose inputs are converted in a range that is learned, see `RangeRecorder`.
        output_scales: Output scales that are trained too, see `with_scale_gradient`; None: none.

    Raises:
        InputError: if a layer has no array form.
    """
    _reject_computed_weights(model)
    if strength < 1.0:
        hardware = hardware.map(lambda crossbar: crossbar.replace(**vars(crossbar.periphery.with_errors(strength))))
    exact = hardware.map(_without_chance)
    depth = ForwardDepth()

    def make_layer(weight: AnalogWeight) -> ArrayLayer | None:
        crossbar, error_free = hardware.crossbar_of(weight.layer), exact.crossbar_of(weight.layer)
        if crossbar is None or error_free is None or not chip.holds(weight):
            return None
        gain = (gains or {}).get(weight.layer)
        programmed = weight if gain is None else _scaled(weight, gain)

        def matrix_at(time_s: float) -> ProgrammedMatrix:
            with crossbar.naming_layer(weight.layer):
                matrix = program_arrays(crossbar, programmed, replace(chip, time_s=time_s))
                if strength < 1.0:
                    matrix = matrix.weakened(
                        program_arrays(error_free, programmed, Chip(axes=chip.axes, checked=chip.checked)), strength
                    )
                return matrix if gain is None else matrix.divided(gain)

        matrix = matrix_at(chip.time_s)
        layer = array_layer(weight, crossbar, matrix, (ranges or {}).get(weight.layer))
        if layer.noise is not None and worker:
            layer.noise = ReadNoise(chip.axes.at(layer=weight.layer, effect="read", worker=worker))
        if learn_ranges is not None and crossbar.periphery.calibrates_inputs:
            learn_ranges(layer)
        elif layer.calibrated is None and crossbar.periphery.needs_calibration:
            if isinstance(weight.module, RECURRENT):
                raise InputError(
                    f"the layer {weight.layer!r} is read at every time step, so its converters need one range for all "
                    "of them; pass ranges=calibrate(model, crossbar, inputs)."
                )
            # Ranges are found right after programming, as `calibrate` finds them: a chip that drifts keeps them.
            fresh = array_layer(weight, crossbar, matrix_at(0.0), None) if chip.time_s else layer
            layer.find_ranges = lambda _, x: batch_ranges(fresh, x, percentile)
        with torch.enable_grad():
            parameter = weight.filters_first(weight.parameter)
            if output_scales is not None:
                parameter = with_scale_gradient(parameter, output_scales)
            bias = None if weight.bias is None else weight.bias_source()
            layer.pass_gradients_to(parameter, None if bias is None else bias[0][bias[1]])
        layer.forward_depth = depth
        return layer

    matrices: dict[int, list[AnalogWeight]] = {}
    in_arrays: set[int] = set()  # ids of modules
    for weight in analog_weights(model, include_shared=True).values():
        matrices.setdefault(id(weight.module), []).append(weight)
        if hardware.crossbar_of(weight.layer) is not None and chip.holds(weight):
            in_arrays.add(id(weight.module))
    with ExitStack() as stack:
        for handle in depth.attach(model):
            stack.callback(handle.remove)
        for weights in matrices.values():
            module = weights[0].module
            out_proj = getattr(module, "out_proj", None)
            if not in_arrays & {id(module), id(out_proj)}:
                continue
            with torch.no_grad():
                layers = [make_layer(weight) for weight in weights]
            form = analog_form(module, filled(weights, layers), out_proj)
            stack.enter_context(_computed_by(module, form))
        yield model


def _without_chance(crossbar: Crossbar) -> Crossbar:
    """The crossbar without errors that differ between chips; known stuck devices remain."""
    stuck = crossbar.device.fault_map or (0.0, 0.0)
    return crossbar.replace(programming=False, drift=False, stuck=stuck, read_noise=False)


def _scaled(weight: AnalogWeight, gain: Tensor) -> AnalogWeight:
    filters = weight.filters_first()
    scaled = filters * gain.to(filters).reshape(-1, *[1] * (filters.ndim - 1))
    return replace(weight, parameter=weight.to_parameter_layout(scaled))


def _reject_computed_weights(model: nn.Module) -> None:
    computed = next((weight for weight in derived_weights(model) if not weight.is_shared), None)
    if computed is not None:
        raise InputError(
            f"the layer {computed.layer!r} computes its weight from others (weight_norm, pruning), which arrays cannot "
            "do in training; make it a plain weight (torch.nn.utils.parametrize.remove_parametrizations, prune.remove)."
        )


ARRAYS = "_computed_by_aimc_robust"


@contextmanager
def _computed_by(module: nn.Module, form: nn.Module) -> Iterator[None]:
    """Context manager in which `form` computes a module's forward pass; the module stays the same object."""
    kind = type(module)
    form.training = module.training  # the outer projection of attention has a mode of its own
    module.__dict__[ARRAYS] = form  # not registered: it is no part of the model's state
    module.__class__ = _class_in_arrays(kind, is_analog_layer(module), has_own_forward(module))  # type: ignore[arg-type]
    try:
        yield
    finally:
        module.__class__ = kind
        del module.__dict__[ARRAYS]


@functools.cache
def _class_in_arrays(kind: type[nn.Module], is_layer: bool, own_forward: bool) -> type[nn.Module]:
    """A subclass whose forward pass, or, where it has one of its own, whose product, is computed in arrays."""

    def weight(self: nn.Module) -> Tensor | None:
        arrays = self.__dict__[ARRAYS]
        if not arrays.forward_depth.is_running:
            return self._parameters["weight"]
        guard = ArrayGuard(arrays, layer_geometry(self)) if own_forward else arrays.guard
        return guard.mark(arrays._weight)

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return self.__dict__[ARRAYS].forward(*args, **kwargs)

    members: dict[str, property | Callable[..., Any]] = {}
    if is_layer:
        members["weight"] = property(weight)
    if is_layer and own_forward:
        members["bias"] = property(lambda self: self.__dict__[ARRAYS].bias)
    else:
        members["forward"] = forward
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "__doc__": kind.__doc__, **members})
