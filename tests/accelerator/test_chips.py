"""Chips on an accelerator: the outputs of the CPU's chips, and forward passes that transfer nothing."""

import copy

import pytest
import torch
from support.models import Mixed, fill
from support.nets import deployed, everything, images, net
from support.waits import no_waits
from torch import nn

from aimc_robust import ADC, DAC, BitSliced, Crossbar, Deployment, Parasitics, calibrate, program, recalibrate_batchnorm

pytestmark = pytest.mark.gpu

GIVEN = DAC(bits=6, full_scale=4.0, kind="sign-magnitude")
EDGE = {"dac": GIVEN, "adc": ADC(bits=8, range="worst-case")}
MILO = Crossbar("rram-milo2021")
PCM = Crossbar("pcm-nandakumar2019", read_noise=False, stuck=(0.01, 0.01))
SLICED = BitSliced(weight_bits=8, slices=2)
WIRES = Parasitics(row_ohm=1.0, column_ohm=1.0)
CROSSBARS = {
    "weights": MILO,
    "drifted weights": PCM,
    "IR drop": MILO.replace(parasitics=WIRES),
    "offset": MILO.replace(mapping="offset"),
    "one-sided arrays": MILO.replace(**EDGE),
    "offset arrays": MILO.replace(mapping="offset", **EDGE),
    "drifted arrays": PCM.replace(mapping="two-sided", **EDGE),
    "bit slicing in small arrays": MILO.replace(mapping=SLICED, bias_rows=1, rows=20, columns=3, **EDGE),
    "columns, percentile, two devices": MILO.replace(
        scaling="column", weight_percentile=0.99, cell_bits=4, mapping="one-sided*2", **EDGE
    ),
    "input slices": MILO.replace(
        dac=DAC(bits=6, full_scale=4.0, kind="sign-magnitude", slice_bits=2),
        adc=ADC(bits=8, range="worst-case", per_slice=True),
    ),
    "calibrated converters": MILO.replace(dac=DAC(bits=6), adc=ADC(bits=8)),
    "errors of ADCs": MILO.replace(
        dac=GIVEN, adc=ADC(bits=8, range="worst-case", gain_error=0.02, offset_error=0.01, inl=0.01)
    ),
    "IR drop in arrays": MILO.replace(parasitics=WIRES, **EDGE),
}
NOISY = {
    "read noise": Crossbar("sonos-agrawal2022", **EDGE),
    "noise of outputs and DACs": MILO.replace(output_noise=0.01, dac=DAC(bits=6, full_scale=4.0, noise=0.01)),
    "everything": everything(),
}


def outputs(model, crossbar, device, x):
    """What a chip of a model returns; its forward pass transfers nothing, in both modes of inference."""
    model, x = copy.deepcopy(model).to(device), x.to(device)
    drifts = crossbar.device.cell is PCM.device.cell
    deployment = Deployment(compensation=("drift",) if drifts else ())
    if crossbar.periphery.needs_calibration:
        deployment = Deployment(ranges=calibrate(model, crossbar, [x]))
    on_chip = program(model, crossbar, time_s=100.0 if drifts else 0.0, deployment=deployment)
    with torch.no_grad():
        result = on_chip(x)  # the first pass draws the errors of ADCs
    if device.type != "cpu":
        for inference in (False, True):
            with torch.inference_mode(inference), no_waits(device, uploads=False):
                on_chip(x)
    return result.detach().cpu()


@pytest.mark.parametrize("name", CROSSBARS)
def test_a_chip_is_that_of_the_cpu_and_its_forward_pass_transfers_nothing(name, accelerator):
    expected = outputs(net(), CROSSBARS[name], torch.device("cpu"), images(20))
    found = outputs(net(), CROSSBARS[name], accelerator, images(20))
    # A sum on a rounding threshold may fall on the other side: one code in few places.
    assert float((found - expected).abs().median()) < 1e-5
    assert float((found - expected).abs().max()) < 0.05


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "everything" else ()) for name in NOISY]
)
def test_a_noisy_forward_pass_has_the_noise_of_the_cpu_and_transfers_nothing(name, accelerator):
    expected = outputs(net(), NOISY[name], torch.device("cpu"), images(60))
    found = outputs(net(), NOISY[name], accelerator, images(60))
    assert float((found - expected).abs().median()) < 1e-5
    other = outputs(net(), NOISY[name].replace(read_noise=False, output_noise=0.0), torch.device("cpu"), images(60))
    assert float((found - expected).abs().mean()) < 0.05 * float((other - expected).abs().mean())


def test_recurrent_layers_transfer_nothing(accelerator):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.cells, self.head = nn.LSTM(4, 3, batch_first=True, bidirectional=True), nn.Linear(6, 2)

        def forward(self, x):
            return self.head(self.cells(x)[0][:, -1])

    model, x = fill(Net()).eval(), images(60)[:, 0, :5, :4].contiguous()
    expected = outputs(model, MILO.replace(**EDGE), torch.device("cpu"), x)
    assert float((outputs(model, MILO.replace(**EDGE), accelerator, x) - expected).abs().median()) < 1e-5


def test_attention_and_transposed_convolutions_transfer_nothing(accelerator):
    model, x = fill(Mixed()).eval(), images(4)
    expected = outputs(model, MILO.replace(**EDGE), torch.device("cpu"), x)
    assert float((outputs(model, MILO.replace(**EDGE), accelerator, x) - expected).abs().median()) < 1e-5


def test_recalibration_waits_for_nothing_and_gives_the_statistics_of_the_cpu(accelerator):
    crossbar = MILO.replace(**EDGE)
    expected = recalibrate_batchnorm(program(net(), crossbar), [images(30), images(60)])(images(9)).detach()
    on_chip, inputs = program(net().to(accelerator), crossbar), [images(n).to(accelerator) for n in (30, 60)]
    with no_waits(accelerator):
        recalibrate_batchnorm(on_chip, inputs)
    found = on_chip(images(9).to(accelerator)).detach().cpu()
    assert float((found - expected).abs().median()) < 1e-5


def test_a_chip_that_is_moved_is_the_same(accelerator):
    crossbar = everything().replace(read_noise=False, output_noise=0.0)
    on_chip = program(net(), crossbar, deployment=deployed())
    expected = on_chip(images(20)).detach()
    assert float((on_chip.to(accelerator)(images(20).to(accelerator)).detach().cpu() - expected).abs().median()) < 1e-5
