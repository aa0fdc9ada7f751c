"""Draw the stuck devices of a chip as a fault map."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError
from aimc_robust.hardware.config.fault_map import FaultMap
from aimc_robust.hardware.config.placement import Hardware, Layers, place, stored_weights
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.program import chip_axes
from aimc_robust.hardware.programming.programmed_matrix import Chip, with_bias_rows


@torch.no_grad()
def draw_faults(
    model: nn.Module,
    crossbar: Hardware,
    *,
    layers: Layers | None = None,
    chip: int = 0,
    chip_seed: int = 0,
    fold: bool = True,
    example: Any = None,
) -> FaultMap:
    """Return the stuck devices of a chip: those that `program` draws for the fractions `stuck` of the crossbar.

    Args:
        model: The model; not modified. Its weights do not matter.
        crossbar: The crossbar, with fractions of stuck cells, its own or those of its card; or a `Placement`.
        layers: Layers that are not on it, see `program`.
        chip: Number of the chip.
        chip_seed: Root seed of all chips.
        fold: Whether BatchNorms are folded, which gives layers a bias and so bias rows; see `Deployment`.
        example: Input of the model, to fold BatchNorms of one that cannot be traced.

    Raises:
        InputError: if an argument is invalid, or the crossbar has no fractions of stuck cells.

    Examples:
        >>> faults = draw_faults(model, crossbar.replace(stuck=(0.05, 0.01)), chip=3)  # doctest: +SKIP
        >>> method = SAM(rho=0.05, faults=crossbar.replace(stuck=faults))  # doctest: +SKIP
    """
    hardware = place(crossbar, layers)
    if not any(sum(each.device.stuck_fractions) for each in hardware.crossbars):
        raise InputError(
            "the crossbar has no fractions of stuck cells to draw from; give some: crossbar.replace(stuck=(0.05, 0))."
        )
    prepared, _ = prepare(model, None if example is None else lambda: example, hardware=hardware, fold=fold)
    hardware.check_model(prepared)
    on_chip = Chip(axes=chip_axes(chip_seed, chip))
    drawn: dict[str, Tensor] = {}
    for weight in stored_weights(prepared, hardware).values():
        own = hardware.crossbar_of(weight.layer)
        assert own is not None
        (low, high), (least, most) = own.device.stuck_fractions, own.device.programming_window
        matrix, draws = with_bias_rows(own, weight), on_chip.draws(weight)
        like = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
        states = []
        for device in range(len(own.weights.mapping.signs)):
            u = draws(device)("stuck", like)
            stuck = torch.full_like(like, torch.nan).masked_fill_(u >= 1.0 - high, most) if high else u * torch.nan
            states.append(stuck.masked_fill_(u < low, least))
        drawn[weight.array_owner] = torch.stack(states)
    units = {each.device.cell.unit for each in hardware.crossbars}
    return FaultMap(drawn, unit=units.pop() if len(units) == 1 else "")
