"""Try a user's weight mapping on a few weights, before a model depends on it."""

import math

import torch

from aimc_robust.errors import InputError
from aimc_robust.hardware.config.mapping import WeightMapping
from aimc_robust.hardware.config.standard_mappings import MAPPINGS

STANDARD = tuple(type(mapping) for mapping in MAPPINGS.values())
ROUNDING = 1e-9  # by which a state may leave the window


def check_mapping(mapping: WeightMapping, g_min: float, cell_bits: int) -> None:
    """Check that a mapping's states and factors are what `WeightMapping` promises; standard mappings are not tried.

    Args:
        mapping: The mapping.
        g_min: Smallest normalized state.
        cell_bits: Bits per device; 0: continuous.

    Raises:
        InputError: if the mapping modifies its weights; if states are too few or too many, of another shape, not
            finite or outside [g_min, 1]; or if signs or factors do not fit the number of banks.
    """
    if type(mapping) in STANDARD:
        return
    name, signs, banks = type(mapping).__name__, mapping.signs, mapping.banks
    if banks < 1 or not signs or len(signs) % banks or any(abs(sign) != 1.0 for sign in signs):
        raise InputError(f"{name}.signs must be +1 or -1 for each device of {banks} equal banks, got {signs!r}.")
    weights = torch.linspace(-1.0, 1.0, 258, dtype=torch.float64).reshape(2, 129)
    u = weights.clone()
    states = list(mapping.to_states(u, g_min, cell_bits))
    if not torch.equal(u, weights):
        raise InputError(f"{name}.to_states must not modify its weights; work on a copy.")
    if len(states) != len(signs):
        raise InputError(f"{name}.to_states must yield {len(signs)} states, one for each sign; got {len(states)}.")
    for g in states:
        if not isinstance(g, torch.Tensor) or g.shape != u.shape:
            got = tuple(g.shape) if isinstance(g, torch.Tensor) else type(g).__name__
            raise InputError(f"{name}.to_states must yield tensors of the weights' shape {tuple(u.shape)}, got {got}.")
        if not ((g >= g_min - ROUNDING) & (g <= 1.0 + ROUNDING)).all():
            raise InputError(
                f"{name}.to_states must yield states from {g_min:g} to 1, got {float(g.min()):g} to {float(g.max()):g}."
            )
    factors, offset = mapping.factors(g_min, cell_bits)
    if len(factors) != banks or not all(map(math.isfinite, (*factors, offset))):
        raise InputError(
            f"{name}.factors must return a finite factor for each of {banks} banks and a finite offset, "
            f"got {factors!r} and {offset!r}."
        )
