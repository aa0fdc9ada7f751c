"""Planes and lines in weight space, against closed forms of a quadratic loss and weights that are moved by hand."""

import copy

import numpy as np
import pytest
import torch
from support.quadratic import LOSS, batchnorm_net, example, hessian
from torch import nn
from torch.nn import functional as F

from aimc_robust.analysis.hessian_spectrum import hessian_spectrum
from aimc_robust.analysis.landscape import Landscape, filter_directions
from aimc_robust.analysis.loss_landscape import interpolation_losses, loss_landscape
from aimc_robust.errors import AimcError, InputError
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.seeding import Axes

BATCH = torch.randn(30, 1, 6, 6, generator=torch.Generator().manual_seed(2)), torch.arange(30) % 3


def trained_net(seed):
    """The shared net with other weights and BatchNorm statistics for every seed."""
    torch.manual_seed(seed)
    model = batchnorm_net()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        model.train()(2.0 * BATCH[0] + seed)
    return model.eval()


def test_along_eigenvectors_a_quadratic_loss_rises_by_half_its_eigenvalues():
    model, (x, _) = example()
    batch = x, model(x).detach()  # at the minimum
    spectrum = hessian_spectrum(model, LOSS, [batch], eigenvalues=2)
    found = loss_landscape(model, LOSS, [batch], directions=spectrum, points=5, span=2.0)
    a = np.linspace(-2.0, 2.0, 5)
    first, second = np.linalg.eigvalsh(hessian(x))[::-1][:2]
    np.testing.assert_allclose(found, 0.5 * (first * a[:, None] ** 2 + second * a[None] ** 2), rtol=1e-8, atol=1e-12)


def test_filter_normalised_directions_are_those_of_comparisons():
    model, grid = trained_net(0), Landscape(3)
    directions = filter_directions(model, seed=4)
    expected = []
    for point in range(9):
        with perturbed(model, grid.step(directions, point), generator=Axes(0)), torch.no_grad():
            expected.append(float(F.cross_entropy(model(BATCH[0]), BATCH[1])))
    found = loss_landscape(model, F.cross_entropy, [BATCH], points=3, seed=4)
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-6)
    assert not np.allclose(found, loss_landscape(model, F.cross_entropy, [BATCH], points=3, seed=5))


def test_random_directions_have_length_one_over_all_parameters_and_batches_do_not_matter():
    model, (_, y) = example()
    model.weight.data.zero_()
    # L(w) = mean((x w')^2) with orthonormal inputs is |w|^2 / (samples outputs): the loss shows the distance.
    inputs = torch.linalg.qr(torch.randn(12, 5, dtype=torch.float64))[0]
    targets = torch.zeros_like(y)
    found = loss_landscape(model, LOSS, (inputs, targets), directions="random", points=3, span=2.0)
    assert found[1, 1] == 0.0
    assert found[[0, 1, 1, 2], [1, 0, 2, 1]] == pytest.approx([4.0 / 36] * 4)
    parts = list(zip(inputs.split(5), targets.split(5), strict=True))
    again = loss_landscape(model, LOSS, parts, directions="random", points=3, span=2.0)
    np.testing.assert_allclose(again, found, rtol=1e-12)


def test_own_directions_move_the_parameters_that_they_name_alone():
    model = trained_net(0)
    before = copy.deepcopy(model.state_dict())
    first, second = {"3.bias": torch.ones(3)}, {"3.bias": torch.tensor([1.0, 0.0, 0.0])}
    found = loss_landscape(model.train(), F.cross_entropy, [BATCH], directions=(first, second), points=3)
    model.eval()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    np.testing.assert_allclose(found[0], found[2], rtol=1e-5)  # softmax does not see a common shift
    with torch.no_grad():
        shifted = model(BATCH[0]) + second["3.bias"]
    assert found[1, 2] == pytest.approx(float(F.cross_entropy(shifted, BATCH[1])), rel=1e-5)
    assert found[1, 2] != pytest.approx(found[1, 1], rel=1e-3)


def test_between_two_models_weights_and_statistics_are_interpolated():
    first, second = trained_net(1), trained_net(2)
    found = interpolation_losses(first, second, F.cross_entropy, [BATCH], points=5)
    for index, t in enumerate((0.0, 0.25, 0.5, 0.75, 1.0)):
        blend = batchnorm_net().eval()
        states = first.state_dict(), second.state_dict()
        blend.load_state_dict(
            {name: (1 - t) * value + t * states[1][name] for name, value in states[0].items()}, strict=True
        )
        with torch.no_grad():
            assert found[index] == pytest.approx(float(F.cross_entropy(blend(BATCH[0]), BATCH[1])), rel=1e-5)


def test_recalibrated_statistics_are_those_of_the_data_at_every_point():
    first, second = trained_net(1), trained_net(2)
    before = copy.deepcopy(first.state_dict())
    plain = interpolation_losses(first, second, F.cross_entropy, [BATCH], points=3)
    found = interpolation_losses(first, second, F.cross_entropy, [BATCH], points=3, recalibrate=[BATCH])
    assert all(torch.equal(value, before[name]) for name, value in first.state_dict().items())
    for index, t in enumerate((0.0, 0.5, 1.0)):
        blend = batchnorm_net()
        with torch.no_grad():
            ends = zip(blend.parameters(), first.parameters(), second.parameters(), strict=True)
            for parameter, one, other in ends:
                parameter.copy_((1 - t) * one + t * other)
            by_batch = float(F.cross_entropy(blend.train()(BATCH[0]), BATCH[1]))
        assert found[index] == pytest.approx(by_batch, rel=5e-3)  # running variances are unbiased, of 480 values
        assert plain[index] != pytest.approx(by_batch, rel=5e-2)


def test_a_loss_that_overflows_is_nan_and_the_model_comes_back():
    model, batch = example()
    before = model.weight.detach().clone()
    huge = {"weight": torch.full_like(before, 1e200)}
    found = loss_landscape(model, LOSS, [batch], directions=(huge, huge), points=3)
    assert np.isnan(found[0, 0])
    assert np.isfinite(found[1, 1])
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize(
    ("directions", "words"),
    [
        ("eigen", "eigen"),
        (({"weight": torch.ones(2, 2)}, {}), "shape"),
        (({"bias": torch.ones(3)}, {}), "bias"),
        (3, "int"),
    ],
    ids=["name", "shape", "parameter", "number"],
)
def test_directions_that_cannot_be_are_refused(directions, words):
    model, batch = example()
    with pytest.raises(AimcError, match=words):
        loss_landscape(model, LOSS, [batch], directions=directions)


def test_one_eigenvector_is_no_plane():
    model, batch = example()
    spectrum = hessian_spectrum(model, LOSS, [batch], eigenvalues=1)
    with pytest.raises(InputError, match="eigenvalues=2"):
        loss_landscape(model, LOSS, [batch], directions=spectrum)


def test_two_networks_are_not_interpolated():
    class Masked(nn.Linear):
        def __init__(self, mask):
            super().__init__(5, 3)
            self.register_buffer("mask", torch.tensor(mask))

    batch = torch.zeros(2, 5), torch.zeros(2, dtype=torch.long)
    with pytest.raises(InputError, match="'weight'"):
        interpolation_losses(nn.Linear(5, 3), nn.Linear(4, 3), F.cross_entropy, [batch])
    with pytest.raises(InputError, match="'mask'"):
        interpolation_losses(Masked([1]), Masked([2]), F.cross_entropy, [batch])
