"""What is drawn when: once per chip, once per multiply, or never again; and what a chip does not depend on."""

import pytest
import torch
from support.models import MILO, fill
from torch import Tensor, nn

from aimc_robust import ADC, DAC, Axes, BitSliced, Crossbar, program
from aimc_robust.hardware.program import chip_axes
from aimc_robust.hardware.programming.programmed_matrix import Chip
from aimc_robust.hardware.programming.weights_to_states import layer_draws, program_matrix
from aimc_robust.noise.analog_weights import analog_weights

DAY_S = 86400.0
SONOS = Crossbar("sonos-agrawal2022")
PCM = Crossbar("pcm-nandakumar2019", read_noise=False)
CONVERTERS = {"dac": DAC(bits=8, kind="sign-magnitude", full_scale=3.0), "adc": ADC(bits=8, range=(-3.1, 2.9))}


def model() -> nn.Module:
    return fill(nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5)))


def inputs(n: int = 4) -> Tensor:
    return torch.randn(n, 2, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("options", [{}, CONVERTERS], ids=["weights", "arrays"])
def test_programming_errors_are_frozen_over_batches_and_calls(options):
    analog, x = program(model(), Crossbar("rram-milo2021", **options)), inputs()
    first = analog(x)
    analog(inputs(9))
    assert torch.equal(analog(x), first)
    parts = torch.cat([analog(part) for part in x.split(1)])
    torch.testing.assert_close(parts, first, rtol=0, atol=1e-5 if not options else 0.05)


@pytest.mark.parametrize("options", [{}, CONVERTERS], ids=["weights", "arrays"])
def test_stuck_cells_belong_to_the_chip(options):
    # An ideal device whose only error are its stuck cells: 1 in 5.
    crossbar = Crossbar("ideal", stuck=(0.0, 0.2), mapping="offset", **options)
    exact = model()[3].weight.detach()

    def stuck(chip: int, crossbar: Crossbar = crossbar) -> Tensor:
        return (program(model(), crossbar, chip=chip)[3].weight.detach() - exact).abs() > 1e-6

    assert torch.equal(stuck(0), stuck(0))
    both = (stuck(0) & stuck(1)).float().mean()
    assert 0.1 < float(stuck(0).float().mean()) < 0.3
    assert float(both) < 0.1  # 0.04 for independent chips
    milo = program(model(), Crossbar("rram-milo2021", stuck=(0.0, 0.2), mapping="offset"), chip=0)[3].weight.detach()
    assert torch.allclose(milo[stuck(0)], exact.abs().max())  # the same cells, whatever the device


def states_at(crossbar: Crossbar, time_s: float, chip: int = 0) -> list:
    layer = fill(nn.Linear(30, 20)).double()
    weight = analog_weights(layer)["weight"]
    draws = Chip(axes=chip_axes(0, chip)).draws(weight)
    matrix = weight.filters_first().flatten(1)
    return [
        type(cell)(cell.programmed.clone(), cell.now.clone())
        for cell in program_matrix(crossbar.device, crossbar.weights, matrix, draws, time_s=time_s).states
    ]


def test_drift_is_a_trajectory_of_one_chip():
    t0, times = 20.0, (600.0, DAY_S, 30 * DAY_S)
    fresh = states_at(PCM, 0.0)
    for device in range(2):
        exponents = []
        for t in times:
            cell = states_at(PCM, t)[device]
            assert torch.equal(cell.programmed, fresh[device].now)  # the programming error is not drawn again
            alive = cell.programmed > 0
            ratio = torch.log(cell.now[alive] / cell.programmed[alive])
            exponents.append(-ratio / torch.log(torch.tensor((t + t0) / t0, dtype=torch.float64)))
        torch.testing.assert_close(exponents[1], exponents[0], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(exponents[2], exponents[0], rtol=1e-9, atol=1e-12)
        assert float(exponents[0].std()) > 1e-3  # and they are random: one per cell
    other = states_at(PCM, DAY_S, chip=1)[0]
    assert not torch.equal(other.now, states_at(PCM, DAY_S)[0].now)


def test_a_drift_table_keeps_each_cells_place_in_the_distribution():
    quiet = Crossbar("sonos-agrawal2022", read_noise=False)
    model_, errors = fill(nn.Linear(40, 40)).double(), []
    for t in (0.0, DAY_S, 2 * DAY_S):
        now = program(model_, quiet, time_s=t).weight.detach()
        errors.append((now - program(model_, quiet, time_s=t, chip=1).weight.detach()).flatten())
    correlation = torch.corrcoef(torch.stack(errors))
    assert float(correlation.min()) > 0.99
    assert float(errors[2].std()) > 1.1 * float(errors[0].std())


@pytest.mark.parametrize("mapping", ["one-sided", "offset", BitSliced(weight_bits=8, slices=2)], ids=str)
def test_read_noise_is_drawn_at_each_multiply_and_again_from_the_start_by_each_program(mapping):
    crossbar, x = Crossbar("sonos-agrawal2022", mapping=mapping), inputs()
    analog, again = program(model(), crossbar, chip=2), program(model(), crossbar, chip=2)
    first, second = analog(x), analog(x)
    assert not torch.equal(first, second)
    assert torch.equal(again(x), first)
    assert torch.equal(again(x), second)
    other = program(model(), crossbar, chip=3)
    assert not torch.equal(other(x), first)
    quiet = program(model(), Crossbar("sonos-agrawal2022", mapping=mapping, read_noise=False), chip=2)
    assert torch.equal(quiet(x), quiet(x))


def test_the_two_uses_of_a_shared_layer_read_with_fresh_noise():
    layer = fill(nn.Linear(6, 6))
    analog, x = program(nn.ModuleList([layer, layer]), SONOS), torch.randn(3, 6)
    assert not torch.equal(analog[0](x), analog[1](x))


DIFFERENT = {
    "rows": {"rows": 7},
    "columns": {"columns": 2},
    "converters": CONVERTERS,
    "ideal dac": {"dac": DAC(kind="ideal")},
    "dac": {"dac": DAC(bits=4, kind="signed", full_scale=1.0)},
}


@pytest.mark.parametrize("name", DIFFERENT)
@pytest.mark.parametrize("mapping", ["one-sided", BitSliced(weight_bits=8, slices=2)], ids=str)
def test_a_chip_does_not_depend_on_array_sizes_and_converters(mapping, name):
    reference = program(model(), Crossbar("rram-milo2021", mapping=mapping), chip=3)
    other = program(model(), Crossbar("rram-milo2021", mapping=mapping, **DIFFERENT[name]), chip=3)
    for i in (0, 3):
        torch.testing.assert_close(other[i].weight, reference[i].weight, rtol=0, atol=1e-6)


def test_a_float64_copy_meets_the_same_chip():
    for crossbar in (MILO, Crossbar("rram-milo2021", **CONVERTERS), Crossbar("pcm-nandakumar2019")):
        single = program(model(), crossbar, chip=3, time_s=0.0)
        double = program(model().double(), crossbar, chip=3, time_s=0.0)
        assert double[3].weight.dtype == torch.float64
        torch.testing.assert_close(single[3].weight.double(), double[3].weight, rtol=0, atol=1e-5)


@pytest.mark.parametrize("crossbar", [Crossbar("rram-milo2021", **CONVERTERS), SONOS], ids=["converters", "read noise"])
def test_on_arrays_a_chip_does_not_depend_on_the_order_of_layers_nor_on_other_layers(crossbar):
    def outputs(*names: str) -> dict[str, Tensor]:
        shapes = {"a": (5, 4), "b": (4, 5), "c": (3, 3)}
        analog = program(fill(nn.ModuleDict({name: nn.Linear(*shapes[name]) for name in names})), crossbar, chip=3)
        return {name: analog[name](torch.ones(2, shapes[name][0])) for name in names}

    reference = outputs("a", "b")
    for other in (outputs("b", "a"), outputs("c", "a", "b")):
        assert torch.equal(other["a"], reference["a"])
        assert torch.equal(other["b"], reference["b"])


def test_effects_do_not_shift_each_others_numbers():
    # Stuck cells are drawn from a stream of their own: the others keep their programming errors.
    plain = program(model(), MILO)[3].weight.detach()
    some = program(model(), Crossbar("rram-milo2021", stuck=(0.05, 0.0)))[3].weight.detach()
    equal = (plain - some).abs() < 1e-7
    assert 0.8 < float(equal.float().mean()) < 0.97  # (1 - 0.05)^2 = 0.90 have both devices alive


def test_the_numbers_of_devices_and_effects_are_independent():
    # 28 correlations of 20 000 pairs, each beyond 4.5 standard errors with probability 7e-6.
    effects, like = ("programming", "programming-uniform", "drift", "stuck"), torch.zeros(20_000)
    draws = layer_draws(Axes(0))
    numbers = [draws(device)(effect, like) for device in (0, 1) for effect in effects]
    correlation = torch.corrcoef(torch.stack(numbers)) - torch.eye(len(numbers))
    assert float(correlation.abs().max()) < 4.5 / len(like) ** 0.5
    for again, first in zip([draws(0)(effect, like) for effect in effects], numbers, strict=False):
        assert torch.equal(again, first)
