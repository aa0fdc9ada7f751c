"""Perturbations of a given length: their closed forms, and that they are the steps which SAM and RWP would take."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from aimc_robust.analysis.weight_step import ascent_step, sigma_for_radius
from aimc_robust.errors import InputError
from aimc_robust.noise.analog_weights import analog_weights
from aimc_robust.noise.distributions import Gaussian
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.seeding import Axes
from aimc_robust.training.methods.gradient_passes import LossPasses
from aimc_robust.training.methods.sam import SAM


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.ConvTranspose2d(4, 6, 2), nn.Flatten(), nn.Linear(150, 5)
    )


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(8, 2, 6, 6, generator=generator), torch.randint(5, (8,), generator=generator)


def lengths(model: nn.Module, noise, draws: int) -> list[float]:
    """How far all the weights together move, in each draw."""
    before = [p.detach().clone() for p in model.parameters()]
    found = []
    for draw in range(draws):
        with perturbed(model, noise, generator=Axes(0).at(chip=draw)):
            moved = [p.detach() - b for p, b in zip(model.parameters(), before, strict=True)]
        found.append(math.sqrt(sum(float(m.square().sum()) for m in moved)))
    return found


def test_absolute_noise_of_n_weights_has_the_length_sigma_times_root_n():
    count = sum(matrix.parameter.numel() for matrix in analog_weights(network()).values())
    assert sigma_for_radius(network(), 3.0, "absolute") == pytest.approx(3.0 / math.sqrt(count))


def test_filter_norm_counts_each_filter_as_often_as_it_has_weights():
    layer = nn.Linear(4, 2, bias=False)
    layer.weight.data = torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    assert sigma_for_radius(layer, 1.0, "filter_norm") == pytest.approx(1 / math.sqrt(4 * 25 + 4 * 1))
    assert sigma_for_radius(layer, 1.0, "filter_max") == pytest.approx(1 / math.sqrt(4 * 16 + 4 * 1))


@pytest.mark.parametrize("scale", ["filter_norm", "filter_max", "layer_max"])
def test_drawn_noise_has_the_radius_that_was_asked_for(scale):
    model, draws = network(), 200
    squares = [length**2 for length in lengths(model, Gaussian(sigma_for_radius(model, 0.7, scale), scale), draws)]
    mean = sum(squares) / draws
    error = math.sqrt(sum((s - mean) ** 2 for s in squares) / (draws - 1) / draws)
    assert abs(mean - 0.49) < 5 * error
    assert abs(mean - 1.1 * 0.49) > 5 * error  # so that a length that is 5 % off would have been seen


def test_a_model_without_weights_has_no_sigma():
    for model in (nn.ReLU(), nn.Linear(3, 2)):
        nn.init.zeros_(getattr(model, "weight", torch.empty(1)))
        with pytest.raises(InputError, match="filter_norm"):
            sigma_for_radius(model, 1.0, "filter_norm")


def test_the_step_has_the_radius_and_its_closed_form_on_a_linear_model():
    model, radius = nn.Linear(3, 2, bias=False).double(), 0.25
    inputs, labels = torch.randn(7, 3, dtype=torch.float64), torch.randint(2, (7,))
    errors = model(inputs).softmax(dim=1) - F.one_hot(labels, 2)
    gradient = errors.T @ inputs / len(labels)  # of the mean cross-entropy
    wanted = model.weight.detach() + radius * gradient / gradient.norm()
    with perturbed(model, ascent_step(model, (inputs, labels), radius), generator=torch.Generator()):
        assert torch.allclose(model.weight, wanted, rtol=1e-9, atol=1e-12)


def test_the_step_is_the_one_that_sam_takes():
    model, (inputs, labels) = network().eval(), batch()
    passes = LossPasses(model, F.cross_entropy, [(inputs, labels)])
    with SAM(rho=0.3).perturbation(model, passes, step=1):
        wanted = [p.detach().clone() for p in model.parameters()]
    with perturbed(model, ascent_step(model, (inputs, labels), 0.3), generator=Axes(0)):
        assert all(torch.allclose(p, w, atol=1e-7) for p, w in zip(model.parameters(), wanted, strict=True))
    assert lengths(model, ascent_step(model, (inputs, labels), 0.3), 1) == [pytest.approx(0.3, rel=1e-4)]


def test_going_up_hurts_more_than_a_random_step_of_the_same_length():
    model, (inputs, labels) = network().eval(), batch()

    def loss(noise) -> float:
        with perturbed(model, noise, generator=Axes(1)), torch.no_grad():
            return float(F.cross_entropy(model(inputs), labels))

    random = Gaussian(sigma_for_radius(model, 0.2, "filter_norm"), "filter_norm")
    assert loss(ascent_step(model, (inputs, labels), 0.2)) > loss(random) + 0.05


def test_the_model_its_modes_and_its_gradients_stay_as_they_are():
    model, (inputs, labels) = network(), batch()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ascent_step(model, (inputs, labels), 0.3)
    assert [module.training for module in model] == [True, False, True, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_frozen_layer_stays_and_a_frozen_model_is_refused():
    model, (inputs, labels) = network(), batch()
    model[0].requires_grad_(False)
    noise = ascent_step(model, (inputs, labels), 0.3)
    before = model[0].weight.clone()
    with perturbed(model, noise, generator=Axes(0)):
        assert torch.equal(model[0].weight, before)
    with pytest.raises(InputError, match="trainable"):
        ascent_step(model.requires_grad_(False), (inputs, labels), 0.3)


def test_another_models_step_is_refused_by_name():
    inputs, labels = batch()
    noise = ascent_step(network(), (inputs, labels), 0.3)
    with pytest.raises(InputError, match="layers 0, 3, 5"), perturbed(nn.Linear(3, 2), noise, generator=Axes(0)):
        pass
