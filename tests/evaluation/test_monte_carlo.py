"""Monte Carlo over chips: the same chips for every model, batch size and order of work."""

import pytest
import torch
from support.measure import measure
from support.small_net import data, net, state_of
from torch import nn

from aimc_robust.data.batches import split_batches
from aimc_robust.errors import DataError, InputError
from aimc_robust.evaluation.evaluate import evaluate
from aimc_robust.evaluation.monte_carlo import evaluate_chips
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.program import chip_axes, program
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.distributions import Gaussian, Laplace
from aimc_robust.noise.perturbation import perturbed

CROSSBAR = Crossbar("rram-milo2021")
CONDITIONS = {"crossbar": CROSSBAR, "gaussian": Gaussian(0.3), "laplace": Laplace(0.2), "digital": None}


def test_a_crossbar_is_evaluated_as_program_would_build_each_chip():
    model, batches = net(), split_batches(data(), 50)
    table = evaluate(model, batches, CROSSBAR, chips=4, chip_seed=9).table
    for chip, row in table.set_index("chip").iterrows():
        found = measure(program(model, CROSSBAR, chip_seed=9, chip=chip), batches)
        assert (row["accuracy"], row["loss"], row["n"]) == found[1:4]
    assert table["loss"].nunique() == 4


@pytest.mark.parametrize("noise", [Gaussian(0.3), Laplace(0.2, "layer_max")])
def test_a_weight_noise_is_evaluated_on_the_weights_as_they_stand(noise):
    model, batches = net().eval(), split_batches(data(), 50)
    table = evaluate(model, batches, noise, chips=4, chip_seed=9).table
    for chip, row in table.set_index("chip").iterrows():
        with perturbed(model, noise, generator=chip_axes(9, chip)):
            assert (row["accuracy"], row["loss"], row["n"]) == measure(model, batches)[1:4]
    assert table["loss"].nunique() == 4


def test_noise_costs_accuracy_and_digital_does_not():
    accuracy = {name: evaluate(net(), [data()], c, chips=5).mean for name, c in CONDITIONS.items()}
    assert accuracy["digital"] == 100.0
    assert max(accuracy["crossbar"], accuracy["gaussian"], accuracy["laplace"]) < 100.0


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
def test_the_batch_size_does_not_change_a_chip(condition):
    whole = evaluate(net(), split_batches(data(), 120), condition, chips=3).table
    for size in (1, 32):
        table = evaluate(net(), split_batches(data(), size), condition, chips=3).table
        assert list(table["accuracy"]) == list(whole["accuracy"])
        assert list(table["loss"]) == pytest.approx(list(whole["loss"]), rel=1e-5)


@pytest.mark.parametrize("condition", [CROSSBAR, Gaussian(0.3)], ids=["crossbar", "gaussian"])
def test_the_order_of_chips_does_not_change_a_chip(condition):
    ordered = dict(evaluate_chips(net(), [data()], condition, chips=range(5)))
    assert dict(evaluate_chips(net(), [data()], condition, chips=[3, 0])) == {3: ordered[3], 0: ordered[0]}
    assert len(set(ordered.values())) == 5


def test_another_seed_is_another_set_of_chips():
    first, second = (evaluate(net(), [data()], CROSSBAR, chips=3, chip_seed=seed).table for seed in (0, 1))
    assert set(first["loss"]).isdisjoint(second["loss"])


class Recorder(WeightNoise):
    """Leaves the weights alone and keeps the draw that each layer would get."""

    def __init__(self):
        self.draws = []

    def perturb(self, name, weight, generator):
        self.draws.append((name, torch.randn(3, generator=generator).tolist()))
        return weight.clone()


def test_two_models_meet_the_same_chips():
    def draws(model):
        recorder = Recorder()
        evaluate(model, [data()], recorder, chips=3)
        return recorder.draws

    deeper = nn.Sequential(*net(), nn.ReLU(), nn.Linear(3, 3))
    assert draws(net(seed=5)) == draws(net())
    assert [draw for draw in draws(deeper) if draw[0] != "6"] == draws(net())
    assert len({str(draw) for _, draw in draws(net())}) == 6  # 3 chips of 2 layers, all different


def test_digital_weights_have_one_chip():
    found = evaluate(net(), [data()], None, chips=25)
    assert (found.chips, len(found.table)) == (1, 1)


def test_digital_weights_are_not_measured_again_for_every_chip():
    assert len(list(evaluate_chips(net(), [data()], None, chips=range(25)))) == 1


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_bit_for_bit_and_in_its_mode(condition, training):
    model = net().train(training)
    before, rng = state_of(model), torch.get_rng_state()
    evaluate(model, split_batches(data(), 50), condition, chips=2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training == training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(rng, torch.get_rng_state())


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
def test_batches_may_be_a_one_shot_iterator(condition):
    batches = split_batches(data(), 50)
    expected = evaluate(net(), batches, condition, chips=3).table
    assert evaluate(net(), (batch for batch in batches), condition, chips=3).table.equals(expected)


def test_the_table_has_a_row_per_chip():
    table = evaluate(net(), [data()], CROSSBAR, chips=3).table
    assert list(table.columns) == ["train_seed", "chip", "accuracy", "loss", "n"]
    assert list(table["chip"]) == [0, 1, 2]
    assert set(table["n"]) == {120}


@pytest.mark.parametrize("condition", ["rram-milo2021", 0.05, Crossbar, "digital"])
def test_a_condition_of_another_kind_is_refused(condition):
    with pytest.raises(InputError, match="Crossbar"):
        evaluate(net(), [data()], condition)


@pytest.mark.parametrize("chips", [0, -1, 2.5, "3", None, True])
def test_a_number_of_chips_that_cannot_be_is_refused(chips):
    with pytest.raises(InputError, match="chips"):
        evaluate(net(), [data()], CROSSBAR, chips=chips)


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
def test_no_images_are_refused(condition):
    with pytest.raises(DataError, match="batch"):
        evaluate(net(), iter([]), condition)
