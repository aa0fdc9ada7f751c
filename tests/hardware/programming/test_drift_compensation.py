"""Digital corrections: one factor per layer against drift, BatchNorm statistics estimated anew on the chip."""

import copy

import pytest
import torch
from support.folding import stirred
from support.models import fill
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from aimc_robust import DAC, Crossbar, Deployment, evaluate, program, recalibrate_batchnorm
from aimc_robust.errors import DataError, InputError, UnknownNameError

DAY_S = 86400.0
COMPENSATED = Deployment(compensation=("drift",))
PCM = Crossbar("pcm-nandakumar2019", read_noise=False)


@pytest.mark.parametrize("arrays", [False, True], ids=["weights", "arrays"])
def test_one_factor_per_layer_undoes_most_of_a_days_drift(arrays):
    crossbar = Crossbar("pcm-nandakumar2019", read_noise=False, dac=DAC(kind="ideal")) if arrays else PCM
    model = fill(nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 20)))

    def error(**options: object) -> float:
        analog = program(model, crossbar, **options)
        return sum(float((analog[i].weight - model[i].weight).detach().square().mean().sqrt()) for i in (0, 1))

    fresh, aged, corrected = error(), error(time_s=DAY_S), error(time_s=DAY_S, deployment=COMPENSATED)
    assert aged > 3.0 * fresh
    assert corrected < 0.5 * aged  # exponents differ from cell to cell, which no factor undoes
    assert error(deployment=COMPENSATED) == fresh  # nothing to correct at time 0


@pytest.mark.parametrize("scaling", ["layer", "column"])
def test_the_factor_is_mean_magnitude_before_over_after(scaling):
    crossbar = Crossbar("pcm-nandakumar2019", read_noise=False, scaling=scaling)
    layer = fill(nn.Linear(40, 30)).double()
    fresh, aged = program(layer, crossbar).weight, program(layer, crossbar, time_s=DAY_S).weight
    want = aged * fresh.abs().mean() / aged.abs().mean()
    for arrays in (crossbar, Crossbar("pcm-nandakumar2019", read_noise=False, scaling=scaling, dac=DAC(kind="ideal"))):
        got = program(layer, arrays, time_s=DAY_S, deployment=COMPENSATED)
        torch.testing.assert_close(got.weight, want, rtol=1e-9, atol=0)


@pytest.mark.parametrize("mapping", ["one-sided", "two-sided", "offset"])
def test_compensated_arrays_compute_what_compensated_weights_do(mapping):
    layer = fill(nn.Linear(12, 8)).double()
    x = torch.randn(5, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    options = {"mapping": mapping, "read_noise": False, "bias_rows": 1}
    both = [
        program(layer, Crossbar("pcm-nandakumar2019", dac=dac, **options), time_s=DAY_S, deployment=COMPENSATED)(x)
        for dac in (None, DAC(kind="ideal"))
    ]
    torch.testing.assert_close(both[0], both[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("mapping", ["one-sided", "two-sided", "offset", "bit-sliced"])
@pytest.mark.parametrize("path", ["weights", "arrays"])
def test_compensation_helps_every_mapping(mapping, path):
    torch.manual_seed(0)
    layer, x = nn.Linear(64, 32).requires_grad_(False), torch.randn(50, 64)
    dac = DAC(kind="ideal") if path == "arrays" else None
    crossbar = Crossbar("pcm-nandakumar2019", read_noise=False, mapping=mapping, dac=dac)

    def error(**options: object) -> float:
        y = program(layer, crossbar, time_s=1e6, **options)(x)
        return float((y - layer(x)).norm() / layer(x).norm())

    assert error(deployment=COMPENSATED) < 0.7 * error()


def test_an_all_zero_layer_is_not_divided_by_zero():
    layer = nn.Linear(4, 3)
    nn.init.zeros_(layer.weight)
    for dac in (None, DAC(kind="ideal")):
        crossbar = Crossbar("pcm-nandakumar2019", read_noise=False, dac=dac)
        analog = program(layer, crossbar, time_s=DAY_S, deployment=COMPENSATED)
        assert torch.equal(analog(torch.randn(2, 4)), layer.bias.expand(2, 3))


def network(kept: bool) -> nn.Module:
    """A network whose BatchNorms are all folded or, behind a ReLU, kept."""
    between = [nn.ReLU()] if kept else []
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3), *between, nn.BatchNorm2d(6, eps=1e-3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5)
    )
    return stirred(fill(model)).eval()


def data(n: int) -> Tensor:
    return torch.randn(n, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def with_statistics_of_the_chip(model: nn.Module, chip: nn.Module, batches: list[Tensor]) -> nn.Module:
    """The oracle: the unfolded network with the chip's weights in the units before folding, statistics in one pass."""
    oracle = copy.deepcopy(model)
    norm = next(module for module in oracle if isinstance(module, _BatchNorm))
    folded = not any(isinstance(module, _BatchNorm) for module in chip)
    gain = norm.weight / (norm.running_var + norm.eps).sqrt() if folded else torch.ones_like(norm.weight)
    with torch.no_grad():
        oracle[0].weight.copy_(chip[0].weight.reshape(oracle[0].weight.shape) / gain.reshape(-1, 1, 1, 1))
        oracle[-1].weight.copy_(chip[-1].weight)
        position = list(oracle).index(norm)
        y = oracle[:position](torch.cat(batches))
        norm.running_mean.copy_(y.mean(dim=(0, 2, 3)))
        norm.running_var.copy_(y.var(dim=(0, 2, 3), correction=0))
    return oracle.eval()


@pytest.mark.parametrize("crossbar", [Crossbar("rram-milo2021"), Crossbar("rram-milo2021", dac=DAC(kind="ideal"))],
                         ids=["weights", "arrays"])  # fmt: skip
@pytest.mark.parametrize("sizes", [[40], [24, 16], [5, 20, 15]], ids=str)
def test_folded_norms_become_the_batchnorm_with_statistics_of_the_chip(sizes, crossbar):
    model = network(kept=False)
    chip = program(model, crossbar, chip=2)
    oracle = with_statistics_of_the_chip(model, chip, [data(40)])
    recalibrated = recalibrate_batchnorm(chip, list(data(40).split(sizes)))
    assert recalibrated is chip
    x = data(8)
    torch.testing.assert_close(recalibrated(x), oracle(x), rtol=0, atol=1e-9)
    assert float((program(model, crossbar, chip=2)(x) - oracle(x)).detach().abs().max()) > 1e-2
    assert torch.equal(recalibrated(x), recalibrated(x))


def test_a_norm_with_a_negative_gain_is_recalibrated_too():
    model = network(kept=False)
    model[1].weight.data[0] = -0.7
    chip = program(model, Crossbar("rram-milo2021"))
    oracle = with_statistics_of_the_chip(model, chip, [data(40)])
    torch.testing.assert_close(recalibrate_batchnorm(chip, [data(40)])(data(8)), oracle(data(8)), rtol=0, atol=1e-9)


def test_kept_norms_learn_statistics_and_nothing_else_changes():
    model = network(kept=True)
    chip = program(model, Crossbar("rram-milo2021"))
    norm = chip[2]
    assert isinstance(norm, _BatchNorm)
    oracle = with_statistics_of_the_chip(model, chip, [data(40)])
    state = {name: value.clone() for name, value in chip.state_dict().items() if "running" not in name}
    recalibrated = recalibrate_batchnorm(chip, [data(40)])
    assert not any(module.training for module in recalibrated.modules())
    assert norm.momentum == 0.1
    torch.testing.assert_close(norm.running_mean, oracle[2].running_mean, rtol=0, atol=1e-9)
    # torch keeps the unbiased variance of 40 x 4 x 4 values
    torch.testing.assert_close(norm.running_var, oracle[2].running_var * 640 / 639, rtol=1e-9, atol=0)
    for name, value in state.items():
        assert torch.equal(value, recalibrated.state_dict()[name]) or name.endswith("num_batches_tracked")


@pytest.mark.parametrize("dac", [None, DAC(kind="ideal")], ids=["weights", "arrays"])
def test_norms_that_are_not_folded_by_choice_are_recalibrated(dac):
    model, crossbar = network(kept=False), Crossbar("rram-milo2021", dac=dac)
    unfolded = Deployment(fold=False)
    oracle = with_statistics_of_the_chip(model, program(model, crossbar, deployment=unfolded), [data(40)])
    corrected = Deployment(fold=False, compensation=("batchnorm",), data=[data(40)])
    recalibrated = program(model, crossbar, deployment=corrected)
    oracle[1].running_var.mul_(640 / 639)  # torch keeps the unbiased variance of 40 x 4 x 4 values
    torch.testing.assert_close(recalibrated(data(8)), oracle(data(8)), rtol=0, atol=1e-9)
    folded = Deployment(compensation=("batchnorm",), data=[data(40)])
    assert not torch.allclose(program(model, crossbar, deployment=folded)(data(8)), oracle(data(8)), atol=1e-2)


@pytest.mark.parametrize("compensation", [(), ("drift",), ("batchnorm",), ("drift", "batchnorm")], ids=str)
def test_evaluate_compensates_each_chip_as_by_hand(compensation):
    model, labels = network(kept=False), torch.arange(40) % 5
    deployment = Deployment(compensation=compensation, data=[data(30)])
    estimate = evaluate(model, [(data(40), labels)], PCM, chips=2, time_s=DAY_S, deployment=deployment)
    losses = []
    for number in range(2):
        chip = program(
            model, PCM, chip=number, time_s=DAY_S, deployment=COMPENSATED if "drift" in compensation else None
        )
        if "batchnorm" in compensation:
            recalibrate_batchnorm(chip, [data(30)])
        by_deployment = program(model, PCM, chip=number, time_s=DAY_S, deployment=deployment)
        assert torch.equal(by_deployment(data(40)), chip(data(40)))
        by_deployment = program(model, PCM, chip=number, time_s=DAY_S, deployment=deployment)
        assert torch.equal(by_deployment(data(40)), chip(data(40)))
        losses.append(float(nn.functional.cross_entropy(chip(data(40)), labels).detach()))
    assert estimate.table["loss"].tolist() == pytest.approx(losses, rel=1e-6)


@pytest.mark.parametrize("batches", [[], [torch.zeros(0, 2, 6, 6)]])
def test_no_data_is_refused(batches):
    with pytest.raises(DataError, match="at least one batch of inputs"):
        recalibrate_batchnorm(program(network(kept=False).float(), Crossbar("rram-milo2021")), batches)


def test_a_model_without_batchnorm_is_refused():
    chip = program(nn.Sequential(nn.Linear(3, 2)), Crossbar("rram-milo2021"))
    with pytest.raises(InputError, match=r"Sequential.*BatchNorm"):
        recalibrate_batchnorm(chip, [torch.randn(4, 3)])


def test_an_unknown_compensation_and_missing_data_are_refused():
    batches = [(data(4), torch.zeros(4, dtype=torch.long))]
    with pytest.raises(UnknownNameError, match=r"'drfit'.*'drift'"):
        evaluate(network(kept=False), batches, PCM, deployment=Deployment(compensation=("drfit",)))
    with pytest.raises(InputError, match="batches"):
        evaluate(network(kept=False), batches, PCM, deployment=Deployment(compensation=("batchnorm",)))
