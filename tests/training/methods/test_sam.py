"""SAM and adaptive SAM against their formulas in float64: one norm, parts of m, batches, invariance to rescaling."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.for_each import for_each
from support.training_oracles import LOSS, ascended, batches, check, gradient_at, loss_at, mix, net, weights
from torch import nn

from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.sam import SAM, AdaptiveSAM

METHODS = [(SAM, None), (AdaptiveSAM, 0.01), (AdaptiveSAM, 0.0), (AdaptiveSAM, 0.3)]
IDS = ["sam", "asam", "asam eta=0", "asam eta=0.3"]


def made(kind, eta, rho=0.5, **more):
    return kind(rho=rho, **more) if eta is None else kind(rho=rho, eta=eta, **more)


@pytest.mark.parametrize(("kind", "eta"), METHODS, ids=IDS)
def test_it_is_the_gradient_after_an_ascent_over_one_global_norm(kind, eta):
    batch = batches()[0]
    check(made(kind, eta), gradient_at(ascended(0.5, batch, eta=eta), batch))


@pytest.mark.parametrize(("kind", "eta"), METHODS, ids=IDS)
def test_a_ramp_shortens_the_ascent(kind, eta):
    batch = batches()[0]
    ramp = Ramp(shape="quadratic", updates=8)
    check(made(kind, eta, rho=2.0, ramp=ramp), gradient_at(ascended(0.5, batch, eta=eta), batch), step=2)


@pytest.mark.parametrize(("kind", "eta"), METHODS, ids=IDS)
def test_a_norm_over_all_parameters_would_be_seen(kind, eta):
    batch = batches()[0]
    with pytest.raises(AssertionError):
        check(made(kind, eta), gradient_at(ascended(0.5, batch, norm_over=list(weights()), eta=eta), batch))


@pytest.mark.parametrize(("kind", "eta"), METHODS, ids=IDS)
def test_different_batches_ascend_on_the_first_and_descend_on_the_second(kind, eta):
    first, second = batches(2)
    check(made(kind, eta, batches="different"), gradient_at(ascended(0.5, first, eta=eta), second), [first, second])


def cut(batch, m):
    inputs, targets = batch
    return [(inputs[k : k + m], targets[k : k + m]) for k in range(0, len(inputs), m)]


def mean_over_parts(ascent, descent, m, eta):
    pairs = list(zip(cut(ascent, m), cut(descent, m), strict=True))
    return mix(*[(len(on[1]) / 32, gradient_at(ascended(0.5, up, eta=eta), on)) for up, on in pairs])


@for_each("different", [False, True])
@for_each("m", [8, 12, 31, 32, 100])
@for_each(("kind", "eta"), METHODS[:2])
def test_m_cuts_the_batch_and_weighs_each_part_by_its_images(kind, eta, m, different):
    # 32 images in parts of 12: 12, 12 and 8. A mean over parts would weigh the last one too much.
    pair = batches(2) if different else batches(1) * 2
    method = made(kind, eta, m=m, batches="different" if different else "same")
    check(method, mean_over_parts(*pair, m, eta), pair[: method.batches_per_update])


def test_parts_weighed_alike_or_one_ascent_for_all_would_be_seen():
    batch = batches()[0]
    alike = mix(*[(1 / 3, gradient_at(ascended(0.5, part), part)) for part in cut(batch, 12)])
    with pytest.raises(AssertionError):
        check(SAM(rho=0.5, m=12), alike)
    with pytest.raises(AssertionError):
        check(SAM(rho=0.5, m=12), gradient_at(ascended(0.5, batch), batch))


def test_the_returned_loss_is_the_mean_over_the_parts():
    batch = batches()[0]
    expected = sum(len(part[1]) / 32 * loss_at(ascended(0.5, part), part) for part in cut(batch, 12))
    assert SAM(rho=0.5, m=12).backward(net(), LOSS, [batch], step=1).item() == pytest.approx(expected, rel=1e-9)


def test_sam_of_a_linear_model_matches_its_closed_form():
    # Without autograd on the expected side: L = mean((x W' - y)^2), grad = 2/(n o) (x W' - y)' x.
    rng = np.random.default_rng(0)
    w, x, y = rng.normal(size=(3, 5)), rng.normal(size=(7, 5)), rng.normal(size=(7, 3))

    def gradient(w):
        return 2 / y.size * (x @ w.T - y).T @ x

    g, size = gradient(w), abs(w) + 0.01
    expected = {SAM: w + 0.7 * g / np.linalg.norm(g), AdaptiveSAM: w + 0.7 * size**2 * g / np.linalg.norm(size * g)}
    for kind, moved in expected.items():
        model = nn.Linear(5, 3, bias=False, dtype=torch.float64)
        model.weight.data = torch.tensor(w)
        kind(rho=0.7).backward(model, nn.MSELoss(), [(torch.tensor(x), torch.tensor(y))], step=1)
        np.testing.assert_allclose(model.weight.grad, gradient(moved), rtol=1e-9)


@pytest.mark.parametrize("kind", [SAM, AdaptiveSAM])
def test_it_stays_where_it_is_when_the_gradient_is_zero(kind):
    model, seen = nn.Linear(2, 2, bias=False), []

    def loss_fn(output, _):
        seen.append(model.weight.detach().clone())
        return 0.0 * output.sum()

    kind(rho=1.0).backward(model, loss_fn, [(torch.ones(1, 2), None)], step=1)
    assert torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("kind", [SAM, AdaptiveSAM])
def test_it_leaves_unused_and_frozen_weights_out_of_its_norm(kind):
    model = nn.ModuleDict({"used": nn.Linear(2, 1), "unused": nn.Linear(2, 1), "frozen": nn.Linear(1, 1)})
    model["frozen"].requires_grad_(False)
    model.forward = lambda x: model["frozen"](model["used"](x))
    before, seen = model["used"].weight.detach().clone(), []

    def loss_fn(output, _):
        seen.append(model["used"].weight.detach().clone())
        return output.sum()

    kind(rho=0.5).backward(model, loss_fn, [(torch.ones(4, 2), None)], step=1)
    size = before.abs() + 0.01 if kind is AdaptiveSAM else 1.0
    assert torch.linalg.vector_norm((seen[1] - before) / size).item() == pytest.approx(0.5, rel=1e-5)
    assert model["frozen"].weight.grad is None
    assert model["unused"].weight.grad is None


@given(
    widths=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    rho=st.floats(1e-3, 10.0),
    every=st.booleans(),
    eta=st.none() | st.sampled_from([0.01, 0.5]),
)
def test_the_perturbation_has_length_rho_over_the_scope(widths, rho, every, eta):
    layers = [nn.Linear(n, k) for n, k in itertools.pairwise(widths)]
    model, seen = nn.Sequential(*layers, nn.Tanh()).double(), []
    before = {name: p.detach().clone() for name, p in model.named_parameters()}

    def loss_fn(output, _):
        seen.append({name: p.detach().clone() for name, p in model.named_parameters()})
        return output.sin().sum()

    kind = SAM if eta is None else AdaptiveSAM
    method = made(kind, eta, rho=rho, scope="all" if every else "weights")
    method.backward(model, loss_fn, [(torch.ones(4, widths[0], dtype=torch.float64), None)], step=1)
    moves = {name: (seen[1][name] - w) / (1.0 if eta is None else w.abs() + eta) for name, w in before.items()}
    assert math.sqrt(sum(float(move.square().sum()) for move in moves.values())) == pytest.approx(rho, rel=1e-7)
    assert every or not any(move.any() for name, move in moves.items() if name.endswith("bias"))


@pytest.mark.parametrize(("kind", "invariant"), [(AdaptiveSAM, True), (SAM, False)])
def test_only_the_adaptive_radius_does_not_see_a_rescaling_of_layers(kind, invariant):
    # relu(a W1 x) W2 / a is the same function for every a > 0; a radius in units of the weights sees it differently.
    torch.manual_seed(3)
    one = nn.Sequential(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 4, bias=False)).double()
    other = copy.deepcopy(one)
    with torch.no_grad():
        other[0].weight.mul_(7.0)
        other[2].weight.div_(7.0)
    batch = [(torch.randn(16, 6, dtype=torch.float64), torch.arange(16) % 4)]
    torch.testing.assert_close(one(batch[0][0]), other(batch[0][0]))
    method = AdaptiveSAM(rho=0.5, eta=0.0) if kind is AdaptiveSAM else SAM(rho=0.5)
    losses = [method.backward(model, LOSS, batch, step=1).item() for model in (one, other)]
    assert (losses[0] == pytest.approx(losses[1], rel=1e-9)) is invariant
    # At a minimum distance from the clean loss, so that an ascent that does nothing is no invariance.
    assert losses[0] > 1.02 * LOSS(one(batch[0][0]), batch[0][1]).item()


def test_a_weight_of_zero_moves_by_eta_alone():
    model, seen = nn.Linear(3, 1, bias=False).double(), []
    model.weight.data = torch.tensor([[0.0, 1.0, -2.0]], dtype=torch.float64)

    def loss_fn(output, _):
        seen.append(model.weight.detach().clone())
        return output.sum()

    for eta in (0.0, 0.5):
        AdaptiveSAM(rho=1.0, eta=eta).backward(model, loss_fn, [(torch.ones(1, 3).double(), None)], step=1)
    assert seen[1][0, 0] == 0.0
    norm = math.sqrt(0.5**2 + 1.5**2 + 2.5**2)
    assert seen[3][0].tolist() == pytest.approx([0.25 / norm, 1 + 2.25 / norm, -2 + 6.25 / norm], rel=1e-9)
