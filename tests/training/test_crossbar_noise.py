"""Training on a crossbar: the gradient at programmed weights goes straight through to the clean ones."""

import pytest
import torch
from scipy import stats
from support.training_oracles import ANALOG, LOSS, batches, check, gradient_at, mix, net, weights
from torch import nn

from aimc_robust.hardware.config.converters import ADC, DAC
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.standard_mappings import BitSliced
from aimc_robust.hardware.program import program
from aimc_robust.noise.base import WeightNoise
from aimc_robust.seeding import Axes
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.rwp import RWP, MixedRWP

# That converters and read noise are left out is meant here.
pytestmark = pytest.mark.filterwarnings("ignore:training meets this crossbar's programming errors")

CROSSBARS = {
    "one-sided": Crossbar("rram-milo2021"),
    "two-sided": Crossbar("rram-wan2022", mapping="two-sided"),
    "offset": Crossbar("rram-milo2021", mapping="offset", cell_bits=4),
    "bit-sliced": Crossbar("sonos-agrawal2022", mapping=BitSliced(weight_bits=6, slices=2), read_noise=False),
    "percentile": Crossbar("rram-wan2022", weight_percentile=0.95),
    "columns": Crossbar("pcm-joshi2020", scaling="column"),
    "stuck": Crossbar("rram-milo2021", stuck=(0.05, 0.02)),
    "read noise": Crossbar("pcm-nandakumar2019"),
    "converters": Crossbar("rram-milo2021", rows=16, dac=DAC(bits=4), adc=ADC(bits=4)),
}


def programmed(crossbar, *, step, strength=1.0, draw=0):
    """The weights of the chip of one update, all else clean."""
    found = weights()
    for name in ANALOG:
        axes = Axes(0).at(use="training", step=step, layer=name.removesuffix(".weight"))
        noisy = crossbar.perturb("", found[name], axes.at(draw=draw) if draw else axes)
        found[name] = found[name] + strength * (noisy - found[name])
    return found


@pytest.mark.parametrize("crossbar", CROSSBARS.values(), ids=CROSSBARS)
def test_the_gradient_at_programmed_weights_reaches_the_clean_ones(crossbar):
    given = batches(2)
    at = programmed(crossbar, step=3)
    assert not torch.equal(at["0.weight"], weights()["0.weight"])
    check(RWP(noise=crossbar), gradient_at(at, given[0]), given[:1], step=3)
    expected = mix((0.6, gradient_at(weights(), given[0])), (0.4, gradient_at(at, given[1])))
    check(MixedRWP(noise=crossbar, lam=0.4), expected, given, step=3)


def test_every_draw_is_a_chip_of_its_own():
    crossbar, batch = CROSSBARS["one-sided"], batches()[0]
    chips = [programmed(crossbar, step=3, draw=draw) for draw in range(2)]
    check(RWP(noise=crossbar, draws=2), mix(*[(0.5, gradient_at(chip, batch)) for chip in chips]), step=3)


def test_a_ramp_goes_from_clean_to_programmed_weights():
    crossbar, batch = CROSSBARS["one-sided"], batches()[0]
    method = RWP(noise=crossbar, ramp=Ramp(shape="quadratic", updates=8))
    assert [method.strength(step) for step in (0, 2, 8, 9)] == [0.0, 0.25, 1.0, 1.0]
    check(method, gradient_at(programmed(crossbar, step=2, strength=0.25), batch), step=2)


def test_weights_beyond_the_window_keep_their_gradient():
    # The derivative of clipping is 0 there; with it such a weight could never come back.
    model, crossbar = net(), CROSSBARS["percentile"]
    limit = float(model[6].weight.detach().quantile(0.97))
    RWP(noise=crossbar).backward(model, LOSS, batches(), step=1)
    beyond = model[6].weight.detach().abs() > limit
    assert beyond.sum() > 5
    used = model[6].weight.grad.abs().sum(dim=0) > 0
    assert (model[6].weight.grad[beyond & used] != 0).all()


@pytest.mark.parametrize("name", ["converters", "read noise"])
def test_the_weights_met_are_those_without_converters_and_read_noise(name):
    # They act at multiplies, not on weights: as a weight noise a crossbar is its programming errors.
    crossbar = CROSSBARS[name]
    assert crossbar.computes_in_arrays
    plain = Crossbar(crossbar.device.cell, read_noise=False)
    with pytest.warns(UserWarning, match="programming"):
        RWP(noise=crossbar)
    assert not plain.computes_in_arrays
    check(RWP(noise=crossbar), gradient_at(programmed(plain, step=1), batches()[0]))


def weights_met(noise, steps):
    model, seen = nn.Linear(40, 10, bias=False), []
    torch.nn.init.normal_(model.weight, generator=torch.Generator().manual_seed(0))

    def loss_fn(output, _):
        seen.append(model.weight.detach().clone())
        return output.sum()

    for step in range(1, steps + 1):
        RWP(noise=noise).backward(model, loss_fn, [(torch.ones(1, 40), None)], step=step)
    return model, torch.stack(seen)


@pytest.mark.parametrize("card", ["rram-milo2021", "pcm-joshi2020"])
def test_training_meets_the_errors_that_chips_have(card):
    crossbar = Crossbar(card)
    model, met = weights_met(crossbar, 50)
    chips = torch.stack([program(model, crossbar, chip=chip).weight.detach() for chip in range(50)])
    errors = [(found - model.weight.detach()).flatten().numpy() for found in (met, chips)]
    assert stats.ks_2samp(*errors).pvalue > 1e-3
    assert stats.ks_2samp(errors[0], 1.1 * errors[1]).pvalue < 1e-3


class Halves(WeightNoise):
    """A weight noise that this package does not know."""

    def perturb(self, name, weight, generator):
        return weight / 2


def test_any_weight_noise_can_be_trained_under():
    halved = weights() | {name: weights()[name] / 2 for name in ANALOG}
    check(RWP(noise=Halves()), gradient_at(halved, batches()[0]))
