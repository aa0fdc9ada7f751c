"""Eigenvalues and density of the Hessian, against dense float64 Hessians, closed forms and curvlinops."""

import math

import numpy as np
import pytest
import torch
from support.quadratic import LOSS, batchnorm_net, example, hessian
from torch import nn
from torch.nn import functional as F

from aimc_robust import ADC, Crossbar, program
from aimc_robust.analysis.hessian_spectrum import hessian_spectrum, spectral_density
from aimc_robust.errors import DataError, DivergenceError, InputError
from aimc_robust.seeding import global_seed
from aimc_robust.tasks.language_modelling import LanguageModelling


def smooth_net():
    """A network with convolution, BatchNorm and no kink, in float64, with running statistics that are not 0 and 1."""
    with global_seed(0):
        net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)).double()
        net(2.0 * torch.randn(64, 1, 4, 4, dtype=torch.float64) + 1.0)
    return net.eval()


def data(n=30):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 1, 4, 4, generator=generator, dtype=torch.float64), torch.arange(n) % 3


def in_batches(size):
    x, y = data()
    return list(zip(x.split(size), y.split(size), strict=True))


def dense_hessian(model, inputs, labels, loss_fn=F.cross_entropy):
    """The whole Hessian of the loss over all parameters, in the model's order."""
    named = {name: p.detach() for name, p in model.named_parameters()}
    sizes = [p.numel() for p in named.values()]

    def loss(flat):
        parts = [part.view_as(p) for part, p in zip(flat.split(sizes), named.values(), strict=True)]
        return loss_fn(torch.func.functional_call(model, dict(zip(named, parts, strict=True)), (inputs,)), labels)

    return torch.autograd.functional.hessian(loss, torch.cat([p.flatten() for p in named.values()])).numpy()


def flat(eigenvector):
    return torch.cat([part.flatten() for part in eigenvector.values()]).numpy()


def test_with_as_many_steps_as_parameters_every_eigenvalue_is_that_of_the_dense_hessian():
    model, (x, y) = smooth_net(), data()
    exact = np.linalg.eigvalsh(dense_hessian(model, x, y))
    found = hessian_spectrum(model, F.cross_entropy, (x, y), steps=1000, eigenvalues=len(exact))
    assert found.parameters == len(exact) == found.nodes.shape[1]
    np.testing.assert_allclose(found.nodes[0], exact, atol=1e-12 * exact[-1])  # zeros of a rank-deficient one too
    np.testing.assert_allclose(found.eigenvalues, exact[::-1], atol=1e-12 * exact[-1])
    assert found.trace == pytest.approx(found.parameters * found.nodes[0] @ found.weights[0])
    assert math.isnan(found.trace_se)


def test_few_steps_find_the_leading_eigenpairs_within_their_stated_errors():
    model, (x, y) = smooth_net(), data()
    matrix = dense_hessian(model, x, y)
    exact = np.linalg.eigvalsh(matrix)[::-1]
    few, more = (hessian_spectrum(model, F.cross_entropy, (x, y), steps=steps, eigenvalues=3) for steps in (8, 30))
    for found in (few, more):
        for value, error, vector in zip(found.eigenvalues, found.errors, map(flat, found.eigenvectors), strict=True):
            assert np.abs(exact - value).min() <= error + 1e-12
            assert np.linalg.norm(matrix @ vector - value * vector) == pytest.approx(error, abs=1e-12)
            assert np.linalg.norm(vector) == pytest.approx(1.0)
        assert found.eigenvalues[0] <= exact[0] + 1e-12
        assert found.lowest >= exact[-1] - 1e-12
    assert few.errors[2] > 1e-3 * exact[0]  # the bound is not vacuous: too few steps show
    np.testing.assert_allclose(more.eigenvalues, exact[:3], rtol=1e-8)


@pytest.mark.slow
def test_curvlinops_finds_the_same_eigenvalues_and_vectors_in_float32():
    curvlinops = pytest.importorskip("curvlinops", reason="curvlinops is not installed: pip install -e '.[test]'")
    sparse = pytest.importorskip("scipy.sparse.linalg")
    model = smooth_net().float()
    batches = [(x.float(), y) for x, y in in_batches(10)]
    operator = curvlinops.HessianLinearOperator(
        model, nn.CrossEntropyLoss(), list(model.parameters()), batches, check_deterministic=False
    ).to_scipy()
    values, vectors = sparse.eigsh(operator, k=3, which="LA")
    found = hessian_spectrum(model, F.cross_entropy, batches, steps=30, eigenvalues=3)
    np.testing.assert_allclose(found.eigenvalues, values[::-1], rtol=1e-4)
    for ours, theirs in zip(map(flat, found.eigenvectors), vectors.T[::-1], strict=True):
        assert abs(ours @ theirs) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.slow
def test_the_density_is_that_of_all_eigenvalues_and_a_shifted_one_is_not():
    model, (x, y) = smooth_net(), data()
    exact = np.linalg.eigvalsh(dense_hessian(model, x, y))
    width = 0.1 * exact[-1]
    points = np.linspace(exact[0] - 3 * width, exact[-1] + 3 * width, 40)
    probes = 40
    found = hessian_spectrum(model, F.cross_entropy, (x, y), steps=12, probes=probes)
    single = np.array(
        [spectral_density(found.nodes[k : k + 1], found.weights[k : k + 1], points, width=width) for k in range(probes)]
    )
    expected = spectral_density(exact[None], np.full((1, len(exact)), 1 / len(exact)), points, width=width)
    error = single.std(axis=0, ddof=1) / math.sqrt(probes) + 1e-4 * expected.max()
    np.testing.assert_allclose(found.density(points, width=width), single.mean(axis=0))
    assert np.abs((single.mean(axis=0) - expected) / error).max() < 4.5
    assert np.abs((single.mean(axis=0) - np.roll(expected, 1)) / error).max() > 9.0
    assert abs(found.trace - exact.sum()) < 4.5 * found.trace_se
    np.testing.assert_allclose(found.weights.sum(axis=1), 1.0)
    fine = np.linspace(exact[0] - 9 * width, exact[-1] + 9 * width, 4001)
    assert np.trapezoid(found.density(fine, width=width), fine) == pytest.approx(1.0, abs=1e-6)


def test_the_batch_size_changes_rounding_only():
    model = smooth_net()
    whole, parts = (hessian_spectrum(model, F.cross_entropy, in_batches(size), steps=12) for size in (30, 7))
    np.testing.assert_allclose(whole.nodes, parts.nodes, rtol=1e-9, atol=1e-12)
    again = hessian_spectrum(model, F.cross_entropy, in_batches(7), steps=12)
    assert np.array_equal(parts.nodes, again.nodes)
    other = hessian_spectrum(model, F.cross_entropy, in_batches(7), steps=12, seed=1)
    assert not np.allclose(parts.nodes, other.nodes)
    assert other.eigenvalues[0] == pytest.approx(parts.eigenvalues[0], rel=1e-6)  # whatever the start


def test_an_eigenvalue_of_three_outputs_is_found_three_times_and_has_the_closed_form():
    model, batch = example()  # block diagonal: every eigenvalue once per output
    exact = np.linalg.eigvalsh(hessian(batch[0]))
    found = hessian_spectrum(model, LOSS, [batch], eigenvalues=15)
    np.testing.assert_allclose(found.eigenvalues, exact[::-1], rtol=1e-9)


def test_a_loss_without_curvature_has_zeros():
    model, (x, y) = example()
    found = hessian_spectrum(model, lambda outputs, labels: outputs.mean(), [(x, y)])
    assert found.eigenvalues == (0.0,) * 5
    assert found.trace == 0.0


def test_scope_weights_leaves_out_biases_and_batchnorm():
    model, batch = batchnorm_net(), (torch.randn(20, 1, 6, 6), torch.arange(20) % 3)
    found = hessian_spectrum(model, F.cross_entropy, [batch], steps=5, scope="weights")
    assert list(found.eigenvectors[0]) == ["0.weight", "3.weight"]
    assert found.parameters == 36 + 192


def test_the_model_is_left_bit_for_bit():
    model = batchnorm_net().train()
    model[0].bias.requires_grad_(False)
    batch = torch.randn(20, 1, 6, 6), torch.arange(20) % 3
    F.cross_entropy(model(batch[0]), batch[1]).backward()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    hessian_spectrum(model, F.cross_entropy, [batch], steps=3, eigenvalues=1)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert [p.requires_grad for p in model.parameters()] == [True, False] + [True] * 4
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert (parameter.grad is None) if gradient is None else torch.equal(parameter.grad, gradient)


def test_a_task_counts_its_items_and_leaves_out_what_it_ignores():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 7)).double()
    tokens = torch.randint(0, 7, (6, 5))
    labels = tokens.clone()
    labels[0, 1:] = labels[1] = -100
    whole = hessian_spectrum(model, LanguageModelling(), [(tokens, labels)], steps=6)
    parts = hessian_spectrum(model, LanguageModelling(), [(tokens[:1], labels[:1]), (tokens[1:], labels[1:])], steps=6)
    np.testing.assert_allclose(whole.nodes, parts.nodes, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"steps": 3, "eigenvalues": 4}, InputError, "eigenvalues"),
        ({"probes": 0}, InputError, "probes"),
        ({"batches": []}, DataError, "at least one batch"),
        ({"model": smooth_net().half()}, InputError, "float16"),
        ({"loss_fn": lambda outputs, labels: (outputs / 0.0).sum()}, DivergenceError, "not finite"),
        ({"scope": "biases"}, LookupError, "biases"),
    ],
    ids=["too many", "no probe", "no data", "half", "not finite", "scope"],
)
def test_what_cannot_be_is_refused(change, error, words):
    arguments = {"model": smooth_net(), "loss_fn": F.cross_entropy, "batches": in_batches(30)} | change
    with pytest.raises(error, match=words):
        hessian_spectrum(**arguments)


def test_a_programmed_chip_has_the_spectrum_of_its_weights_and_arrays_have_none():
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    batch = torch.randn(20, 4), torch.arange(20) % 3
    chip = program(model, Crossbar("sonos-agrawal2022", read_noise=False))
    plain = nn.Linear(4, 3)
    plain.load_state_dict(chip.state_dict())
    found, expected = (hessian_spectrum(one, F.cross_entropy, [batch]).nodes for one in (chip, plain))
    assert np.array_equal(found, expected)
    assert not np.allclose(found, hessian_spectrum(model, F.cross_entropy, [batch]).nodes)
    for arrays in (Crossbar("sonos-agrawal2022"), Crossbar("sonos-agrawal2022", adc=ADC(bits=8), read_noise=False)):
        with pytest.raises(InputError, match="computes in arrays"):
            hessian_spectrum(program(model, arrays), F.cross_entropy, [batch])


@pytest.mark.parametrize("width", [0.0, -1.0, math.nan])
def test_a_density_needs_a_width(width):
    model, batch = example()
    with pytest.raises(InputError, match="width"):
        hessian_spectrum(model, LOSS, [batch]).density([0.0], width=width)
