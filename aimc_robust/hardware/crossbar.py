"""A crossbar: one device card and how weights are laid on it. Programming it is a weight noise."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import torch
from torch import Tensor

from aimc_robust.devices.card import Card
from aimc_robust.devices.library import load_card
from aimc_robust.devices.statistics import programming_std
from aimc_robust.errors import InputError, require_finite, require_whole
from aimc_robust.hardware.mapping import MAPPINGS, check_mapping, weight_limit
from aimc_robust.noise.protocol import WeightNoise, standard_normal


@dataclass(frozen=True)
class Crossbar(WeightNoise):
    """A memory array and its mapping.

    device: a card, the name of one, or the path of your own TOML.
    window: (min, max) state used for programming, in the card's unit; None takes the card's own.
    mapping: `one-sided` or `two-sided` differential pairs, or `offset`.
    cell_bits: levels per device as a power of 2, after which states are rounded; 0 for continuous states.
    weight_percentile: quantile of the weights mapped to the end of the window; 1.0 is max|W|, nothing is clipped.
    Raises InputError or UnknownNameError for a value that cannot be; warns when a window leaves the card's limits.
    """

    device: Card | str | Path
    _: KW_ONLY
    window: tuple[float, float] | None = None
    mapping: str = "one-sided"
    cell_bits: int = 0
    weight_percentile: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", load_card(self.device))
        check_mapping(self.mapping)
        require_whole("cell_bits (0: continuous)", self.cell_bits, low=0, high=16)
        if self.mapping == "offset" and self.cell_bits == 1:
            raise InputError("an offset mapping needs at least 2 cell bits: 1 bit leaves no level for zero.")
        require_finite("weight_percentile", self.weight_percentile, low=0.5, high=1.0)
        self._check_window()

    def _check_window(self) -> None:
        try:
            low, high = self.programming_window
            valid = 0 <= low < high < float("inf")
        except (TypeError, ValueError):
            valid = False
        if not valid:
            raise InputError(f"window must be (min, max) with 0 <= min < max in {self.card.unit}, got {self.window!r}.")
        least, most = self.card.range.limits
        if low < least or high > most:
            warnings.warn(
                f"{self.card.name}: the window {low:g} to {high:g} {self.card.unit} leaves the limits "
                f"{least:g} to {most:g} within which the card's fit holds.",
                stacklevel=4,
            )

    @property
    def programming_window(self) -> tuple[float, float]:
        """(min, max) target state [card.unit]: `window`, or the card's own."""
        return (self.card.range.min, self.card.range.max) if self.window is None else self.window

    @property
    def card(self) -> Card:
        """The device's card."""
        return self.device

    def perturb(self, name: str, weight: Tensor, generator: torch.Generator) -> Tensor:
        """`weight` as read back after programming: one error per device, drawn device array by device array."""
        return program_weights(self, weight, lambda states: standard_normal(states, generator))


def program_weights(crossbar: Crossbar, weight: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
    """Weights -> states -> programmed states -> weights.

    Order: clip to the weight limit, map, round to levels, add sigma(state) * N(0, 1), clip, read back.
    weight: any shape. draw: standard normals of a tensor's shape, called once per device of the mapping in the
    order plus, minus. Returns the programmed weights in weight's shape and dtype (half precision is computed in
    float32). Source: CrossSim 3.2; one scale per layer matrix.
    """
    if not torch.isfinite(weight).all():
        raise InputError("weights to be programmed must be finite; this layer holds NaN or infinity.")
    mapping, card, bits = MAPPINGS[crossbar.mapping], crossbar.card, crossbar.cell_bits
    low, high = crossbar.programming_window
    exact = weight.to(torch.promote_types(weight.dtype, torch.float32))
    limit = weight_limit(exact, crossbar.weight_percentile)
    if limit == 0 and exact.any():
        raise InputError(
            f"weight_percentile {crossbar.weight_percentile:g} of this layer is 0, since most of its weights are; all "
            "of them would be lost. Raise it."
        )
    u = (exact / limit.clamp(min=torch.finfo(exact.dtype).tiny)).clamp_(-1.0, 1.0)
    states = tuple(
        _programmed(card, g.mul_(high), draw, (low, high)).div_(high) for g in mapping.to_states(u, low / high, bits)
    )
    return mapping.to_weights(states, low / high, bits).mul_(limit).to(weight.dtype)


def _programmed(card: Card, state: Tensor, draw: Callable[[Tensor], Tensor], window: tuple[float, float]) -> Tensor:
    """Target states [card.unit] -> programmed states [card.unit]."""
    noisy = programming_std(card, state).mul_(draw(state)).add_(state)
    return noisy.clamp_(min=0.0) if card.programming.clip == "nonnegative" else noisy.clamp_(*window)
