"""Programming, drift and 1/f noise of PCM, HERMES and CMO/HfOx against recorded statistics of aihwkit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from aimc_robust.devices.cell_model_checks import programming_std, read_std
from aimc_robust.devices.cells import CellStates
from aimc_robust.devices.library import load_card
from aimc_robust.devices.states import cell_states

DATA = Path(__file__).parents[1] / "golden"
RECORD = json.loads((DATA / "aihwkit.json").read_text())
ARRAYS = np.load(DATA / "aihwkit.npz")
CARDS = {
    "pcm": "pcm-nandakumar2019",
    "pcm20": "pcm-nandakumar2019-gmax20",
    "hermes1": "pcm-hermes2023-1dev",
    "hermes2": "pcm-hermes2023-2dev",
    "cmo": "reram-cmo-falcone2025",
}
CASES = {case["id"]: case for case in RECORD["cases"]}


def model_of(name):
    return name.partition("-")[0]


def drawn(case, card, seed):
    """(repeats, devices) states [uS], each repeat a new chip read once; aihwkit clips after the read."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.from_numpy(ARRAYS[f"{model_of(case['id'])}_target"]).double().flatten()
    target = target.expand(case["repeats"], -1).clone()

    def draw(effect, like):
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)

    if case["time_s"] is None:
        return target, cell_states(card, target, draw).programmed
    states: CellStates = cell_states(card, target, draw, time_s=case["time_s"])
    read = states.now + read_std(card, states, time_s=case["time_s"]) * draw("read", target)
    high = case["g_max_us"] if case["id"].startswith("cmo") else float("inf")
    return target, read.clamp(case["g_min_us"], high)


def disagreement(case, card, seed=20):
    """(largest difference of bin means in combined standard errors, largest relative difference of the std)."""
    target, states = drawn(case, card, seed)
    model, name = model_of(case["id"]), case["id"]
    edges = ARRAYS[f"{model}_edges"]
    bins = np.clip(np.digitize(target[0].numpy(), edges) - 1, 0, len(edges) - 2)
    assert np.array_equal(np.bincount(bins), ARRAYS[f"{model}_bin_devices"])
    means, errors, stds = [], [], []
    for number in range(len(edges) - 1):
        cells = states[:, torch.from_numpy(bins == number)]
        variance = cells.var(0).mean()
        means.append(float(cells.mean()))
        stds.append(float(variance.sqrt()))
        errors.append(float((variance / cells.numel()).sqrt()))
    error = np.hypot(errors, ARRAYS[f"{name}_bin_mean_standard_error_uS"])
    std = ARRAYS[f"{name}_bin_std_uS"]
    return (
        np.abs((means - ARRAYS[f"{name}_bin_mean_uS"]) / error).max(),
        np.abs(np.array(stds) / std - 1).max(),
    )


@pytest.mark.parametrize("name", CASES)
def test_bin_means_and_standard_deviations_agree(name):
    of_mean, of_std = disagreement(CASES[name], load_card(CARDS[model_of(name)]))
    assert of_mean < RECORD["standard_errors"]
    assert of_std < RECORD["std_relative"]


WITHOUT_POLYNOMIAL = load_card("pcm-hermes2023-2dev").drift.exponent_mean.model_copy(update={"polynomial_from": None})
CONTROLS = {
    "no drift": ("pcm-drift-3600s", {"drift": None}),
    "no read noise": ("pcm-drift-86400s", {"read": None}),
    "no 1/f noise of CMO": ("cmo-drift-86400s", {"read": None}),
    "time counted from the pulse": ("pcm-drift-25s", {"drift.t0_s": 25.0}),
    "the error in uS whatever the window": (
        "pcm20-programming",
        {"programming.coefficients": (0.26348, 1.965, -1.1731)},
    ),
    "a polynomial of HERMES": ("hermes2-drift-3600s", {"drift.exponent_mean": WITHOUT_POLYNOMIAL}),
    "the read noise of one device": ("hermes2-drift-3600s", {"read": load_card("pcm-hermes2023-1dev").read}),
    "wrong acceptance": ("cmo-programming", {"programming.coefficients": (0.0112185391, 0.01129027418)}),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_a_card_with_something_else_in_it_does_not_agree(control):
    name, changes = CONTROLS[control]
    card = load_card(CARDS[model_of(name)])
    for key, value in changes.items():
        table, _, field = key.partition(".")
        new = getattr(card, table).model_copy(update={field: value}) if field else value
        card = card.model_copy(update={table: new})
    of_mean, of_std = disagreement(CASES[name], card)
    assert of_mean > RECORD["standard_errors"] or of_std > RECORD["std_relative"]


@pytest.mark.parametrize(
    ("share", "programming", "q"),
    [(0.0, 0.26348, 0.2), (0.1, 0.448249, 0.03930815610928476), (1.0, 1.05538, 0.0088)],
)
def test_the_constants_of_pcm(share, programming, q):
    card = load_card("pcm-nandakumar2019")
    state = torch.tensor([25.0 * share], dtype=torch.float64)
    assert float(programming_std(card, state)) == pytest.approx(programming, rel=1e-9)
    std = read_std(card, CellStates(state, torch.ones(1, dtype=torch.float64)), time_s=0.0)
    assert float(std) == pytest.approx(q * 4.18382480806477, rel=1e-9)
