"""Effective states of arrays with resistive wires, against the circuit solved node by node."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.circuit import exact_currents
from support.for_each import for_each
from torch import Tensor

from aimc_robust.hardware.config.parasitics import WireResistances
from aimc_robust.hardware.programming.ir_drop import WiredArrays, wired_arrays
from aimc_robust.hardware.programming.wired_banks import LARGEST_COUPLING

SIZES = st.integers(1, 7)
OHM = st.floats(1e-4, 0.3)


def states(outputs: int, inputs: int, seed: int = 0, low: float = 0.1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return low + (1.0 - low) * torch.rand((outputs, inputs), generator=generator, dtype=torch.float64)


def wired(devices: dict[float, Tensor], **ohms: float) -> WiredArrays:
    """One array."""
    outputs, inputs = next(iter(devices.values())).shape
    wires = {"row": 0.0, "column": 0.0, "row_terminal": 0.0, "column_terminal": 0.0} | ohms
    grouped = {sign: g.unsqueeze(0) for sign, g in devices.items()}
    return wired_arrays(grouped, WireResistances(**wires), rows=[(0, inputs)], columns=[(0, outputs)])


def relative(difference: Tensor, currents: Tensor) -> float:
    return float(difference.norm() / currents.norm())


@settings(derandomize=True, deadline=None, max_examples=40)
@given(outputs=SIZES, inputs=SIZES, ohm=OHM, terminal=st.sampled_from([0.0, 0.5]), seed=st.integers(0, 1000))
def test_with_resistance_in_rows_or_columns_alone_the_currents_are_exact(outputs, inputs, ohm, terminal, seed):
    g = states(outputs, inputs, seed)
    for ohms in (
        {"row": ohm, "row_terminal": terminal},
        {"row_terminal": ohm},
        {"column": ohm, "column_terminal": terminal},
        {"column_terminal": ohm},
    ):
        result = wired({1.0: g}, **ohms)
        torch.testing.assert_close(result.states[0], exact_currents({1.0: g}, **ohms), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(result.states, result.attenuations[1.0] * g)
        assert result.coupling == 0.0


@st.composite
def uneven(draw: st.DrawFn) -> tuple[dict[float, Tensor], dict[str, float]]:
    """Pairs of devices of sparse, heavy-tailed, uneven weights, and wires of any proportions."""
    outputs, inputs = draw(st.integers(2, 12)), draw(st.integers(2, 12))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    weights = normal(outputs, inputs) ** draw(st.sampled_from([1, 2, 5]))
    weights *= torch.rand(weights.shape, generator=generator) < draw(st.sampled_from([0.1, 0.3, 1.0]))
    weights *= normal(outputs, 1) ** draw(st.sampled_from([0, 1, 4])) * normal(1, inputs) ** draw(
        st.sampled_from([0, 2])
    )
    weights[draw(st.integers(0, outputs - 1)), 0] = 2.0 * float(weights.abs().max()) + 1.0
    if draw(st.booleans()):
        weights[1:] *= 1e-3
    if draw(st.booleans()):
        weights = weights.flip(0)
    u, low = weights / weights.abs().max(), draw(st.sampled_from([0.0, 0.03, 0.1]))
    ratios = st.sampled_from([0.0, 1.0, 30.0])
    wires = {name: draw(ratios) for name in ("row", "column", "row_terminal", "column_terminal")}
    return {sign: low + (1.0 - low) * (sign * u).clamp(min=0.0) for sign in (1.0, -1.0)}, wires


def effective(
    devices: dict[float, Tensor], wires: dict[str, float], scale: float, *, interleaved: bool
) -> tuple[Tensor, float]:
    """Effective states and the largest coupling of both signs, in one array or in two."""
    arrays = [devices] if interleaved else [{sign: g} for sign, g in devices.items()]
    results = [wired(part, **{name: scale * ohm for name, ohm in wires.items()}) for part in arrays]
    return sum(result.states[0] for result in results), max(result.coupling for result in results)


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=40)
@given(array=uneven(), interleaved=st.booleans())
def test_products_err_by_less_than_1_percent_up_to_the_stated_coupling(array, interleaved):
    devices, wires = array
    low, high = 1e-7, 10.0
    for _ in range(16):  # the largest wires that are not warned of
        middle = (low * high) ** 0.5
        coupled = effective(devices, wires, middle, interleaved=interleaved)[1] > LARGEST_COUPLING
        low, high = (low, middle) if coupled else (middle, high)
    got, _ = effective(devices, wires, low, interleaved=interleaved)
    arrays = [devices] if interleaved else [{sign: g} for sign, g in devices.items()]
    ohms = {name: low * ohm for name, ohm in wires.items()}
    exact = sum(exact_currents(part, **ohms) for part in arrays)
    inputs = torch.rand(exact.shape[1], 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert relative((got - exact) @ inputs, exact @ inputs) < 0.01


PATTERNS = {
    "one loaded column": lambda: torch.eye(14)[:, -1:].expand(14, 14),
    "columns of alternating sign": lambda: states(14, 14, low=0.0) * (-1.0) ** torch.arange(14).unsqueeze(1),
    "pruned": lambda: states(14, 14, low=-1.0) * (states(14, 14, 1, low=0.0) < 0.1),
    "heavy-tailed": lambda: torch.randn(14, 14, generator=torch.Generator().manual_seed(0)) ** 5,
}


@for_each("name", list(PATTERNS))
@for_each("interleaved", [False, True])
def test_columns_that_differ_have_their_own_voltages(name, interleaved):
    weights = PATTERNS[name]().double()
    u = weights / weights.abs().max()
    devices = {sign: (sign * u).clamp(min=0.0) for sign in (1.0, -1.0)}
    for wires in ({"row": 3e-3, "column": 3e-3}, {"row_terminal": 0.02, "column_terminal": 0.02}):
        got, _ = effective(devices, wires, 1.0, interleaved=interleaved)
        arrays = [devices] if interleaved else [{sign: g} for sign, g in devices.items()]
        exact = sum(exact_currents(part, **wires) for part in arrays)
        assert relative(got - exact, exact) < (1e-6 if name == "one loaded column" else 2e-3)


@for_each("shape", [(12, 12), (4, 20), (20, 4)])
def test_the_error_is_far_below_that_of_first_order_and_of_rows_and_columns_apart(shape):
    g, ohms = states(*shape, low=0.3), {"row": 2e-3, "column": 2e-3}
    exact, result = exact_currents({1.0: g}, **ohms), wired({1.0: g}, **ohms)
    along_rows = g.flip(0).cumsum(0).flip(0).cumsum(0) * ohms["row"]
    along_columns = g.cumsum(1).flip(1).cumsum(1).flip(1) * ohms["column"]
    first_order = g * (1.0 - along_rows - along_columns)
    apart = g * result.attenuations[1.0][0]
    error = relative(result.states[0] - exact, exact)
    assert error < 2e-4
    assert error < 0.05 * relative(first_order - exact, exact)
    assert error < 0.2 * relative(apart - exact, exact)
    assert relative(g - exact, exact) > 0.05


def test_rows_start_at_the_first_output_and_columns_end_at_the_last_input():
    lost = 1.0 - wired({1.0: torch.ones(6, 5, dtype=torch.float64)}, row=1e-3).states[0]
    assert (lost.diff(dim=0) > 0).all()
    lost = 1.0 - wired({1.0: torch.ones(6, 5, dtype=torch.float64)}, column=1e-3).states[0]
    assert (lost.diff(dim=1) < 0).all()


def test_arrays_and_groups_are_circuits_of_their_own():
    g = torch.stack([states(5, 7), states(5, 7, seed=1)])
    ohms = {"row": 0.05, "column": 0.02, "row_terminal": 0.1, "column_terminal": 0.3}
    rows, columns = [(0, 3), (3, 7)], [(0, 2), (2, 5)]
    whole = wired_arrays({1.0: g}, WireResistances(**ohms), rows=rows, columns=columns)
    for group in range(2):
        for start, stop in rows:
            for first, last in columns:
                alone = wired({1.0: g[group, first:last, start:stop]}, **ohms)
                torch.testing.assert_close(whole.states[group, first:last, start:stop], alone.states[0])
    assert float((wired({1.0: g[0]}, **ohms).states[0] - whole.states[0]).abs().max()) > 1e-2


def test_devices_that_do_not_conduct_carry_no_current():
    g = torch.zeros(1, 4, 6)
    result = wired_arrays({1.0: g}, WireResistances(row=1.0, column=1.0, row_terminal=1.0, column_terminal=1.0),
                          rows=[(0, 6)], columns=[(0, 4)])  # fmt: skip
    assert not result.states.any()
    assert result.coupling == 0.0


def test_float32_agrees_with_float64_on_a_tall_array():
    g = states(16, 1024)
    ohms = {"row": 1e-6, "column": 1e-6}
    exact, single = wired({1.0: g}, **ohms).states, wired({1.0: g.float()}, **ohms).states
    assert relative(single.double() - exact, g - exact) < 1e-4  # of what is lost
