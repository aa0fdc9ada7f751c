"""Program a model onto simulated crossbars."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from torch import nn

from aimc_robust.errors import InputError, require_type, require_whole
from aimc_robust.hardware.calibration.batchnorm_recalibration import recalibrate_batchnorm
from aimc_robust.hardware.calibration.converter_ranges import check_ranges
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.config.placement import Hardware, Layers, check_time_of, place, require_hardware
from aimc_robust.hardware.config.ranges import LayerRanges
from aimc_robust.hardware.conversion.prepare import PROGRAMMED, prepare
from aimc_robust.hardware.conversion.replace_layers import install_arrays
from aimc_robust.hardware.programming.known_states import check_fault_maps
from aimc_robust.hardware.programming.measured_states import States, with_states
from aimc_robust.hardware.programming.programmed_matrix import Chip
from aimc_robust.hardware.programming.written_weights import write_weights
from aimc_robust.noise.analog_weights import analog_weights
from aimc_robust.seeding import Axes


def chip_axes(chip_seed: int, chip: int) -> Axes:
    """Return the seeding axes of a chip: the error of every weight derives from them and its layer's name."""
    require_whole("chip_seed", chip_seed, low=0)
    require_whole("chip", chip, low=0)
    return Axes(chip_seed).at(chip=chip)


def program(
    model: nn.Module,
    crossbar: Hardware,
    *,
    layers: Layers | None = None,
    chip: int = 0,
    chip_seed: int = 0,
    time_s: float = 0.0,
    cycle: int = 0,
    states: States | str | Path | None = None,
    deployment: Deployment | None = None,
    strict: bool | None = None,
    example: Any = None,
) -> nn.Module:
    """Return `model` as it is on one chip, `time_s` seconds after programming, as a new module in evaluation mode.

    Weights of linear layers, convolutions (any groups; transposed too), attention projections and recurrent layers
    are programmed; everything else stays digital (`ar.coverage(model)` lists it). With converters or read noise the
    layers compute in arrays; without, only the weights change, and the copy runs at the speed of plain torch. The same
    chip_seed and chip give the same devices, whatever the time, the batch size, the order of layers or the process;
    read noise differs at every multiply and starts anew with each call of `program`.

    Args:
        model: The trained model; not modified.
        crossbar: The crossbar, or a `Placement` on several.
        layers: Layers that are not on it: pattern over names -> "digital" or another crossbar, see `Placement`.
        chip: Number of the chip.
        chip_seed: Root seed of all chips.
        time_s: Seconds since programming; the chip drifts until then.
        cycle: Number of the programming of this chip: 0, 1, ... Errors are drawn anew but for stuck cells and the share
            of the programming error that stays with a device (`programming.device_share` of its card).
        states: Measured states of a real chip's devices, which are used as they are: layer -> array (devices, outputs,
            inputs and bias rows) [unit of the card], as in a `FaultMap`, for every layer; a `DeviceStates`; or the path
            of an .npz or .safetensors file of them. Nothing is drawn but read noise, and the chip does not drift. What
            a `DeviceStates` or a file records with the states must be that of the model and the crossbar. Read noise is
            that of the time that it records, of time 0 if none is recorded.
        deployment: Converter ranges, backend, compensation and BatchNorm folding; None: the defaults of `Deployment`.
        strict: True raises InputError if weights stay digital that a crossbar could hold if their layer were of a
            supported type; None warns, False accepts it.
        example: Input of the model. If given, BatchNorms of a model that cannot be traced are folded, and only
            parameters that are multiplied with count for `strict`.

    Returns:
        The programmed model.

    Raises:
        InputError: if an argument is invalid, or a layer is not supported.
        MissingDependencyError: if the backend `crosssim` is not installed.

    Examples:
        >>> import torch
        >>> on_chip = program(torch.nn.Linear(4, 2), Crossbar("rram-wan2022"), chip=3, time_s=0.0)
        >>> on_chip(torch.ones(1, 4)).shape
        torch.Size([1, 2])
    """
    hardware = calibrated = place(crossbar, layers)
    get_example = None if example is None else lambda: example
    prepared, _ = prepare(model, get_example, hardware=hardware, fold=folds(deployment), strict=strict)
    if states is not None:
        compensates = deployment is not None and "drift" in deployment.compensation
        hardware, time_s = with_states(
            prepared, hardware, states, time_s=time_s, cycle=cycle, compensates_drift=compensates
        )
    check_program(prepared, hardware, time_s, deployment=deployment, calibrated=calibrated)
    require_whole("cycle", cycle, low=0)
    axes = chip_axes(chip_seed, chip)
    return program_prepared(prepared, hardware, axes, time_s=time_s, deployment=deployment, cycle=cycle)


def folds(deployment: Deployment | None) -> bool:
    """Return whether a deployment folds BatchNorms; raise InputError if it is none."""
    require_type("deployment", deployment, (Deployment, NoneType), example="a Deployment or None")
    return deployment is None or deployment.fold


def check_program(
    prepared: nn.Module,
    hardware: Hardware,
    time_s: float,
    *,
    deployment: Deployment | None = None,
    calibrated: Hardware | None = None,
) -> None:
    """Check whether a prepared model can be programmed, and warn if the limits of the device are exceeded.

    `calibrated`: hardware that converter ranges must belong to, where measured states replace its errors; None: this.

    Raises:
        InputError: if an argument is invalid, arguments contradict each other, or a limit is exceeded and the crossbar
            refuses that (`on_out_of_range`).
    """
    require_hardware(hardware)
    hardware.check_model(prepared)
    deployment = deployment or Deployment()
    deployment.check_data()
    check_time_of(hardware, time_s)
    for crossbar in hardware.crossbars:
        if deployment.backend == "native" and crossbar.crosssim is not None:
            raise InputError("the crossbar's `crosssim` parameters act in CrossSim alone; use backend='crosssim'.")
        if deployment.backend == "crosssim" and not (crossbar.device.programming and crossbar.device.drift):
            raise InputError("programming=False and drift=False are not part of the crosssim backend; use 'native'.")
    if deployment.backend == "crosssim" and "drift" in deployment.compensation:
        raise InputError("drift compensation is not part of the crosssim backend; use backend='native'.")
    if deployment.ranges is not None:
        check_ranges(deployment.ranges, prepared, calibrated or hardware, fold=deployment.fold)
    reject_shared_weights_with_biases(prepared, hardware)
    check_fault_maps(prepared, hardware)


def reject_shared_weights_with_biases(prepared: nn.Module, hardware: Hardware) -> None:
    """Raise InputError if a layer with its bias in rows shares its weight, since bias rows belong to one layer."""
    if not any(crossbar.arrays.bias_rows for crossbar in hardware.crossbars):
        return
    uses = analog_weights(prepared, include_shared=True).values()
    count = Counter(id(use.parameter) for use in uses)
    for use in uses:
        crossbar = hardware.crossbar_of(use.layer)
        has_rows = crossbar is not None and crossbar.arrays.bias_rows > 0
        if count[id(use.parameter)] > 1 and use.bias is not None and has_rows:
            raise InputError(
                f"the layer {use.layer!r} shares its weight with another layer and has its own bias, which cannot be "
                "stored in rows of the same arrays; use bias_rows=0."
            )


@torch.no_grad()
def program_prepared(
    prepared: nn.Module,
    hardware: Hardware,
    axes: Axes,
    *,
    time_s: float = 0.0,
    deployment: Deployment | None = None,
    layers: frozenset[str] | None = None,
    cycle: int = 0,
) -> nn.Module:
    """Program a model from `prepare`, accepted by `check_program`, in place; return it, or the layer that replaces it.

    `axes` are those of the chip, see `chip_axes`. `layers` names the arrays that are programmed, on the native backend
    only; the others compute exactly. None: all.
    """
    deployment = deployment or Deployment()
    if deployment.backend == "crosssim":
        if layers is not None or cycle:
            raise InputError("only the native backend can program single layers or a chip again; use backend='native'.")
        # An optional dependency, imported only if used.
        from aimc_robust.hardware.crosssim.backend import program_on_crosssim

        programmed = program_on_crosssim(prepared, hardware, axes, time_s, deployment.ranges)
    else:
        compensates = "drift" in deployment.compensation
        chip = Chip(axes=axes, time_s=time_s, cycle=cycle, drift_compensation=compensates, layers=layers)
        programmed = program_natively(prepared, hardware, chip, deployment.ranges)
    setattr(programmed, PROGRAMMED, True)
    if "batchnorm" in deployment.compensation:
        recalibrate_batchnorm(programmed, deployment.data)
    return programmed


@torch.no_grad()
def program_natively(
    prepared: nn.Module, hardware: Hardware, chip: Chip, ranges: Mapping[str, LayerRanges] | None = None
) -> nn.Module:
    """Program a prepared and checked model on the native backend, in place; see `program_prepared`."""
    write_weights(prepared, hardware, chip)
    if not hardware.computes_in_arrays:
        return prepared
    return install_arrays(prepared, hardware, chip, ranges, only=lambda crossbar: crossbar.computes_in_arrays)
