"""Weights of layers whose crossbar has errors of weights only, as several chips represent them, programmed at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.placement import Hardware
from aimc_robust.hardware.layers.own_forward import check_products, has_own_forward
from aimc_robust.hardware.programming.programmed_matrix import (
    Chip,
    check_states,
    compensation,
    read_back_on_chips,
    with_bias_rows,
    zero_weight,
)
from aimc_robust.hardware.programming.weights_to_states import BLOCK
from aimc_robust.noise.analog_weights import AnalogWeight, analog_weights, is_analog_layer
from aimc_robust.parallel.process_pool import thread_map


def write_weights(prepared: nn.Module, hardware: Hardware, chip: Chip) -> None:
    """Replace weights, and biases stored in rows, by those that a chip represents, in place."""
    _program(prepared, hardware, [chip], lambda name, weight, chips: store_weight(weight, chips[0]))


def weights_on_chips(prepared: nn.Module, hardware: Hardware, chips: Sequence[Chip]) -> dict[str, Tensor]:
    """Return the weights that chips represent, (chips, outputs, inputs and bias rows) by parameter, for `store_weight`.

    The chips differ in their axes alone.
    """
    found: dict[str, Tensor] = {}
    _program(prepared, hardware, chips, lambda name, weight, on_chips: found.update({name: on_chips}))
    return found


def _program(
    prepared: nn.Module,
    hardware: Hardware,
    chips: Sequence[Chip],
    use: Callable[[str, AnalogWeight, Tensor], None],
) -> None:
    """Program the layers whose crossbar has errors of weights only, and call `use(parameter, weight, on_chips)`."""
    held: dict[str, tuple[Crossbar, AnalogWeight]] = {}
    for name, weight in analog_weights(prepared).items():
        crossbar = hardware.crossbar_of(weight.layer)
        if crossbar is not None and not crossbar.computes_in_arrays and chips[0].holds(weight):
            held[name] = crossbar, weight

    @torch.no_grad()  # torch's modes belong to a thread
    def program(name: str) -> None:
        crossbar, weight = held[name]
        with crossbar.naming_layer(weight.layer):
            use(name, weight, _on_chips(crossbar, weight, chips))

    # A user's cell model need not be safe in threads; on a GPU, threads would use other streams.
    on_cpu = all(weight.parameter.is_cpu for _, weight in held.values())
    is_large = sum(weight.parameter.numel() for _, weight in held.values()) > BLOCK
    checked = any(crossbar.device.cell.checks_results for crossbar in hardware.crossbars)
    in_threads = on_cpu and is_large and not checked
    by_size = sorted(held, key=lambda name: -held[name][1].parameter.numel())  # so that threads end together
    thread_map(program, by_size, threads=torch.get_num_threads() if in_threads else 1)


def _on_chips(crossbar: Crossbar, weight: AnalogWeight, chips: Sequence[Chip]) -> Tensor:
    matrix, chip = with_bias_rows(crossbar, weight), chips[0]
    now = read_back_on_chips(crossbar, weight, matrix, chips, time_s=chip.time_s)
    if chip.compensates:
        zero = zero_weight(crossbar, crossbar.weights.weight_limit(matrix.to(now.dtype)))
        fresh = read_back_on_chips(crossbar, weight, matrix, chips)
        for drifted, at_first in zip(now.sub_(zero), fresh, strict=True):
            drifted.mul_(compensation(at_first, drifted, zero)).add_(zero)
    check_states(crossbar, weight, chip, now)
    return now


def store_weight(weight: AnalogWeight, on_chip: Tensor) -> None:
    """Replace a weight, and a bias stored in rows, by those of one chip (outputs, inputs and bias rows), in place."""
    shape = weight.filters_first().shape
    inputs = shape[1:].numel()
    if weight.bias is not None and on_chip.shape[1] > inputs:
        weight.bias.copy_(on_chip[:, inputs:].sum(dim=1))
    weight.parameter.copy_(weight.to_parameter_layout(on_chip[:, :inputs].reshape(shape)))
    if is_analog_layer(weight.module) and has_own_forward(weight.module):
        check_products(weight.module, weight.layer)
