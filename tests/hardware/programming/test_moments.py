"""Mean and variance of weights over chips, against programming many of them."""

import pytest
import torch
from support.models import fill, small_model
from torch import nn

from aimc_robust.devices.moments import Moments
from aimc_robust.errors import InputError
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.standard_mappings import BitSliced
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.program import program
from aimc_robust.hardware.programming.moments import model_moments, noise_moments, weight_moments
from aimc_robust.hardware.programming.weights_to_states import layer_draws, program_matrix, read_back
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.distributions import Gaussian, Laplace
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.seeding import Axes

CHIPS = 400  # tolerances are in standard errors
CASES = {
    "one-sided": Crossbar("rram-wan2022"),
    "two-sided": Crossbar("rram-wan2022", mapping="two-sided"),
    "offset": Crossbar("rram-milo2021", mapping="offset"),
    "bit-sliced": Crossbar("rram-wan2022", mapping=BitSliced(weight_bits=8, slices=2)),
    "clipped": Crossbar("pcm-joshi2020", weight_percentile=0.8, scaling="column"),
    "levels": Crossbar("rram-milo2021", cell_bits=3, window=(100.0, 200.0)),
    "offset levels": Crossbar("rram-wan2022", mapping="offset", cell_bits=4),
    "stuck": Crossbar("rram-milo2021", stuck=(0.02, 0.01), error_scale=0.5),
    "drift": Crossbar("pcm-nandakumar2019"),
    "drift only": Crossbar("rram-wan2022-drift", programming=False),
}
TIME_S = {"drift": 3600.0, "drift only": 86400.0}


def matrix():
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def chips_of(crossbar, weight, time_s):
    axes = Axes(0)
    draws = [layer_draws(axes.at(chip=chip)) for chip in range(CHIPS)]
    return torch.stack(
        [
            read_back(
                crossbar.device,
                crossbar.weights,
                program_matrix(crossbar.device, crossbar.weights, weight, d, time_s=time_s),
            )
            for d in draws
        ]
    )


def worst(found, chips):
    """Greatest distance from the chips' own moments, in standard errors (with 3e-4 of the variance for the table)."""
    mean, variance = chips.mean(0), chips.var(0)
    fourth = (chips - mean).pow(4).mean(0)
    error = ((fourth - variance.square()) / len(chips)).clamp(min=0).sqrt() + 3e-4 * variance
    apart = (found.mean - mean).abs() / (variance / len(chips)).sqrt()
    return float(apart.max()), float(((found.variance - variance).abs() / error).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_moments_are_those_of_many_chips(name):
    crossbar, time_s = CASES[name], TIME_S.get(name, 0.0)
    chips = chips_of(crossbar, matrix(), time_s)
    found = weight_moments(crossbar, matrix(), time_s=time_s)
    assert max(worst(found, chips)) < 4.5
    doubled = Moments(found.mean, found.variance * 2.0)
    shifted = Moments(found.mean + found.variance.sqrt(), found.variance)
    assert min(max(worst(doubled, chips)), max(worst(shifted, chips))) > 6


def test_an_ideal_device_has_the_weights_as_mean_and_no_variance():
    found = weight_moments(Crossbar("ideal", mapping="two-sided"), matrix())
    torch.testing.assert_close(found.mean, matrix(), rtol=1e-6, atol=1e-6)
    assert float(found.variance.abs().max()) < 1e-20


@pytest.mark.parametrize("mapping", ["one-sided", "two-sided", "offset"])
def test_a_layer_of_zeros_stays_zero(mapping):
    found = weight_moments(Crossbar("rram-milo2021", mapping=mapping), torch.zeros(3, 4))
    assert not found.mean.any()
    assert not found.variance.any()


NETS = {
    "convolution": lambda: small_model(),
    "transposed": lambda: fill(nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=2), nn.Flatten())),
    "attention": lambda: fill(nn.MultiheadAttention(4, 2)),
    "separate projections": lambda: fill(nn.MultiheadAttention(4, 2, kdim=3, vdim=5)),
    "lstm": lambda: fill(nn.LSTM(3, 2)),
    "shared": lambda: _shared(),
}


def _shared():
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.ReLU(), nn.Linear(3, 3, bias=False))
    net[2].weight = net[0].weight
    return fill(net)


@pytest.mark.parametrize("rows", [0, 2])
@pytest.mark.parametrize("name", NETS)
def test_a_model_has_moments_in_its_parameters_own_layout(name, rows):
    model, crossbar = NETS[name](), Crossbar("rram-milo2021", mapping="offset", bias_rows=rows)
    found = model_moments(prepare(model)[0], crossbar)
    chips = [dict(program(model, crossbar, chip=chip).named_parameters()) for chip in range(50)]
    for parameter, moments in found.items():
        now = torch.stack([chip[parameter].detach() for chip in chips]).double()
        assert moments.mean.shape == now.shape[1:]
        score = (moments.mean - now.mean(0)) / (moments.variance / len(chips)).sqrt()
        assert float(score.abs().max()) < 4.8
        ratio = (now - moments.mean).square().mean() / moments.variance.double().mean()
        assert float(ratio) == pytest.approx(1.0, abs=5 * (2 / now.numel()) ** 0.5 + 1e-3)
    untouched = set(chips[0]) - set(found)
    assert all(torch.equal(chips[0][p], chips[1][p]) for p in untouched)
    assert any("bias" in p for p in found) == (rows > 0 and name != "shared")


class Coin(WeightNoise):
    """w + 0.5 or w - 0.25: a mean of 0.125 and a standard deviation of 0.375."""

    def perturb(self, name, weight, generator):
        heads = torch.rand(weight.shape, generator=generator) < 0.5
        return weight + torch.where(heads, 0.5, -0.25).to(weight)


@pytest.mark.parametrize("scale", ["filter_max", "filter_norm", "layer_max", "absolute"])
@pytest.mark.parametrize(
    "noise", [lambda s: Gaussian(0.2, s), lambda s: Laplace(0.1, s), lambda s: Laplace(0.1, s, matched_std=True)]
)
def test_gaussian_and_laplace_noise_have_the_moments_of_their_draws(noise, scale):
    noise, weight, generator = noise(scale), matrix(), torch.Generator().manual_seed(1)
    drawn = noise.perturb("w", weight.repeat(8000, 1), generator).view(8000, *weight.shape)  # the same filters again
    found = noise_moments(noise, "w", weight, axes=Axes(0))
    assert max(worst(found, drawn)) < 4.5
    assert max(worst(Moments(found.mean, found.variance * 1.2), drawn)) > 6


def test_any_other_noise_is_drawn_without_bias():
    weight = torch.zeros(60, 60, dtype=torch.float64)
    found = noise_moments(Coin(), "w", weight, axes=Axes(0), draws=5)
    assert float(found.mean.mean()) == pytest.approx(0.125, abs=4 * 0.375 / (5 * 3600) ** 0.5)
    assert float(found.variance.mean()) == pytest.approx(0.375**2, rel=0.03)  # dividing by 5 would give 20 % less


def test_a_plain_noise_touches_the_model_as_perturbed_does():
    model, noise = NETS["transposed"](), Gaussian(0.1)
    found = model_moments(model, noise)
    with perturbed(model, noise, generator=Axes(0)):
        now = model[0].weight.detach().clone()
    score = (now - found["0.weight"].mean) / found["0.weight"].variance.sqrt()
    assert set(found) == {"0.weight"}
    assert float(score.square().mean()) == pytest.approx(1.0, abs=5 * (2 / now.numel()) ** 0.5)
    assert model_moments(model, None) == {}


def test_half_precision_has_moments_in_float32():
    found = model_moments(prepare(small_model().bfloat16())[0], Crossbar("rram-milo2021"))
    assert all(part.dtype == torch.float32 for moments in found.values() for part in moments)


def test_a_time_without_crossbar_is_refused():
    with pytest.raises(InputError, match="time_s"):
        model_moments(small_model(), Gaussian(0.1), time_s=1.0)
