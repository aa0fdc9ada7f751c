"""Hutchinson's diagonal of the Hessian, against exact Hessians and closed forms in float64."""

import pytest
import torch
from support.hessian import hessian_diagonal
from support.quadratic import LOSS, batchnorm_net, example, hessian
from torch import nn
from torch.nn import functional as F

from aimc_robust.analysis.hutchinson import contract_hessian
from aimc_robust.errors import DataError, InputError, UnknownNameError
from aimc_robust.seeding import global_seed


def smooth_net():
    """A network with a convolution and no kink, in float64."""
    with global_seed(0):
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)).double()


def data(n=30):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 1, 4, 4, generator=generator, dtype=torch.float64), torch.arange(n) % 3


def exact_diagonal(model, batches):
    """The whole Hessian of the mean cross-entropy over all images, its diagonal by parameter name."""
    inputs, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    weights = {name: p.detach() for name, p in model.named_parameters() if name.endswith("weight")}
    sizes = [w.numel() for w in weights.values()]

    def loss(flat):
        parts = [part.view_as(w) for part, w in zip(flat.split(sizes), weights.values(), strict=True)]
        outputs = torch.func.functional_call(model, dict(zip(weights, parts, strict=True)), (inputs,))
        return F.cross_entropy(outputs, labels)

    flat = torch.cat([w.flatten() for w in weights.values()])
    diagonal = torch.autograd.functional.hessian(loss, flat).diagonal()
    return {name: d.view_as(w) for (name, w), d in zip(weights.items(), diagonal.split(sizes), strict=True)}


def batches_of_three():
    x, y = data()
    return [(x[:5], y[:5]), (x[5:17], y[5:17]), (x[17:], y[17:])]


@pytest.mark.slow
def test_the_estimate_is_unbiased_and_a_wrong_diagonal_is_not():
    model, batches = smooth_net(), batches_of_three()
    exact = exact_diagonal(model, batches)
    runs = [hessian_diagonal(model, batches, seed=seed, probes=10) for seed in range(80)]
    for name, wanted in exact.items():
        found = torch.stack([run[name] for run in runs])
        error = found.std(0) / len(runs) ** 0.5
        assert float(((found.mean(0) - wanted) / error).abs().max()) < 4.5
        assert float(((found.mean(0) - 2.0 * wanted) / error).abs().max()) > 6.5


def test_a_linear_model_with_quadratic_loss_has_its_closed_form():
    model, batch = example()
    wanted = torch.from_numpy(hessian(batch[0]).diagonal().copy()).view_as(model.weight)
    found = torch.stack([hessian_diagonal(model, [batch], loss_fn=LOSS, seed=s)["weight"] for s in range(400)])
    error = found.std(0) / 20
    assert float(((found.mean(0) - wanted) / error).abs().max()) < 4.5


def test_a_diagonal_hessian_is_found_by_one_probe():
    model = nn.Linear(4, 1, bias=False, dtype=torch.float64)
    x = torch.eye(4, dtype=torch.float64)
    found = hessian_diagonal(model, [(x, torch.zeros(4, 1).double())], loss_fn=nn.MSELoss())
    torch.testing.assert_close(found["weight"], torch.full((1, 4), 0.5, dtype=torch.float64))


def test_the_contraction_is_that_of_the_diagonal_for_every_weighting():
    model, batches = smooth_net(), batches_of_three()
    diagonal = hessian_diagonal(model, batches, seed=3, probes=2)
    generator = torch.Generator().manual_seed(0)
    first = {name: torch.rand(d.shape, generator=generator) for name, d in diagonal.items()}
    second = {"0.weight": torch.ones(2, 1, 3, 3)}
    found = contract_hessian(model, batches, [first, second], seed=3, probes=2)
    assert found.names == ("0.weight", "3.weight")
    for row, weighting in zip(found.per_parameter, (first, second), strict=True):
        wanted = [float((diagonal[name] * weighting[name]).sum()) if name in weighting else 0.0 for name in found.names]
        assert row.tolist() == pytest.approx(wanted, rel=1e-9)
    assert found.images.tolist() == [5, 12, 13]


@pytest.mark.slow
@pytest.mark.parametrize("probes", [1, 4])
def test_the_standard_error_is_the_scatter_of_estimates(probes):
    model = smooth_net()
    x, y = data(160)
    batches = list(zip(x.split(20), y.split(20), strict=True))
    weighting = {name: torch.ones_like(p) for name, p in model.named_parameters() if name.endswith("weight")}
    runs = [contract_hessian(model, batches, [weighting], seed=seed, probes=probes) for seed in range(50)]
    scatter = float(torch.stack([run.total[0] for run in runs]).std())
    stated = float(torch.stack([run.standard_error()[0] for run in runs]).mean())
    low, high = (0.75, 1.35) if probes > 1 else (0.75, 2.5)  # with one probe it holds the spread of images too
    assert low * scatter < stated < high * scatter


@pytest.mark.slow
def test_the_standard_error_covers_images_that_were_left_out():
    """Parts of a large set scatter by probes and by images; the stated error of a part is that of both."""
    model = smooth_net()
    x, y = data(2500)
    weighting = {"3.weight": torch.ones(3, 8)}
    runs = []
    for part in range(50):
        batches = list(zip(x[part * 50 :][:50].split(5), y[part * 50 :][:50].split(5), strict=True))
        runs.append(contract_hessian(model, batches, [weighting], seed=part, probes=4))
    scatter = float(torch.stack([run.total[0] for run in runs]).std())
    part, whole = (
        float(torch.stack([run.standard_error(sampled_fraction=share)[0] for run in runs]).square().mean().sqrt())
        for share in (0.0, 1.0)
    )
    assert 0.8 * scatter < part < 1.25 * scatter
    assert whole < 0.8 * part
    half = [float(run.standard_error(sampled_fraction=0.5)[0]) for run in runs]
    assert float(torch.tensor(half).square().mean()) == pytest.approx((part**2 + whole**2) / 2)


def test_one_probe_of_one_batch_has_no_standard_error():
    found = contract_hessian(smooth_net(), [data()], [{"3.weight": torch.ones(3, 8)}])
    assert found.standard_error().isnan().all()


def test_a_layers_signs_do_not_depend_on_what_else_is_asked_for():
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False)).double()
    batch = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64), torch.zeros(5, 2)

    def separable(outputs, _):  # of each weight by itself: H is block diagonal, and one layer's d its own signs' alone
        return model[0].weight.sum().square() + model[1].weight.sum().square() + 0 * outputs.sum()

    both = hessian_diagonal(model, [batch], loss_fn=separable)
    alone = hessian_diagonal(model, [batch], loss_fn=separable, scope=lambda name, p: name == "1.weight")
    assert torch.equal(alone["1.weight"], both["1.weight"])
    other = hessian_diagonal(model, [batch], loss_fn=separable, seed=1)
    assert not torch.equal(other["1.weight"], both["1.weight"])


def test_each_batch_and_probe_has_signs_of_its_own():
    batch = data()
    found = contract_hessian(smooth_net(), [batch, batch], [{"0.weight": torch.ones(2, 1, 3, 3)}], probes=3)
    assert len(set(found.values.flatten().tolist())) == 6


NETS = {
    "attention": lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.5, batch_first=True, dtype=torch.float64),
    "lstm": lambda: _Last(nn.LSTM(4, 3, batch_first=True, dtype=torch.float64)),
}


class _Last(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_attention_and_recurrent_layers_are_differentiated_twice(name):
    with global_seed(0):
        model = NETS[name]()
    x = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def square(outputs, _):
        return outputs.pow(3).mean()

    parameter = next(n for n, p in model.named_parameters() if p.ndim == 2)
    weight = dict(model.named_parameters())[parameter]
    runs = [
        hessian_diagonal(model, [(x, x)], loss_fn=square, seed=s, scope=lambda n, p: n == parameter)[parameter]
        for s in range(200)
    ]
    found, h, exact = torch.stack(runs), 1e-4, []
    model.eval()
    with torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        for place in range(3):  # central differences along single weights
            losses = []
            for step in (-h, 0.0, h):
                weight.view(-1)[place] += step
                losses.append(float(square(model(x), None)))
                weight.view(-1)[place] -= step
            exact.append((losses[0] - 2 * losses[1] + losses[2]) / h**2)
    first = found.flatten(1)[:, :3]
    score = (first.mean(0) - torch.tensor(exact).double()) / (first.std(0) / len(runs) ** 0.5 + 1e-6)
    assert float(score.abs().max()) < 4.5


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_bit_for_bit_in_its_mode_and_with_its_flags(training):
    model = batchnorm_net().train(training)
    model[0].weight.requires_grad_(False)
    batch = torch.randn(20, 1, 6, 6), torch.arange(20) % 3
    model[3].weight.grad = torch.ones_like(model[3].weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rng = torch.get_rng_state()
    with torch.no_grad():
        found = hessian_diagonal(model, [batch, batch])
        assert not torch.is_grad_enabled()
    assert set(found) == {"0.weight", "3.weight"}
    assert all(d.any() and not d.requires_grad for d in found.values())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(module.training == training for module in model.modules())
    assert [p.requires_grad for p in model.parameters()] == [False, *[True] * 5]
    assert torch.equal(model[3].weight.grad, torch.ones_like(model[3].weight))
    assert model[0].weight.grad is None
    assert torch.equal(rng, torch.get_rng_state())


def test_the_model_is_restored_when_a_loss_raises():
    model = batchnorm_net().train()

    def broken(outputs, labels):
        raise KeyError("of the user's own")

    with pytest.raises(KeyError, match="own"):
        hessian_diagonal(model, [(torch.randn(4, 1, 6, 6), torch.zeros(4).long())], loss_fn=broken)
    assert all(module.training for module in model.modules())


def test_a_parameter_that_the_loss_ignores_has_no_curvature():
    model = smooth_net()
    model.unused = nn.Linear(2, 2).double()
    model.forward = lambda x: nn.Sequential.forward(model[:4], x)
    found = contract_hessian(model, [data()], [{"unused.weight": torch.ones(2, 2), "3.weight": torch.ones(3, 8)}])
    assert found.per_parameter[0, 0] == 0.0
    assert found.per_parameter[0, 1] != 0.0


class _OnceOnly(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return grad * 2


class _Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def _fused_attention(x):
    heads = x.view(len(x), 1, -1, 1)
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(heads, heads, heads)[0].flatten(1)


@pytest.mark.parametrize("function", [_OnceOnly.apply, _fused_attention], ids=["once only", "not implemented"])
def test_what_has_no_second_derivative_is_refused(function):
    model = nn.Sequential(smooth_net(), _Applied(function))
    with pytest.raises(InputError, match="twice"):
        hessian_diagonal(model, [data()])


def test_what_cannot_be_is_refused():
    model = smooth_net()
    with pytest.raises(DataError, match="batch"):
        hessian_diagonal(model, [])
    with pytest.raises(UnknownNameError, match=r"'3.wieght'.*'3.weight'"):
        contract_hessian(model, [data()], [{"3.wieght": torch.ones(3, 8)}])
    with pytest.raises(InputError, match="probes"):
        hessian_diagonal(model, [data()], probes=0)
