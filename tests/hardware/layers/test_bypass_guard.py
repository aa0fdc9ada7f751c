"""Models that would go around their arrays are told so, by the layer's name."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust import ADC, DAC, Crossbar, Deployment, calibrate, program
from aimc_robust.errors import InputError

NOISY = Crossbar("sonos-agrawal2022")


class Functional(nn.Module):
    """Reads a layer's weight instead of calling the layer."""

    def __init__(self, *, with_bias: bool = False) -> None:
        super().__init__()
        self.layer, self.with_bias = nn.Linear(4, 4), with_bias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.layer.weight, self.layer.bias if self.with_bias else None)


class Held(nn.Module):
    """Calls its layer through an object that is no container."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.holder = SimpleNamespace(layer=self.layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.holder.layer(x)


class Doubled(nn.MultiheadAttention):
    def forward(self, *args: Tensor, **kwargs: bool) -> tuple[Tensor, Tensor | None]:
        out, weights = super().forward(*args, **kwargs)
        return 2 * out, weights


@pytest.mark.parametrize("copied", [False, True])
def test_a_model_that_multiplies_with_a_weight_itself_is_refused(copied):
    analog = program(Functional(), NOISY)
    analog = copy.deepcopy(analog) if copied else analog
    with pytest.raises(InputError, match="'layer'"):
        analog(torch.ones(2, 4))
    with torch.inference_mode(), pytest.raises(InputError, match=r"'layer'"):
        analog(torch.ones(2, 4))


def test_the_whole_product_of_a_linear_layer_is_computed_in_its_arrays():
    """As in torchvision's Swin."""
    model, x = Functional(with_bias=True), torch.ones(2, 4)
    exact = Crossbar("ideal", rows=3, dac=DAC(kind="ideal"))
    torch.testing.assert_close(program(model, exact)(x), model(x), rtol=0, atol=1e-6)
    noisy = program(model, NOISY)
    assert not torch.equal(noisy(x), noisy(x))


def test_a_layer_without_a_bias_may_be_given_one():
    """As in timm's EVA."""

    class OwnBias(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.offset = nn.Linear(4, 4, bias=False), nn.Parameter(torch.randn(4))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.layer.weight, self.offset)

    model, x = OwnBias(), torch.ones(2, 4)
    exact = Crossbar("ideal", rows=3, dac=DAC(kind="ideal"))
    torch.testing.assert_close(program(model, exact)(x), model(x), rtol=0, atol=1e-6)


def test_its_weight_errors_alone_can_be_programmed():
    quiet = program(Functional(), Crossbar("sonos-agrawal2022", read_noise=False))
    assert quiet(torch.ones(2, 4)).shape == (2, 4)


def test_weights_can_be_looked_at_and_trained_outside_of_a_pass():
    analog = program(nn.Sequential(nn.Linear(4, 4)), NOISY)
    assert isinstance(analog[0].weight, nn.Parameter)
    analog(torch.ones(2, 4)).sum().backward()
    assert analog[0].weight.grad.shape == (4, 4)
    assert torch.isfinite(torch.ones(2, 4) @ analog[0].weight).all()


def test_a_model_that_looks_at_a_weight_while_it_runs_may():
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.to(self.layer.weight.dtype)) * self.layer.weight.norm()

    assert type(program(Looks(), NOISY)(torch.ones(2, 4))) is Tensor


def test_layers_called_through_another_reference_are_refused():
    with pytest.raises(InputError, match="reference"):
        program(Held(), NOISY)(torch.ones(2, 4))


def test_attention_with_a_forward_of_its_own_is_refused():
    with pytest.raises(InputError, match="forward"):
        program(nn.Sequential(Doubled(8, 2)), NOISY)


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (nn.Linear(8, 4), torch.randn(2, 10)),
        (nn.Linear(8, 4), torch.randn(2, 6)),
        (nn.Conv2d(8, 4, 3), torch.randn(2, 11, 5, 5)),
        (nn.Conv1d(8, 4, 3), torch.randn(2, 2, 8, 5)),
        (nn.ConvTranspose2d(8, 4, 3), torch.randn(2, 7, 5, 5)),
        (nn.Linear(8, 4), torch.ones(2, 8, dtype=torch.long)),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_the_layers_name(layer, x):
    analog = program(nn.Sequential(layer), Crossbar("ideal", rows=20, dac=DAC(kind="ideal")))
    with pytest.raises(InputError, match="'0'"):
        analog(x)


def test_a_compiled_model_is_the_same_chip():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    x = torch.randn(5, 8)
    compiled = torch.compile(model, backend="eager")
    for crossbar in (Crossbar("rram-milo2021"), NOISY):
        assert torch.equal(program(compiled, crossbar)(x), program(model, crossbar)(x))


def test_a_loaded_state_is_the_whole_chip():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(16, 8)), torch.randn(5, 16)
    crossbar = Crossbar("sonos-agrawal2022", mapping="bit-sliced", bias_rows=1, dac=DAC(bits=6), adc=ADC(bits=4))
    deployment = Deployment(ranges=calibrate(model, crossbar, [x]))
    first, second = (program(model, crossbar, chip=chip, deployment=deployment) for chip in (0, 1))
    second.load_state_dict(first.state_dict())
    for name, values in first.state_dict().items():
        assert torch.equal(values, second.state_dict()[name])
    for layer in (first[0], second[0]):
        layer.noise = None
    assert torch.equal(first(x), second(x))
