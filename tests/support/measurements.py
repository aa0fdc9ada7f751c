"""Measurements as a laboratory would take them, of cells whose card is known."""

import numpy as np
import pandas as pd
import torch

from aimc_robust.devices.cell_model_checks import read_std
from aimc_robust.devices.library import load_card
from aimc_robust.devices.states import cell_states


def measure(device, *, cells=2000, targets=0, times_s=(0.0,), reads=1, seed=0, window=None):
    """Rows of target, measured, time_s, device: `cells` cells read `reads` times (with read noise if more than once).

    targets: how many even target states; 0 for any state of the window.
    """
    card, rng = load_card(device), np.random.default_rng(seed)
    low, high = window or (card.range.min, card.range.max)
    target = rng.choice(np.linspace(low, high, targets), cells) if targets else rng.uniform(low, high, cells)
    drawn = {}

    def draw(effect, like):
        make = rng.uniform if effect in ("stuck", "programming-uniform") else rng.normal
        return drawn.setdefault(effect, torch.tensor(make(size=cells)))

    rows = []
    for time_s in times_s:
        states = cell_states(card, torch.tensor(target), draw, time_s=time_s)
        std = read_std(card, states, time_s=time_s).numpy()
        for _ in range(reads):
            noise = std * rng.normal(size=cells) if reads > 1 else 0.0
            state = np.maximum(states.now.numpy() + noise, 0.0)
            rows.append(pd.DataFrame({"target": target, "measured": state, "time_s": time_s, "device": range(cells)}))
    return pd.concat(rows, ignore_index=True)


def noisy(std, *, cells=1000, noise=None, seed=0, low=10.0, high=100.0):
    """Measurements with the error `std(target) * noise`, normal unless `noise(rng, cells)` says otherwise."""
    rng = np.random.default_rng(seed)
    target = rng.uniform(low, high, cells)
    z = rng.normal(size=cells) if noise is None else noise(rng, cells)
    return pd.DataFrame({"target": target, "measured": np.maximum(target + std(target) * z, 0.0)})


def programmed_repeatedly(share, *, devices=200, cycles=5, seed=0, fixed=False, reads=1, offset=0.0, unbalanced=False):
    """Rows of devices that are programmed `cycles` times, to random targets or (`fixed`) each always to its own."""
    rng = np.random.default_rng(seed)
    grid = np.linspace(20.0, 100.0, 9)
    rows = []
    own, error = rng.choice(grid, devices), rng.normal(size=devices)
    for cycle in range(cycles):
        target = own if fixed else rng.choice(grid, devices)
        z = np.sqrt(share) * error + np.sqrt(1.0 - share) * rng.normal(size=devices)
        state = target + (1.0 + 0.02 * target) * (z + offset * np.sin(target))
        kept = rng.random(devices) < 0.6 if unbalanced and cycle > 1 else np.ones(devices, dtype=bool)
        for _ in range(reads):
            measured = state + (1.5 * rng.normal(size=devices) if reads > 1 else 0.0)
            frame = {"target": target, "measured": measured, "device": np.arange(devices), "cycle": f"c{cycle}"}
            rows.append(pd.DataFrame(frame)[kept])
    return pd.concat(rows, ignore_index=True)
