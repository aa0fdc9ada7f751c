"""Program a model onto simulated crossbars."""

from collections import Counter

import torch
from torch import nn

from aimc_robust.devices.limits import check_states, check_time
from aimc_robust.errors import InputError, require_known
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.conversion.prepare import PROGRAMMED, prepare
from aimc_robust.hardware.conversion.replace_layers import install_arrays
from aimc_robust.hardware.programming.programmed_matrix import Chip, write_weights
from aimc_robust.noise.analog_weights import analog_weights
from aimc_robust.seeding import Axes

BACKENDS = ("native", "crosssim")


def chip_axes(seed: int, chip: int) -> Axes:
    """The axes that name a chip: every weight's error derives from them and its layer's name."""
    return Axes(seed).at(chip=chip)


def program(
    model: nn.Module,
    crossbar: Crossbar,
    *,
    seed: int = 0,
    chip: int = 0,
    time_s: float = 0.0,
    backend: str = "native",
    strict: bool = False,
    drift_compensation: bool = False,
) -> nn.Module:
    """`model` as it stands on chip number `chip`, `time_s` seconds after programming: a new module, in evaluation form.

    Weights of linear layers, convolutions (any groups; transposed too), attention projections and recurrent layers
    are programmed; the rest stays digital (`ar.coverage(model)` names it). `model` is untouched. With converters or
    read noise its layers compute in arrays; otherwise the errors of the weights are all, and the copy runs at plain
    torch speed. The same seed and chip give the same devices, whatever the time, the batch size, the order of layers
    or the process; read noise is fresh at every multiply and starts anew with each call of `program`.

    time_s: since programming [s]; the chip's drift and widening errors up to then.
    backend: `native`, or `crosssim`, which runs CrossSim's cores with the same parameters and its own random numbers.
    strict: raise InputError when weights that a crossbar could hold stay digital.
    drift_compensation: correct each layer's output by one factor, see `Chip`.
    """
    prepared, covered = prepare(model)
    if strict:
        covered.require_all_analog()
    chip_now = Chip(axes=chip_axes(seed, chip), time_s=time_s, drift_compensation=drift_compensation)
    check_program(prepared, crossbar, time_s, backend=backend, stacklevel=3)
    return program_prepared(prepared, crossbar, chip_now, backend=backend)


def check_program(
    prepared: nn.Module, crossbar: Crossbar, time_s: float, *, backend: str = "native", stacklevel: int = 2
) -> None:
    """Refuse what cannot be programmed, and warn of what leaves the card's limits."""
    require_known("backend", backend, BACKENDS)
    check_time(crossbar.card, time_s, on_out_of_range=crossbar.on_out_of_range, stacklevel=stacklevel + 1)
    if time_s > 0:
        check_states(
            crossbar.card,
            crossbar.programming_window,
            time_s=time_s,
            on_out_of_range=crossbar.on_out_of_range,
            stacklevel=stacklevel + 1,
        )
    if backend == "native" and crossbar.crosssim is not None:
        raise InputError("the crossbar's `crosssim` parameters act in CrossSim alone; use backend='crosssim'.")
    if backend == "crosssim" and not (crossbar.programming and crossbar.drift):
        raise InputError("programming=False and drift=False are not part of the crosssim backend; use 'native'.")
    if crossbar.bias_rows:
        _refuse_shared_with_biases(prepared)


def _refuse_shared_with_biases(prepared: nn.Module) -> None:
    uses = analog_weights(prepared, include_shared=True).values()
    shared = Counter(id(use.parameter) for use in uses)
    for use in uses:
        if shared[id(use.parameter)] > 1 and use.bias is not None:
            raise InputError(
                f"the layer {use.layer!r} shares its weight with another and has a bias of its own, which cannot be "
                "rows of the same arrays; use bias_rows=0."
            )


@torch.no_grad()
def program_prepared(prepared: nn.Module, crossbar: Crossbar, chip: Chip, *, backend: str = "native") -> nn.Module:
    """Program what `prepare` made and `check_program` let pass, in place; returns it, or its array form."""
    if backend == "crosssim":
        if chip.drift_compensation:
            raise InputError("drift compensation is not part of the crosssim backend; use backend='native'.")
        if chip.layers is not None:
            raise InputError("single layers are programmed by the native backend alone; use backend='native'.")
        from aimc_robust.hardware.crosssim.backend import program_on_crosssim  # an extra: imported when it is asked for

        programmed = program_on_crosssim(prepared, crossbar, chip.axes, chip.time_s)
    elif crossbar.computes_in_arrays:
        programmed = install_arrays(prepared, crossbar, chip)
    else:
        programmed = prepared
        for weight in analog_weights(prepared).values():
            if chip.holds(weight):
                write_weights(crossbar, weight, chip)
    setattr(programmed, PROGRAMMED, True)
    return programmed
