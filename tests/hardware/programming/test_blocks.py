"""Weights are programmed block by block, layers in threads, chips in one memory: the numbers are those of the whole."""

import copy

import pytest
import torch
from support.models import MILO, digest, fill
from support.small_net import data, net
from torch import Tensor, nn

from aimc_robust import DAC, Axes, BitSliced, CellModel, Crossbar, Deployment, program
from aimc_robust.errors import InputError
from aimc_robust.evaluation.monte_carlo import evaluate_chips
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.program import chip_axes, program_prepared
from aimc_robust.hardware.program_chips import chips_at_once, copy_for_chip, program_chips
from aimc_robust.hardware.programming import weights_to_states
from aimc_robust.hardware.programming.weights_to_states import (
    layer_draws,
    program_matrix,
    programmed_weights,
    read_back,
)
from aimc_robust.noise.perturbation import frozen_buffers
from aimc_robust.parallel.process_pool import use_threads

DAY_S = 86400.0


class DrawsTwice(CellModel):
    """A user's device whose drift asks for its random numbers twice, and gets the same."""

    name, unit, window = "draws-twice", "uS", (1.0, 20.0)
    has_drift, drift_is_random, drift_limits_s = True, True, (0.0, 1e7)

    def programming_std(self, target: Tensor) -> Tensor:
        return 0.1 + 0.02 * target

    def age(self, cells, draw, time_s: float) -> Tensor:
        first = draw("drift", cells.target)
        assert torch.equal(first, draw("drift", cells.target))
        return cells.programmed * (1.0 - 0.01 * first.abs())


CROSSBARS = {
    "polynomial": Crossbar("rram-wan2022", read_noise=False),
    "drift, columns": Crossbar("pcm-nandakumar2019", read_noise=False, scaling="column"),
    "uniform, stuck": Crossbar("independent-uniform", stuck=(0.1, 0.05), weight_percentile=0.9, mapping="offset"),
    "table, sliced": Crossbar("sonos-agrawal2022", read_noise=False, mapping=BitSliced(weight_bits=6, slices=2)),
    "a user's": Crossbar(DrawsTwice()),
}
SHAPES = [(1, 5), (15, 33), (16, 1), (17, 1), (31, 77), (32, 2), (47, 3), (100, 40), (300, 1)]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("name", CROSSBARS)
def test_blocks_give_the_numbers_of_the_whole_matrix(monkeypatch, name, transposed):
    crossbar, blocks = CROSSBARS[name], 0
    monkeypatch.setattr(weights_to_states, "BLOCK", 64)
    for shape in SHAPES:
        matrix = torch.randn(shape, generator=Axes(1).generator())
        matrix = matrix.T.contiguous().T if transposed else matrix
        draws = layer_draws(Axes(2))
        whole = read_back(
            crossbar.device,
            crossbar.weights,
            program_matrix(crossbar.device, crossbar.weights, matrix, draws, time_s=DAY_S),
        )
        found = programmed_weights(crossbar.device, crossbar.weights, matrix, [Axes(3), Axes(2), Axes(3)], time_s=DAY_S)
        assert torch.equal(found[1], whole)
        assert torch.equal(found[0], found[2])
        assert not torch.equal(found[0], whole)
        blocks += len(list(weights_to_states.blocks(matrix, 3)))
    assert blocks > 2 * len(SHAPES)


def test_any_number_of_threads_programs_the_same_chip():
    model = fill(nn.Sequential(*[nn.Linear(300, 300) for _ in range(6)]))
    chips = []
    for threads in (1, 2, 5):
        with use_threads(threads):
            chips.append(digest(program(model, MILO, chip=1, time_s=0.0).requires_grad_(False)))
            assert torch.get_num_threads() == threads
    assert chips[0] == chips[1] == chips[2]


def test_an_error_in_a_thread_names_its_layer():
    model = fill(nn.Sequential(nn.Linear(400, 400), nn.Linear(400, 400)))
    model[1].weight.data[0, 0] = torch.nan
    with use_threads(2), pytest.raises(ValueError, match="'1' holds NaN"):
        program(model, MILO)


class Listed(nn.Module):
    """A model that keeps its weight in a list too, beside an embedding and a buffer that each call changes."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.fc = nn.Embedding(4, 3), nn.Linear(3, 2)
        self.weights = [self.fc.weight]
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return nn.functional.linear(self.table(x), self.weights[0], self.fc.bias)


def test_copies_for_chips_start_from_the_trained_weights_in_one_memory():
    prepared, memory = prepare(fill(Listed()))[0], {}
    before = copy.deepcopy(prepared.state_dict())
    crossbar = Crossbar("rram-wan2022", bias_rows=1)
    pointers = set()
    for chip in (0, 1, 0):
        on_chip = program_prepared(copy_for_chip(prepared, memory), crossbar, chip_axes(0, chip))
        alone = program_prepared(copy.deepcopy(prepared), crossbar, chip_axes(0, chip))
        assert torch.equal(on_chip(torch.arange(4)), alone(torch.arange(4)))
        assert not torch.equal(on_chip.fc.weight, prepared.fc.weight)
        assert on_chip.calls == 1
        pointers.add(on_chip.fc.weight.data_ptr())
        on_chip.table.weight.data.zero_()  # as a task of one's own might do
    assert len(pointers) == 1
    assert all(torch.equal(value, before[name]) for name, value in prepared.state_dict().items())


def test_the_chips_of_an_evaluation_are_those_of_program():
    model, batches = net(), data(60)
    measured = dict(evaluate_chips(model, batches, MILO, chips=[4, 0, 4]))
    for chip, measurement in measured.items():
        alone = dict(evaluate_chips(model, batches, MILO, chips=[chip]))
        assert measurement == alone[chip]


@pytest.mark.parametrize("compensation", [(), ("drift",)])
def test_chips_programmed_at_once_are_those_of_program(compensation):
    model, crossbar = fill(Listed()).eval(), Crossbar("pcm-nandakumar2019", read_noise=False, bias_rows=1)
    prepared, deployment = prepare(model)[0], Deployment(compensation=compensation)
    assert chips_at_once(prepared, crossbar, deployment) > 1
    axes = [chip_axes(0, chip) for chip in (3, 0, 3)]
    chips = program_chips(prepared, crossbar, axes, {}, time_s=DAY_S, deployment=deployment)
    for on_chip, chip in zip(chips, (3, 0, 3), strict=True):
        alone = program(model, crossbar, chip=chip, time_s=DAY_S, deployment=deployment)
        assert torch.equal(on_chip(torch.arange(4)), alone(torch.arange(4)))
        assert torch.equal(on_chip.fc.weight, alone.fc.weight)
        assert on_chip.calls == 1  # buffers, too, start as they were
        on_chip.table.weight.data.zero_()


@pytest.mark.parametrize(
    ("crossbar", "deployment"),
    [
        (Crossbar("sonos-agrawal2022"), Deployment()),  # read noise
        (MILO.replace(dac=DAC(bits=8, full_scale=1.0)), Deployment()),
        (MILO, Deployment(compensation=("batchnorm",), data=data(60))),
        (MILO, Deployment(backend="crosssim")),
    ],
)
def test_a_chip_that_changes_more_than_weights_is_programmed_alone(crossbar, deployment):
    assert chips_at_once(prepare(net())[0], crossbar, deployment) == 1


def test_a_large_model_is_programmed_on_one_chip_at_a_time():
    assert chips_at_once(nn.Linear(1000, 1000), MILO, Deployment()) == 1


class Remembers(nn.Module):
    """A model that keeps what its first forward pass computed: on the next chip it must start anew."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.first = nn.Linear(36, 3), None
        self.register_buffer("scale", None)

    def forward(self, x: Tensor) -> Tensor:
        if self.first is None:
            self.first, self.scale = self.fc.weight.detach().clone(), self.fc.weight.detach().abs().max()
        return nn.functional.linear(x.flatten(1), self.first / self.scale, self.fc.bias)


def test_a_model_that_remembers_starts_anew_on_each_chip():
    model, batches = fill(Remembers()).eval(), data(60)
    together = dict(evaluate_chips(model, batches, MILO, chips=[0, 1, 2]))
    for chip, measurement in together.items():
        assert measurement == dict(evaluate_chips(model, batches, MILO, chips=[chip]))[chip]
    assert together[0] != together[1]


def test_a_buffer_that_a_forward_pass_sets_is_gone_afterwards():
    model = fill(Remembers())
    with frozen_buffers(model):
        model(torch.ones(1, 36))
        model.register_buffer("late", torch.ones(1))
        assert model.scale is not None
    assert model.scale is None
    assert "late" not in dict(model.named_buffers())


@pytest.mark.parametrize("drawn", [lambda t: t.flatten(), lambda t: t.T, lambda t: t[:1], lambda t: t.new_zeros(())])
def test_a_device_that_draws_other_shapes_than_its_targets_is_refused(drawn):
    class Draws(DrawsTwice):
        def age(self, cells, draw, time_s: float) -> Tensor:
            draw("drift", drawn(cells.target))
            return cells.programmed

    with pytest.raises(InputError, match=r"one number for each target, of shape \(3, 5\)"):
        program(fill(nn.Linear(5, 3)), Crossbar(Draws()), time_s=DAY_S)
