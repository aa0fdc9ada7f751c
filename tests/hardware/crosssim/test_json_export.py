"""CrossSim's parameters as JSON; with CrossSim installed, it reads them and they are those of the backend's cores."""

import json

import numpy as np
import pytest
from torch import nn

from aimc_robust import ADC, DAC, BitSliced, Crossbar, Deployment, LayerRanges, crosssim_json, program
from aimc_robust.errors import InputError
from aimc_robust.hardware.crosssim.parameters import crosssim_parameters

LAYER = LayerRanges(inputs=(-2.0, 1.0), outputs=((-3.0, 3.0),))
SLICED = LayerRanges(inputs=(0.0, 1.0), outputs=((-4.0, 4.0), (-2.0, 2.0)))
CASES = {
    "plain": (Crossbar("rram-milo2021", rows=64, cell_bits=4), None, 0.0),
    "drifting": (Crossbar("sonos-agrawal2022"), None, 86400.0),
    "calibrated": (Crossbar("ideal", mapping="two-sided", dac=DAC(bits=8), adc=ADC(bits=6)), LAYER, 0.0),
    "bit-sliced": (
        Crossbar("rram-wan2022", mapping=BitSliced(weight_bits=8, slices=2), dac=DAC(bits=8), adc=ADC(bits=8)),
        SLICED,
        0.0,
    ),
    "offset, own parameters": (
        Crossbar("pcm-joshi2020", mapping="offset", crosssim={"xbar": {"array": {"parasitics": {"Rp_row": 0.5}}}}),
        None,
        0.0,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_json_holds_the_parameters_of_the_backend(case):
    crossbar, layer, time_s = CASES[case]
    assert json.loads(crosssim_json(crossbar, layer=layer, time_s=time_s)) == crosssim_parameters(
        crossbar, layer=layer, time_s=time_s
    )


@pytest.mark.parametrize("case", CASES)
def test_crosssim_reads_the_json_as_the_parameters_of_the_backends_cores(case, tmp_path):
    simulator = pytest.importorskip("simulator", reason="CrossSim 3.2 is not installed")
    crossbar, layer, time_s = CASES[case]
    path = tmp_path / "crossbar.json"
    path.write_text(crosssim_json(crossbar, layer=layer, time_s=time_s))
    read = simulator.CrossSimParameters.from_json(path)
    deployment = Deployment(backend="crosssim", ranges=None if layer is None else {"0": layer})
    (core,) = program(nn.Sequential(nn.Linear(7, 5)), crossbar, deployment=deployment, time_s=time_s)[0].arrays.cores
    assert read.as_dict() == core.params.as_dict()
    assert read.as_dict() != simulator.CrossSimParameters().as_dict()


@pytest.mark.parametrize(
    ("crossbar", "match"),
    [
        (Crossbar("ideal", dac=DAC(bits=8)), "layer=calibrate.*kind of the DAC"),
        (Crossbar("ideal", bias_rows=2), "bias_rows = 2"),
        (Crossbar("ideal", crosssim={"core": {"rows_max": np.int64(3)}}), "option crosssim.*int64"),
        (Crossbar("ideal", crosssim={"xbar": {"device": {"Rmin": float("inf")}}}), "option crosssim"),
        (Crossbar("pcm-nandakumar2019"), "no model of the card 'pcm-nandakumar2019'"),
    ],
)
def test_what_has_no_json_is_refused_by_name(crossbar, match):
    with pytest.raises(InputError, match=match):
        crosssim_json(crossbar)
