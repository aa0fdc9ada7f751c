"""The expected rise of a loss under Gaussian errors: exact Hessians in float64, kinks, layers, any batches."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from aimc_robust.analysis.expected_rise import ExpectedRise, expected_rise, mean_gradient
from aimc_robust.devices.moments import Moments
from aimc_robust.errors import DataError, UnknownNameError
from aimc_robust.seeding import global_seed


def smooth():
    return _built(lambda: nn.Sequential(nn.Conv2d(1, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(96, 4)))


def kinked():
    """ReLU and max pooling before an output far above its target: bending up at a kink raises the loss."""
    model = _built(
        lambda: nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 4))
    )
    with torch.no_grad():
        model[-1].weight.abs_()
        model[-1].bias.fill_(2.0)
    return model


def _built(make):
    with global_seed(0):
        return make().double()


def data(n=40):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 1, 6, 6, generator=generator, dtype=torch.float64), torch.zeros(n, 4, dtype=torch.float64)


def rise_of(model, parts, errors, seed=0):
    return expected_rise(model, parts, errors, loss_fn=F.mse_loss, seed=seed)


def moments_of(model, width):
    return {
        name: Moments(p.detach().clone(), torch.full_like(p, width**2))
        for name, p in model.named_parameters()
        if p.ndim > 1
    }


def parts_of(batch, size):
    return [[part] for part in zip(*(x.split(size) for x in batch), strict=True)]


def automatic_rise(model, batch, moments):
    """1/2 sum_i Var_i H_ii of each weight, with the whole Hessian of automatic differentiation."""
    weights = [p.detach() for name, p in model.named_parameters() if name in moments]
    sizes = [w.numel() for w in weights]

    def loss(flat):
        shaped = [part.view_as(w) for part, w in zip(flat.split(sizes), weights, strict=True)]
        outputs = torch.func.functional_call(model, dict(zip(moments, shaped, strict=True)), (batch[0],))
        return F.mse_loss(outputs, batch[1])

    hessian = torch.autograd.functional.hessian(loss, torch.cat([w.flatten() for w in weights]))
    variances = torch.cat([moment.variance.flatten() for moment in moments.values()])
    return [float(part.sum()) / 2 for part in (hessian.diagonal() * variances).split(sizes)]


def simulated_rise(model, batch, moments, draws):
    """Mean and standard error of L(m + z) - L(m), over mirrored draws of z."""
    generator = torch.Generator().manual_seed(5)
    sizes = [moment.mean.numel() for moment in moments.values()]
    mean = torch.cat([moment.mean.flatten() for moment in moments.values()])
    std = torch.cat([moment.variance.sqrt().flatten() for moment in moments.values()])

    def loss(flat):
        shaped = [w.view_as(m.mean) for w, m in zip(flat.split(sizes), moments.values(), strict=True)]
        outputs = torch.func.functional_call(model, dict(zip(moments, shaped, strict=True)), (batch[0],))
        return F.mse_loss(outputs, batch[1])

    with torch.no_grad():
        z = torch.randn(draws, len(mean), generator=generator, dtype=torch.float64) * std
        rises = torch.func.vmap(lambda d: (loss(mean + d) + loss(mean - d)) / 2 - loss(mean), chunk_size=500)(z)
    return float(rises.mean()), float(rises.std()) / draws**0.5


def test_for_small_errors_of_a_smooth_network_it_is_half_the_trace_in_every_layer():
    model, batch = smooth(), data()
    moments = moments_of(model, 1e-3)
    draws = rise_of(model, [[batch]] * 40, [moments]).values[0].flatten(1)
    error = draws.std(1) / draws.shape[1] ** 0.5
    exact = torch.tensor(automatic_rise(model, batch, moments), dtype=torch.float64)
    assert float(((draws.mean(1) - exact) / error).abs().max()) < 4
    assert float(((draws.mean(1) - 2 * exact) / error).abs().min()) > 8
    assert float((error / exact).max()) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("make", "width"), [(kinked, 0.02), (kinked, 0.2), (smooth, 0.7)])
def test_it_is_what_a_simulation_finds_where_the_automatic_hessian_fails(make, width):
    """At kinks the automatic Hessian fails at every width; in a smooth network at large ones only."""
    model, batch = make(), data()
    moments = moments_of(model, width)
    simulated, simulated_error = simulated_rise(model, batch, moments, 4000)
    found = rise_of(model, [[batch]] * 40, [moments])
    tolerance = 4 * (float(found.standard_error()[0]) ** 2 + simulated_error**2) ** 0.5
    assert tolerance < 0.2 * simulated
    assert float(found.total[0]) == pytest.approx(simulated, abs=tolerance)
    assert sum(automatic_rise(model, batch, moments)) != pytest.approx(simulated, abs=1.5 * tolerance)


def test_it_does_not_depend_on_how_parts_are_cut_into_batches():
    model, (x, y) = kinked(), data()
    moments = moments_of(model, 0.2)
    whole = rise_of(model, [[(x[:20], y[:20])], [(x[20:], y[20:])]], [moments])
    pieces = [[(x[:3], y[:3]), (x[3:20], y[3:20])], parts_of((x[20:], y[20:]), 9)]
    pieces[1] = [piece for part in pieces[1] for piece in part]
    cut = rise_of(model, pieces, [moments])
    torch.testing.assert_close(cut.values, whole.values, rtol=1e-10, atol=1e-14)
    assert cut.items.tolist() == whole.items.tolist() == [20, 20]
    assert not torch.allclose(rise_of(model, pieces, [moments], seed=1).values, whole.values)


def test_errors_share_their_random_numbers_and_do_not_touch_each_other():
    model, batch = kinked(), data()
    first, second = moments_of(model, 0.1), {"0.weight": moments_of(model, 0.3)["0.weight"]}
    both = rise_of(model, parts_of(batch, 20), [first, second, {}])
    alone = rise_of(model, parts_of(batch, 20), [second])
    assert both.names == ("0.weight", "4.weight")
    assert torch.equal(both.values[1, :1], alone.values[0])
    assert both.values[0].all()
    assert both.per_parameter[1, 1] == 0.0
    assert both.total[2] == 0.0


@pytest.mark.slow
@pytest.mark.parametrize(("fraction", "image_spread"), [(1.0, 0.0), (0.0, 3.0), (0.5, 3.0)])
def test_the_stated_error_is_the_scatter_of_estimates(fraction, image_spread):
    """Synthetic estimates: parts differ by their images, draws within a part by z."""
    generator = torch.Generator().manual_seed(0)
    items = torch.tensor([5.0, 5.0, 5.0, 2.0] * 5, dtype=torch.float64)
    totals, stated = [], []
    for _ in range(2000):
        images = image_spread * (1 - fraction) ** 0.5 * torch.randn(20, 1, generator=generator)
        left = image_spread * fraction**0.5 * torch.randn(20, 1, generator=torch.Generator().manual_seed(1))
        values = (images + left + 2.0 * torch.randn(20, 2, generator=generator)).double()
        rise = ExpectedRise(("w",), values[None, None], items)
        totals.append(rise.total)
        stated.append(rise.standard_error(sampled_fraction=fraction).square())
    scatter, error = float(torch.stack(totals).std()), float(torch.stack(stated).mean().sqrt())
    assert error == pytest.approx(scatter, rel=0.12)


def test_a_fraction_of_the_images_in_one_part_has_no_error():
    rise = ExpectedRise(("w",), torch.tensor([[[[1.0, 2.0]]]]).double(), torch.tensor([5.0]).double())
    assert rise.standard_error(sampled_fraction=0.5).isnan().all()
    assert rise.standard_error().tolist() == [0.5]


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_bit_for_bit_in_its_mode_and_with_its_flags(training):
    model = nn.Sequential(smooth(), nn.BatchNorm1d(4).double()).train(training)
    model[0][0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    moments = moments_of(model, 0.1)
    with torch.no_grad():
        found = rise_of(model, [[data()]], [moments])
    assert found.values.all()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training == training for module in model.modules())
    assert [p.requires_grad for p in model.parameters()] == [False, *[True] * 5]
    assert all(p.grad is None for p in model.parameters())


def test_the_mean_gradient_is_that_of_all_data_at_the_given_weights():
    model, batch = smooth(), data()
    weights = {name: p.detach() + 0.1 for name, p in model.named_parameters() if p.ndim > 1}
    found = mean_gradient(model, [part[0] for part in parts_of(batch, 7)], weights, loss_fn=F.mse_loss)
    twin = smooth()
    twin.load_state_dict({**twin.state_dict(), **weights})
    F.mse_loss(twin(batch[0]), batch[1]).backward()
    for name, parameter in twin.named_parameters():
        if name in weights:
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-10, atol=1e-14)


def test_what_cannot_be_is_refused():
    model = smooth()
    moments = moments_of(model, 0.1)
    with pytest.raises(DataError, match="batch"):
        rise_of(model, [], [moments])
    with pytest.raises(UnknownNameError, match=r"'3.wieght'.*'3.weight'"):
        rise_of(model, [[data()]], [{"3.wieght": moments["3.weight"]}])
