"""Resistances of wires: their unit, and what a crossbar refuses."""

import pytest
from support.for_each import for_each

from aimc_robust import CellModel, Crossbar, Parasitics, load_card
from aimc_robust.errors import InputError

WIRES = Parasitics(row_ohm=2.0, column_ohm=1.0, row_terminal_ohm=20.0, column_terminal_ohm=10.0)


@for_each(
    ("device", "window", "ohm"),
    [
        ("rram-milo2021", (50.0, 200.0), 5000.0),
        ("sonos-agrawal2022", (0.0, 1600.0), 62500.0),  # 1600 nA at 0.1 V
    ],
)
def test_ohms_are_relative_to_a_device_at_the_top_of_the_window(device, window, ohm):
    wires = Crossbar(device, window=window, parasitics=WIRES).wires
    assert (wires.row * ohm, wires.column * ohm) == pytest.approx((2.0, 1.0))
    assert (wires.row_terminal * ohm, wires.column_terminal * ohm) == pytest.approx((20.0, 10.0))
    own = Crossbar(device, window=window, parasitics=Parasitics(row_ohm=2.0, device_ohm=1000.0)).wires
    assert own.row == pytest.approx(2e-3)


def test_without_resistance_nothing_drops():
    assert Crossbar("ideal").wires is None
    assert Crossbar("rram-milo2021", parasitics=Parasitics()).wires is None
    assert Crossbar("rram-milo2021", parasitics=WIRES).ideal().wires is None
    assert Crossbar("rram-milo2021", parasitics=WIRES).replace(rows=64).arrays.parasitics == WIRES


class Current(CellModel):
    name, unit, window = "mine", "nA", (0.0, 100.0)

    def programming_std(self, target):
        return 0.0 * target


@for_each("device", ["ideal", Current()])
def test_a_device_whose_resistance_is_not_known_needs_one(device):
    with pytest.raises(InputError, match="device_ohm"):
        Crossbar(device, parasitics=WIRES)
    with pytest.raises(InputError, match="device_ohm"):
        Crossbar("rram-milo2021", parasitics=WIRES).replace(device=device)
    assert Crossbar(device, parasitics=Parasitics(row_ohm=1.0, device_ohm=100.0)).wires.row == 0.01


@for_each(
    ("options", "names"),
    [
        ({"row_ohm": -1.0}, "row_ohm.*-1"),
        ({"column_ohm": float("nan")}, "column_ohm.*nan"),
        ({"row_terminal_ohm": "2"}, "row_terminal_ohm.*'2'"),
        ({"column_terminal_ohm": float("inf")}, "column_terminal_ohm.*inf"),
        ({"interleaved": 1}, "interleaved.*1"),
        ({"device_ohm": 0.0}, "device_ohm.*above 0"),
        ({"device_ohm": True}, "device_ohm.*True"),
    ],
)
def test_resistances_that_cannot_be_are_refused(options, names):
    with pytest.raises(InputError, match=names):
        Parasitics(**options)
    with pytest.raises(InputError, match="parasitics must be"):
        Crossbar("rram-milo2021", parasitics=1.0)


def test_only_currents_are_stated_at_a_voltage():
    card = load_card("rram-milo2021").model_dump(exclude_none=True) | {"read_voltage_v": 0.2}
    with pytest.raises(InputError, match=r"read_voltage_v.*conductance"):
        load_card(card)
