"""What a Crossbar refuses, and what it warns of."""

import warnings

import pytest

from aimc_robust import Crossbar
from aimc_robust.errors import InputError, UnknownNameError


@pytest.mark.parametrize("window", [(25.0, 225.0), (50.0, 300.0)])
def test_a_window_beyond_the_limits_warns_where_the_crossbar_is_made(window):
    with pytest.warns(UserWarning, match=r"rram-milo2021.*50.*225") as caught:
        Crossbar("rram-milo2021", window=window)
    assert [warning.filename for warning in caught] == [__file__]


def test_a_window_up_to_the_limits_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Crossbar("sonos-agrawal2022", window=(0, 3200)).device.window == (0.0, 3200.0)


def test_the_cards_own_window_is_the_default():
    assert Crossbar("rram-milo2021").device.programming_window == (50.0, 225.0)


BAD = [
    (UnknownNameError, {"device": "rram-milo"}, ["'rram-milo'", "'rram-milo2021'"]),
    (InputError, {"device": "nowhere.toml"}, ["nowhere.toml", "path of an existing TOML file"]),
    (UnknownNameError, {"mapping": "onesided"}, ["mapping 'onesided'", "'one-sided'", "offset", "two-sided"]),
    (InputError, {"cell_bits": -1}, ["cell_bits", "0", "16", "-1"]),
    (InputError, {"cell_bits": 17}, ["cell_bits", "16", "17"]),
    (InputError, {"cell_bits": 4.0}, ["cell_bits", "whole number", "4.0"]),
    (InputError, {"mapping": "offset", "cell_bits": 1}, ["offset", "cell_bits"]),
    (InputError, {"weight_percentile": 99.9}, ["weight_percentile", "0.5 and 1", "99.9"]),
    (InputError, {"weight_percentile": float("nan")}, ["weight_percentile", "finite", "nan"]),
    (InputError, {"window": (225.0, 50.0)}, ["window", "min < max", "uS", "(225.0, 50.0)"]),
    (InputError, {"window": (50.0, 50.0)}, ["window", "min < max"]),
    (InputError, {"window": (-1.0, 50.0)}, ["window", "0 <= min"]),
    (InputError, {"window": (50.0, float("inf"))}, ["window", "inf"]),
    (InputError, {"window": (float("nan"), 50.0)}, ["window", "nan"]),
    (InputError, {"window": (50.0, 100.0, 200.0)}, ["window", "(min, max)"]),
    (InputError, {"window": 225.0}, ["window", "(min, max)", "225"]),
    (InputError, {"window": ("low", "high")}, ["window", "(min, max)", "low"]),
    (UnknownNameError, {"scaling": "columns"}, ["scaling 'columns'", "'column'", "layer"]),
    (UnknownNameError, {"on_out_of_range": "ignore"}, ["on_out_of_range 'ignore'", "error", "warn"]),
    (InputError, {"bias_rows": -1}, ["bias_rows", "0", "1024", "-1"]),
    (InputError, {"bias_rows": True}, ["bias_rows", "whole number", "True"]),
    (InputError, {"rows": -1}, ["rows", "unlimited", "-1"]),
    (InputError, {"columns": 2.5}, ["columns", "whole number", "2.5"]),
    (InputError, {"dac": 8}, ["dac must be a DAC such as DAC(bits=8)", "8"]),
    (InputError, {"adc": "8 bits"}, ["adc must be a ADC such as ADC(bits=8)", "8 bits"]),
    (InputError, {"read_noise": 1}, ["read_noise", "true or false", "1"]),
    (InputError, {"error_scale": -0.5}, ["error_scale", "at least 0", "-0.5"]),
    (InputError, {"error_scale": float("nan")}, ["error_scale", "finite", "nan"]),
    (InputError, {"stuck": 0.1}, ["stuck", "(low, high)", "0.1"]),
    (InputError, {"stuck": (-0.1, 0.0)}, ["stuck low", "within 0 and 1", "-0.1"]),
    (InputError, {"stuck": (0.6, 0.6)}, ["stuck", "1.2", "at most 1"]),
    (InputError, {"window": (50.0, 300.0), "on_out_of_range": "error"}, ["window 50 to 300 uS", "limits 50 to 225"]),
]


@pytest.mark.parametrize(("error", "arguments", "wanted"), BAD, ids=[str(case[1]) for case in BAD])
def test_a_bad_argument_is_refused_by_name_with_what_was_expected(error, arguments, wanted):
    with pytest.raises(error) as caught:
        Crossbar(**{"device": "rram-milo2021"} | arguments)
    assert [part for part in wanted if part not in str(caught.value)] == []
