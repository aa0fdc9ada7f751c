"""Arguments of a wrong kind are refused in one sentence by every function that takes a model and a crossbar."""

import numpy as np
import pytest
import torch
from support.nets import batches, net

import aimc_robust as ar
from aimc_robust.errors import AimcError, InputError, UnknownNameError

CROSSBAR = ar.Crossbar("rram-wan2022")
CALLS = {
    "program": lambda model, batches, crossbar, **options: ar.program(model, crossbar, **options),
    "evaluate": lambda model, batches, crossbar, **options: ar.evaluate(model, batches, crossbar, chips=1, **options),
    "evaluate_grid": lambda model, batches, crossbar, **options: ar.evaluate_grid(
        model, batches, {"rram": crossbar}, chips=1, **options
    ),
    "attribute": lambda model, batches, crossbar, **options: ar.attribute(
        model, batches, crossbar, chips=1, per_layer=False, **options
    ),
    "calibrate": lambda model, batches, crossbar: ar.calibrate(model, crossbar, batches),
    "predict_loss": lambda model, batches, crossbar, **options: ar.predict_loss(
        model, batches, {"rram": crossbar}, images=4, probes=2, **options
    ),
}


def data():
    return batches(8)


@pytest.mark.parametrize("name", CALLS)
def test_what_is_no_model_no_crossbar_and_no_batches_is_refused(name):
    call = CALLS[name]
    call(net(), data(), CROSSBAR)  # the call itself is right
    for model in ("resnet18", None, {"weight": torch.ones(2, 2)}, torch.ones(2, 2)):
        with pytest.raises(InputError, match="model"):
            call(model, data(), CROSSBAR)
    with pytest.raises(InputError):
        call(net(), data(), "rram-wan2022")
    if name != "program":
        for images in (7, "images", {"images": torch.ones(4, 1, 6, 6)}, [7], [None]):
            with pytest.raises(AimcError):
                call(net(), images, CROSSBAR)


@pytest.mark.parametrize("name", ["program", "evaluate", "evaluate_grid", "attribute", "predict_loss"])
@pytest.mark.parametrize(
    "option", [{"chip_seed": "0"}, {"chip_seed": 1.5}, {"chip_seed": -1}, {"deployment": "native"}]
)
def test_a_seed_or_a_deployment_of_a_wrong_kind_is_refused(name, option):
    with pytest.raises(InputError, match=next(iter(option))):
        CALLS[name](net(), data(), CROSSBAR, **option)


@pytest.mark.parametrize("time_s", ["13", None, [True], ["1"], [-1.0], float("nan"), [], torch.tensor([1e12])])
@pytest.mark.parametrize("condition", [CROSSBAR, ar.Gaussian(0.1)])
def test_a_grid_refuses_times_that_are_no_seconds(time_s, condition):
    with pytest.raises(InputError, match="time_s"):
        ar.evaluate_grid(net(), data(), {"a": condition}, chips=1, time_s=time_s)


@pytest.mark.parametrize("time_s", [0, np.float32(0.0), [0], np.zeros(1), (0.0,)])
def test_a_grid_takes_every_kind_of_number(time_s):
    assert list(ar.evaluate_grid(net(), data(), {"a": CROSSBAR}, chips=1, time_s=time_s)) == [("a", 0.0)]


def test_converter_ranges_of_another_model_are_refused():
    crossbar = ar.Crossbar("ideal", dac=ar.DAC(bits=8), adc=ar.ADC(bits=8))
    ranges = ar.calibrate(net(), crossbar, data())
    other = ar.Deployment(ranges=dict(ranges) | {"another.layer": next(iter(ranges.values()))})
    for call in ("program", "evaluate", "evaluate_grid", "attribute"):
        CALLS[call](net(), data(), crossbar, deployment=ar.Deployment(ranges=ranges))
        with pytest.raises(UnknownNameError, match=r"another\.layer"):
            CALLS[call](net(), data(), crossbar, deployment=other)


@pytest.mark.parametrize(
    "options", [{"compensation": 3}, {"compensation": "drift"}, {"data": "abc"}, {"data": torch.ones(2, 2)}]
)
def test_a_deployment_refuses_fields_of_a_wrong_kind(options):
    with pytest.raises(InputError, match=next(iter(options))):
        ar.Deployment(**options)
    assert ar.Deployment(compensation=["drift"]) == ar.Deployment(compensation=("drift",))


def test_the_parameters_of_crosssim_are_a_copy_and_replace_takes_the_arguments_of_a_crossbar_alone():
    parameters = {"xbar": {"device": {}}}
    crossbar = ar.Crossbar("rram-wan2022", crosssim=parameters)
    parameters["xbar"]["device"]["cell_bits"] = 3
    assert crossbar.crosssim == {"xbar": {"device": {}}}
    with pytest.raises(UnknownNameError, match="cell"):
        crossbar.replace(cell="rram-milo2021")
