"""Cells of known target states, simulated as every user's network is: weights programmed onto a crossbar."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from aimc_robust.devices.card import Card
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.program import program

READS = 8  # of each cell at each time


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """Cells of several chips, states in [card.unit], without stuck cells.

    targets: (targets,). times_s: (times,), the first 0. states: (times, chips, cells, targets). reads: (times, chips,
    reads, cells, targets), or None for a card without read noise. with_stuck: as `states` at time 0, with the card's
    stuck cells; None for a card without.
    """

    targets: np.ndarray
    times_s: tuple[float, ...]
    states: np.ndarray
    reads: np.ndarray | None
    with_stuck: np.ndarray | None


def simulate(card: Card, *, targets: int, cells: int, chips: int, times_s: Sequence[float], seed: int) -> Simulated:
    """Program a linear layer of `cells` outputs and `targets` inputs on `chips` chips, in float64.

    The weights of input j stand for target j of an even grid over the window, both ends included, so that the weight
    at the end of the window is 1. With the offset mapping each weight is one device, and the state is a linear
    function of the weight that is read back: by itself for the states, by inputs of 1 at one place for the reads.
    """
    window = (card.range.min, card.range.max)
    weights = np.linspace(-1.0, 1.0, targets)
    model = nn.utils.skip_init(nn.Linear, targets, cells, bias=False, dtype=torch.float64)  # draws nothing
    model.weight.data.copy_(torch.from_numpy(weights).expand(cells, targets))
    inputs = torch.eye(targets, dtype=torch.float64).repeat(READS, 1)

    def states_of(weight: np.ndarray) -> np.ndarray:
        return window[0] + (weight + 1.0) / 2.0 * (window[1] - window[0])

    def programmed(chip: int, time_s: float, **fields: object) -> nn.Module:
        crossbar = Crossbar(card, mapping="offset", **fields)
        return program(model, crossbar, seed=seed, chip=chip, time_s=time_s)

    def states(chip: int, time_s: float, **fields: object) -> np.ndarray:
        return states_of(programmed(chip, time_s, read_noise=False, **fields).weight.detach().numpy())

    def reads(chip: int, time_s: float) -> np.ndarray:
        read = programmed(chip, time_s, stuck=(0.0, 0.0))(inputs).detach().numpy().reshape(READS, targets, cells)
        return states_of(read.transpose(0, 2, 1))

    each = range(chips)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of times beyond the card's limits: the law is what is verified
        return Simulated(
            targets=states_of(weights),
            times_s=tuple(times_s),
            states=np.array([[states(chip, t, stuck=(0.0, 0.0)) for chip in each] for t in times_s]),
            reads=None if card.read is None else np.array([[reads(chip, t) for chip in each] for t in times_s]),
            with_stuck=None if card.stuck is None else np.array([states(chip, 0.0) for chip in each]),
        )
