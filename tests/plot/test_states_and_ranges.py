"""Histograms count every device once; boxes are the quantiles of what converters see."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from aimc_robust import ADC, DAC, BitSliced, Crossbar, calibrate, converter_signals, device_states, plot
from aimc_robust.errors import InputError, UnknownNameError


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).eval()


@pytest.fixture(scope="module")
def inputs():
    return torch.randn(200, 6, generator=torch.Generator().manual_seed(1))


CONVERTERS = Crossbar("ideal", dac=DAC(bits=8), adc=ADC(bits=8))


def test_both_histograms_count_every_device_on_the_same_bins(model, ax):
    states = device_states(model, Crossbar("rram-wan2022"))
    assert plot.states(states, ax=ax, bins=20) is ax
    target, programmed = (patch.get_data() for patch in ax.patches)
    for drawn, tensors in ((target, states.target), (programmed, states.programmed)):
        values = torch.cat([tensors[name].flatten() for name in tensors]).numpy()
        np.testing.assert_array_equal(drawn.edges, target.edges)
        assert drawn.values.sum() == len(values) == 2 * 45
        np.testing.assert_array_equal(drawn.values, np.histogram(values, drawn.edges)[0])
    assert ax.get_xlabel() == "state [µS]"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["target", "programmed"]
    marks = sorted(line.get_xdata()[0] for line in ax.lines)
    assert marks == sorted(Crossbar("rram-wan2022").device.programming_window)


def test_a_layer_and_a_time_are_named(model, ax):
    plot.states(device_states(model, Crossbar("rram-wan2022-drift"), time_s=3600.0), "2", ax)
    assert ax.patches[0].get_data().values.sum() == 2 * 15
    assert ax.get_title(loc="left") == "2"
    assert ax.get_legend().get_texts()[1].get_text() == "programmed, 1 h later"


def test_what_is_no_state_or_layer_is_refused(model):
    states = device_states(model, Crossbar("rram-wan2022"))
    with pytest.raises(InputError, match="states must be what device_states"):
        plot.states(model)
    with pytest.raises(UnknownNameError, match="unknown layer '1'"):
        plot.states(states, "1")
    with pytest.raises(InputError, match="at least one layer"):
        plot.states(states, [])
    with pytest.raises(InputError, match="bins"):
        plot.states(states, bins=0)


def test_signals_of_the_data_of_the_ranges_reach_their_ends_and_not_beyond(model, inputs):
    ranges = calibrate(model, CONVERTERS, [inputs], percentile=1.0)
    signals = converter_signals(model, CONVERTERS, [inputs], ranges)
    pairs = [(layer, quantity) for layer in "02" for quantity in ("weight", "input", "current")]
    assert list(zip(signals["layer"], signals["quantity"], strict=True)) == pairs
    assert (signals["outside"] == 0.0).all()
    second = signals[(signals["layer"] == "2") & (signals["quantity"] == "input")].iloc[0]
    exact = model[1](model[0](inputs)).detach()
    assert (second["low"], second["high"]) == pytest.approx((0.0, float(exact.max())))
    assert second["max"] == pytest.approx(float(exact.max()))
    assert second["median"] == pytest.approx(float(exact.flatten().quantile(0.5, interpolation="nearest")))
    currents = signals[signals["quantity"] == "current"]
    np.testing.assert_allclose(currents["min"], currents["low"], rtol=1e-5)
    np.testing.assert_allclose(currents["max"], currents["high"], rtol=1e-5)


def test_the_share_outside_is_that_of_the_values_that_are_clipped(model, inputs):
    ranges = calibrate(model, CONVERTERS, [inputs], percentile=0.9)
    signals = converter_signals(model, CONVERTERS, [inputs], ranges)
    first = signals[(signals["layer"] == "0") & (signals["quantity"] == "input")].iloc[0]
    clipped = (inputs < first["low"]) | (inputs > first["high"])
    assert first["outside"] == pytest.approx(100.0 * float(clipped.float().mean()))
    assert first["outside"] > 1.0
    assert first["low"] == -first["high"]  # signed inputs: the DAC's range is symmetric


def test_weights_are_relative_to_the_one_at_the_end_of_the_window(model, inputs):
    clipped = CONVERTERS.replace(weight_percentile=0.8)
    signals = converter_signals(model, clipped, [inputs], calibrate(model, clipped, [inputs]))
    row = signals[signals["quantity"] == "weight"].iloc[0]
    weight = model[0].weight.detach()
    limit = clipped.weights.weight_limit(weight)
    assert row["max"] == pytest.approx(float((weight / limit).max()))
    assert row["outside"] == pytest.approx(100.0 * float((weight.abs() > limit).float().mean()))


def test_more_values_than_are_kept_have_the_same_share_outside(monkeypatch):
    from aimc_robust.hardware.calibration import observation

    values = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    kept = observation.SeenValues()
    kept.add(values)
    monkeypatch.setattr(observation, "MAX_EXACT", 1000)
    counted = observation.SeenValues()
    counted.add(values)
    for span in ((-1.0, 1.0), (-0.5, 2.0), (0.0, 9.0)):
        assert counted.share_outside(*span) == pytest.approx(kept.share_outside(*span), abs=2e-3)
    assert counted.quantiles([0.1, 0.5]) == pytest.approx(kept.quantiles([0.1, 0.5]), rel=4e-3)


def test_boxes_are_quantiles_in_percent_of_the_range(model, inputs, ax):
    ranges = calibrate(model, CONVERTERS, [inputs], percentile=0.99)
    signals = converter_signals(model, CONVERTERS, [inputs], ranges)
    assert plot.ranges(signals, "current", ax) is ax
    rows = signals[signals["quantity"] == "current"]
    boxes = [patch for patch in ax.patches if patch.get_facecolor() != ax.patches[0].get_facecolor()]
    for row, box in zip(rows.to_dict("records"), boxes, strict=True):
        x = box.get_path().vertices[:, 0]
        expected = [100.0 * (row[name] - row["low"]) / (row["high"] - row["low"]) for name in ("q25", "q75")]
        assert (x.min(), x.max()) == pytest.approx(expected)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "2"]
    assert [text.get_text() for text in ax.texts] == [f"{share:.2g} % outside" for share in rows["outside"]]
    assert ax.get_xlabel() == "currents, position in the ADC's range [%]"


def test_banks_have_boxes_of_their_own(model, inputs, ax):
    sliced = CONVERTERS.replace(mapping=BitSliced(weight_bits=8, slices=2))
    signals = converter_signals(model, sliced, [inputs], calibrate(model, sliced, [inputs]))
    plot.ranges(signals, "current", ax)
    assert [label.get_text() for label in ax.get_yticklabels()][:2] == ["0 (bank 0)", "0 (bank 1)"]


def test_tables_and_ranges_of_another_kind_are_refused(model, inputs):
    signals = converter_signals(model, CONVERTERS, [inputs], calibrate(model, CONVERTERS, [inputs]))
    with pytest.raises(InputError, match="no current has a range here"):
        plot.ranges(signals[signals["quantity"] == "weight"], "current")
    with pytest.raises(InputError, match="the column 'layer' is missing"):
        plot.ranges(pd.DataFrame({"quantity": ["input"]}))
    with pytest.raises(InputError, match="signals must be"):
        plot.ranges([1.0])
    with pytest.raises(UnknownNameError, match="quantity"):
        plot.ranges(signals, "output")
    other = nn.Sequential(nn.Linear(6, 5))
    with pytest.raises(UnknownNameError, match="layer of the converter ranges"):
        converter_signals(other, CONVERTERS, [inputs], calibrate(model, CONVERTERS, [inputs]))
