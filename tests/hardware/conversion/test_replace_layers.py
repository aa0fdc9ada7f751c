"""A model whose layers compute in arrays is still the model: hooks, attributes, copies and files."""

import copy
import io

import pytest
import torch
from support.models import fill, images, small_model
from torch import Tensor, nn

from aimc_robust import DAC, BitSliced, Crossbar, program

ARRAYS = Crossbar("sonos-agrawal2022", dac=DAC(bits=8, kind="sign-magnitude", full_scale=3.0))


def test_forward_hooks_run_on_the_arrays_output():
    model, seen = fill(nn.Sequential(nn.Linear(4, 3), nn.ReLU())), []
    model[0].register_forward_hook(lambda layer, args, output: seen.append(output))
    model[0].register_forward_pre_hook(lambda layer, args: (2.0 * args[0],))
    analog = program(model, Crossbar("ideal", dac=DAC(kind="ideal")))
    x = torch.randn(2, 4)
    y = analog(x)
    assert torch.equal(seen[-1].relu(), y)
    torch.testing.assert_close(y, model(x))


def test_forward_hooks_with_keywords_get_them():
    model, seen = fill(nn.Sequential(nn.Linear(4, 3))), []
    model[0].register_forward_hook(lambda layer, args, kwargs, output: seen.append(kwargs), with_kwargs=True)
    model[0].register_forward_pre_hook(lambda layer, args, kwargs: (args, kwargs), with_kwargs=True)
    program(model, ARRAYS)(torch.randn(2, 4))
    assert seen == [{}]


def test_what_a_models_code_may_read_of_its_layers_stays():
    model = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2), nn.Linear(5, 3))
    analog = program(model, ARRAYS)
    for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "groups"):
        assert getattr(analog[0], name) == getattr(model[0], name)
    assert (analog[1].in_features, analog[1].out_features) == (5, 3)
    assert analog[1].weight.shape == model[1].weight.shape


def test_the_model_is_left_untouched():
    model = small_model().train()
    before = copy.deepcopy(model.state_dict())
    program(model, ARRAYS)(images(2))
    assert model.training
    assert [type(part) for part in model][:2] == [nn.Conv2d, nn.BatchNorm2d]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("mapping", ["offset", BitSliced(weight_bits=8, slices=2)], ids=str)
@pytest.mark.parametrize("way", ["copy", "file"])
def test_a_copy_continues_with_the_same_chip_and_the_same_noise(way, mapping):
    crossbar = Crossbar("sonos-agrawal2022", mapping=mapping, bias_rows=1, dac=ARRAYS.periphery.dac)
    analog = program(small_model(), crossbar)
    analog(images(3))
    if way == "copy":
        twin = copy.deepcopy(analog)
    else:
        file = io.BytesIO()
        torch.save(analog, file)
        file.seek(0)
        twin = torch.load(file, weights_only=False)
    first = analog(images(3))
    assert torch.equal(twin(images(3)), first)
    assert not torch.equal(twin(images(3)), first)


def test_it_runs_in_inference_mode_and_with_gradients_afterwards():
    analog = program(small_model(), ARRAYS)
    with torch.inference_mode():
        analog(images(2))
    x = images(2).requires_grad_()
    analog(x).sum().backward()
    assert float(x.grad.abs().sum()) > 0


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.Linear(4, 4), nn.ModuleDict({"inner": nn.Linear(4, 4)})])
        self.head = nn.Sequential(nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.parts[1]["inner"](self.parts[0](x)))


def test_layers_in_containers_of_every_kind_are_replaced():
    model = fill(Body())
    analog = program(model, Crossbar("ideal", dac=DAC(kind="ideal")))
    assert not any(isinstance(module, nn.Linear) for module in analog.modules())
    x = torch.randn(3, 4)
    torch.testing.assert_close(analog(x), model(x))
