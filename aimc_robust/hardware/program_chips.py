"""Program a model on one chip after another, in one memory."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.config.placement import Hardware
from aimc_robust.hardware.conversion.prepare import PROGRAMMED
from aimc_robust.hardware.program import program_prepared
from aimc_robust.hardware.programming.programmed_matrix import Chip
from aimc_robust.hardware.programming.weights_to_states import BLOCK
from aimc_robust.hardware.programming.written_weights import store_weight, weights_on_chips
from aimc_robust.noise.analog_weights import analog_weights
from aimc_robust.noise.perturbation import frozen_buffers
from aimc_robust.seeding import Axes

WITHOUT_OWN_STATE = ("torch.nn.", "aimc_robust.")  # modules of others may remember a chip
MAX_AT_ONCE = 32  # beyond which the overhead of a small model is gone


def chips_at_once(prepared: nn.Module, hardware: Hardware, deployment: Deployment) -> int:
    """Return how many chips are programmed at once: several of a small model of which only the weights change."""
    if hardware.computes_in_arrays or deployment.backend != "native" or "batchnorm" in deployment.compensation:
        return 1
    weights = sum(weight.parameter.numel() for weight in analog_weights(prepared).values())
    return min(max(BLOCK // max(weights, 1), 1), MAX_AT_ONCE)


def program_chips(
    prepared: nn.Module,
    hardware: Hardware,
    chips: Sequence[Axes],
    memory: dict[str, Tensor],
    *,
    time_s: float = 0.0,
    deployment: Deployment,
    layers: frozenset[str] | None = None,
) -> Iterator[nn.Module]:
    """Yield a model on each chip, as `program_prepared` makes it; it becomes invalid with the next one.

    Chips of a model that allows it (`chips_at_once`) are programmed at once. If all its modules are known to keep no
    state but parameters and buffers, the chips share one copy, in which these are restored: for a small model, copies
    and single operations take longer than the rest.

    Args:
        prepared: The model from `prepare`; not modified.
        hardware: The crossbar or the placement.
        chips: Axes of each chip.
        memory: See `copy_for_chip`.
        time_s: Seconds since programming.
        deployment: Converter ranges, backend and compensation.
        layers: Names of the arrays that are programmed; None: all.
    """
    if len(chips) == 1 or chips_at_once(prepared, hardware, deployment) == 1:
        for axes in chips:
            on_chip = copy_for_chip(prepared, memory)
            yield program_prepared(on_chip, hardware, axes, time_s=time_s, deployment=deployment, layers=layers)
        return
    compensates = "drift" in deployment.compensation
    first = Chip(axes=chips[0], time_s=time_s, drift_compensation=compensates, layers=layers)
    with torch.no_grad():
        written = weights_on_chips(prepared, hardware, [replace(first, axes=axes) for axes in chips])
    shares = all(type(module).__module__.startswith(WITHOUT_OWN_STATE) for module in prepared.modules())
    trained: list[Tensor] = list(prepared.parameters())
    for number in range(len(chips)):
        if number == 0 or not shares:
            model = copy_for_chip(prepared, memory)
            setattr(model, PROGRAMMED, True)
            weights, parameters = analog_weights(model), list[Tensor](model.parameters())
        with torch.no_grad():
            torch._foreach_copy_(parameters, trained)
            for name, on_chips in written.items():
                store_weight(weights[name], on_chips[number])
        with frozen_buffers(model):
            yield model


@torch.no_grad()
def copy_for_chip(prepared: nn.Module, memory: dict[str, Tensor]) -> nn.Module:
    """Copy a prepared model with parameters in `memory`, empty at first, so that chips need not allocate their own.

    A copy becomes invalid when the next one is made in the same memory.
    """
    parameters: dict[int, nn.Parameter] = {}
    for name, parameter in prepared.named_parameters():
        memory[name] = memory[name].copy_(parameter) if name in memory else parameter.detach().clone()
        parameters[id(parameter)] = type(parameter)(memory[name], parameter.requires_grad)
    return copy.deepcopy(prepared, parameters)
