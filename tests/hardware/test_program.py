"""program(): the model is left alone, and a chip depends on seed, chip number and layer name, nothing else."""

from collections.abc import Callable

import pytest
import torch
from support.models import MILO, digest, fill, images, small_model
from torch import Tensor, nn

from aimc_robust import Axes, Crossbar, Deployment, evaluate, program
from aimc_robust.errors import InputError, UnknownNameError


def test_the_model_is_left_untouched_in_weights_mode_and_gradients():
    model = small_model().train()
    model(images(2)).sum().backward()
    before, gradient = digest(model), model[0].weight.grad.clone()
    analog = program(model, MILO)
    analog(images(2))
    assert digest(model) == before
    assert model.training
    assert isinstance(model[1], nn.BatchNorm2d)
    assert torch.equal(model[0].weight.grad, gradient)
    assert not {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in analog.parameters()}


def test_the_programmed_model_is_an_ordinary_module_in_evaluation_form():
    model = small_model().train()
    analog = program(model, MILO)
    assert type(analog) is type(model)
    assert not any(module.training for module in analog.modules())


@pytest.mark.parametrize("seed", [0, 5])
def test_it_equals_a_loop_over_the_layers_by_hand(seed):
    model = nn.ModuleDict({"conv": nn.Conv2d(2, 3, 3), "deep": nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))})
    analog = program(fill(model), MILO, chip_seed=seed, chip=3)
    for name in ("conv", "deep.0", "deep.1"):
        layer, programmed = model.get_submodule(name), analog.get_submodule(name)
        axes = Axes(seed).at(chip=3, layer=name)
        assert torch.equal(programmed.weight, MILO.perturb(name, layer.weight.detach(), axes))
        assert not torch.equal(programmed.weight, layer.weight)
        assert torch.equal(programmed.bias, layer.bias)


LAYERS = {
    "linear": nn.Linear(6, 4),
    "conv1d": nn.Conv1d(6, 4, 3),
    "conv2d": nn.Conv2d(6, 4, 3),
    "conv3d": nn.Conv3d(6, 4, 3),
    "grouped": nn.Conv2d(6, 4, 3, groups=2),
    "depthwise": nn.Conv2d(32, 32, 3, groups=32),
    "depthwise 1d": nn.Conv1d(6, 12, 3, groups=6),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_error_of_any_layer_is_the_devices(name):
    # Milo's pair: 0.0292 (largest weight) to 0.0350 (zero) of max|W|. Groups that shared one block-diagonal array
    # would add the errors of its zeros, 5 times as much for 32 depthwise channels.
    layer = fill(nn.Sequential(LAYERS[name])).requires_grad_(False)
    errors = [program(layer, MILO, chip=chip)[0].weight - layer[0].weight for chip in range(50)]
    rmse = float(torch.stack(errors).square().mean().sqrt() / layer[0].weight.abs().max())
    assert 0.028 < rmse < 0.036


def test_a_chip_is_the_same_at_any_batch_size():
    analog = program(small_model().double(), MILO, chip=3)
    x = images(8).double()
    before = digest(analog)
    whole = analog(x)
    for size in (1, 3):
        torch.testing.assert_close(torch.cat([analog(part) for part in x.split(size)]), whole, rtol=0, atol=1e-12)
    assert digest(analog) == before
    labels = torch.arange(8) % 4
    tables = [
        evaluate(small_model(), list(zip(images(8).split(n), labels.split(n), strict=True)), MILO, chips=4).table
        for n in (1, 3, 8)
    ]
    for table in tables[1:]:
        assert table["accuracy"].tolist() == tables[0]["accuracy"].tolist()
        assert table["loss"].tolist() == pytest.approx(tables[0]["loss"].tolist(), rel=1e-5)


def test_a_chip_does_not_depend_on_the_order_of_layers_nor_on_other_layers():
    def programmed(*names: str) -> nn.Module:
        shapes = {"a": (5, 4), "b": (4, 5), "c": (3, 3)}
        return program(fill(nn.ModuleDict({name: nn.Linear(*shapes[name]) for name in names})), MILO, chip=3)

    reference = programmed("a", "b")
    for other in (programmed("b", "a"), programmed("c", "a", "b"), programmed("a", "c", "b")):
        assert torch.equal(other["a"].weight, reference["a"].weight)
        assert torch.equal(other["b"].weight, reference["b"].weight)


def test_two_layers_of_one_shape_have_errors_of_their_own():
    model = nn.ModuleDict({"a": nn.Linear(5, 4), "b": nn.Linear(5, 4)})
    model["b"].load_state_dict(model["a"].state_dict())
    analog = program(model, MILO)
    assert not torch.equal(analog["a"].weight, analog["b"].weight)


@pytest.mark.parametrize(
    "other", [{"chip_seed": 0, "chip": 4}, {"chip_seed": 1, "chip": 3}, {"chip_seed": 3, "chip": 0}], ids=str
)
def test_other_chips_and_seeds_differ_and_the_same_one_does_not(other):
    reference = digest(program(small_model(), MILO, chip_seed=0, chip=3))
    assert digest(program(small_model(), MILO, chip_seed=0, chip=3)) == reference
    assert digest(program(small_model(), MILO, **other)) != reference


def test_seed_0_and_chip_0_are_the_defaults():
    assert digest(program(small_model(), MILO)) == digest(program(small_model(), MILO, chip_seed=0, chip=0))


def standard_errors(device: str, window: tuple[float, float], std: Callable[[Tensor], Tensor], chip: int) -> Tensor:
    """Each device's error in units of its standard deviation: one device per weight, far from the clipping at 0."""
    model = fill(nn.Sequential(nn.Linear(40, 40, bias=False))).double()
    crossbar = Crossbar(device, window=window, mapping="offset")
    weight, span = model[0].weight.detach(), window[1] - window[0]
    limit = weight.abs().max()
    error = program(model, crossbar, chip=chip)[0].weight.detach() - weight
    return error / (2.0 * limit / span) / std(window[0] + span * (weight / limit + 1.0) / 2.0)


def test_two_devices_meet_the_same_chip():
    # Devices are compared on common random numbers: the draws are one, the devices' spreads differ.
    milo = standard_errors("rram-milo2021", (50.0, 225.0), lambda g: 4.782321 - 0.009107 * g, chip=3)
    pcm = (lambda g: -0.00178767 * g**2 + 0.07585724 * g + 0.28638599), (6.0, 25.0)
    torch.testing.assert_close(standard_errors("pcm-joshi2020", pcm[1], pcm[0], chip=3), milo, rtol=0, atol=1e-6)
    other = standard_errors("pcm-joshi2020", pcm[1], pcm[0], chip=4)
    assert abs(float(torch.corrcoef(torch.stack([other.flatten(), milo.flatten()]))[0, 1])) < 4.0 / 1600**0.5


@pytest.mark.slow
def test_another_process_programs_the_same_chip(other_process):
    assert other_process["chip"] == digest(program(small_model(), MILO, chip=3))


def test_a_model_without_a_layer_for_a_crossbar_is_refused():
    with pytest.raises(InputError, match="Sequential"):
        program(nn.Sequential(nn.BatchNorm1d(3), nn.ReLU()), MILO)


def test_an_unknown_backend_is_refused_with_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"'nativ'.*'native'"):
        program(small_model(), MILO, deployment=Deployment(backend="nativ"))
