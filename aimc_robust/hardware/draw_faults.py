"""Draw the stuck devices of a chip as a fault map."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError, require_type
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.fault_map import FaultMap
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.program import chip_axes
from aimc_robust.hardware.programming.programmed_matrix import Chip, with_bias_rows
from aimc_robust.noise.analog_weights import analog_weights


@torch.no_grad()
def draw_faults(
    model: nn.Module,
    crossbar: Crossbar,
    *,
    chip: int = 0,
    chip_seed: int = 0,
    fold: bool = True,
    example: Any = None,
) -> FaultMap:
    """Return the stuck devices of a chip: those that `program` draws for the fractions `stuck` of the crossbar.

    Args:
        model: The model; not modified. Its weights do not matter.
        crossbar: The crossbar, with fractions of stuck cells, its own or those of its card.
        chip: Number of the chip.
        chip_seed: Root seed of all chips.
        fold: Whether BatchNorms are folded, which gives layers a bias and so bias rows; see `Deployment`.
        example: Input of the model, to fold BatchNorms of one that cannot be traced.

    Raises:
        InputError: if an argument is invalid, or the crossbar has no fractions of stuck cells.

    Example:
        >>> faults = draw_faults(model, crossbar.replace(stuck=(0.05, 0.01)), chip=3)  # doctest: +SKIP
        >>> method = SAM(rho=0.05, faults=crossbar.replace(stuck=faults))  # doctest: +SKIP
    """
    require_type("crossbar", crossbar, Crossbar, example="a Crossbar such as Crossbar('rram-wan2022')")
    low, high = crossbar.device.stuck_fractions
    if low + high == 0:
        raise InputError(
            "the crossbar has no fractions of stuck cells to draw from; give some: crossbar.replace(stuck=(0.05, 0))."
        )
    prepared, _ = prepare(model, None if example is None else lambda: example, fold=fold)
    on_chip = Chip(axes=chip_axes(chip_seed, chip))
    least, most = crossbar.device.programming_window
    layers: dict[str, Tensor] = {}
    for weight in analog_weights(prepared).values():
        matrix, draws = with_bias_rows(crossbar, weight), on_chip.draws(weight)
        like = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
        states = []
        for device in range(len(crossbar.weights.mapping.signs)):
            u = draws(device)("stuck", like)
            stuck = torch.full_like(like, torch.nan).masked_fill_(u >= 1.0 - high, most) if high else u * torch.nan
            states.append(stuck.masked_fill_(u < low, least))
        layers[weight.array_owner] = torch.stack(states)
    return FaultMap(layers, unit=crossbar.device.cell.unit)
