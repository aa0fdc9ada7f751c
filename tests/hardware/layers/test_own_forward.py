"""Subclasses of linear layers and convolutions with a forward of their own: computed right, or refused by name."""

import copy

import pytest
import torch
from support.for_each import for_each
from timm.layers import Conv2dSame, ScaledStdConv2d
from timm.layers import Linear as TimmLinear
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust import DAC, Crossbar, Deployment, calibrate, evaluate, program
from aimc_robust.errors import InputError

ARRAYS = Crossbar("ideal", window=(0.2, 1.0), mapping="two-sided", rows=5, dac=DAC(kind="ideal"))
WEIGHTS = Crossbar("ideal")
NOISY = Crossbar("sonos-agrawal2022")


class Same(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class Scaled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2.0 * super().forward(x + 1.0) - self.bias


class Functional(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), bias=self.bias)


class Padded(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(F.pad(x, (1, 0, 2, 0)), self.weight, self.bias)


class Standardized(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, (self.weight - self.weight.mean()) / self.weight.std(), self.bias)


class Masked(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight * (self.weight > 0), self.bias)


class StandardizedConvolution(nn.Conv2d):
    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(x, weight - weight.mean(), bias)


class PadsZeros(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class PadsItself(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        x = F.pad(input, self._reversed_padding_repeated_twice, mode="circular")
        return F.conv2d(input=x, weight=self.weight, bias=self.bias, dilation=self.dilation, stride=self.stride)


class Convolves(nn.Conv1d):
    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv1d(x, weight, bias, padding="same", dilation=self.dilation) + super()._conv_forward(
            x, weight, bias
        )


class OtherStride(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, stride=2)


class WithoutBias(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


X, IMAGES = torch.randn(3, 16), torch.randn(2, 3, 9, 9)
RIGHT = {
    "super().forward": (Same(16, 8), X),
    "around super().forward": (Scaled(16, 8), X),
    "functional": (Functional(16, 8), X),
    "timm's Linear": (TimmLinear(16, 8), X),
    "timm's Conv2dSame": (Conv2dSame(3, 4, 3, stride=2), IMAGES),
    "padded": (Padded(3, 4, 3, bias=False), IMAGES),
    "zeros, where the layer reflects": (PadsZeros(3, 4, 3, padding=(2, 1), padding_mode="reflect"), IMAGES),
    "zeros, same": (PadsZeros(3, 4, (2, 3), padding="same", padding_mode="circular"), IMAGES),
    "zeros, valid": (PadsZeros(3, 4, 3, padding="valid"), IMAGES),
    "pads itself": (PadsItself(3, 4, 3, padding=1, dilation=2, padding_mode="reflect"), IMAGES),
    "two paddings": (Convolves(9, 4, 2, padding="same", padding_mode="replicate", dilation=3), IMAGES[0]),
}


@for_each("in_a_model", [False, True])
@for_each("crossbar", [ARRAYS, WEIGHTS])
@for_each("name", RIGHT)
def test_a_forward_of_its_own_runs(name, crossbar, in_a_model):
    layer, x = RIGHT[name]
    model = nn.Sequential(layer) if in_a_model else layer
    on_chip = program(model, crossbar)
    torch.testing.assert_close(on_chip(x), model(x), rtol=0, atol=2e-6)
    copied = copy.deepcopy(on_chip)
    torch.testing.assert_close(copied(x), model(x), rtol=0, atol=2e-6)
    for parameter in copied.parameters():
        parameter.data.zero_()
    assert not torch.equal(copied(x), model(x))
    torch.testing.assert_close(on_chip(x), model(x), rtol=0, atol=2e-6)
    assert type(layer)(*([16, 8] if x is X else [3, 4, 3])).weight.requires_grad  # the class itself is untouched


@for_each("name", RIGHT)
def test_read_noise_acts_in_it(name):
    layer, x = RIGHT[name]
    on_chip = program(nn.Sequential(layer), NOISY)
    assert not torch.equal(on_chip(x), on_chip(x))


def test_converter_ranges_are_found_for_it():
    crossbar = Crossbar("ideal", dac=DAC(bits=8))
    ranges = calibrate(nn.Sequential(Scaled(16, 8)), crossbar, [X])
    assert ranges["0"].inputs[1] == pytest.approx(float((X + 1.0).max()), rel=0.05)
    assert torch.allclose(
        program(nn.Sequential(layer := Scaled(16, 8)), crossbar, deployment=Deployment(ranges=ranges))(X),
        layer(X),
        atol=0.2,
    )


@for_each("crossbar", [ARRAYS, WEIGHTS])
@for_each(
    "case",
    [
        (Standardized(16, 8), X),
        (ScaledStdConv2d(3, 4, 3), IMAGES),
        (Masked(3, 4, 3), IMAGES),
        (StandardizedConvolution(3, 4, 3), IMAGES),
    ],
)
def test_a_layer_that_computes_another_weight_is_refused(case, crossbar):
    layer, x = case
    on_chip = program(nn.ModuleDict({"first": layer}), crossbar)["first"]
    chip = program(nn.Sequential(layer), crossbar)
    with pytest.raises(InputError, match=r"'0' multiplies with values that it computes from its weight"):
        chip(x)
    assert on_chip.weight.shape == layer.weight.shape  # outside of a pass the weight can be read


@for_each("case", [(OtherStride(3, 4, 3), IMAGES), (WithoutBias(16, 8), X)])
def test_arrays_refuse_a_product_that_is_not_the_layers(case):
    layer, x = case
    with pytest.raises(InputError, match="'0'"):
        program(nn.Sequential(layer), ARRAYS)(x)
    torch.testing.assert_close(program(nn.Sequential(layer), WEIGHTS)(x), layer(x))  # weight errors alone are right


WAYS = {
    "transposed": lambda x, w: x @ w.T,
    "slice": lambda x, w: x @ w[:, :8],
    "scaled": lambda x, w: x @ (w * 2.0),
    "clone": lambda x, w: x @ w.clone(),
    "baddbmm": lambda x, w: torch.baddbmm(x[None], x[None], w[None])[0],
    "inner": lambda x, w: torch.inner(x, w),
    "einsum": lambda x, w: torch.einsum("ij,kj->ik", x, w),
    "elementwise": lambda x, w: (x[:, :, None] * w).sum(1),
    "stacked": lambda x, w: x @ torch.stack([w, w]).mean(0),
}


class Around(nn.Module):
    """Multiplies with the weight of a layer in some way, before or after another layer."""

    def __init__(self, way: str, *, last: bool) -> None:
        super().__init__()
        self.around, self.called = nn.Linear(8, 8, bias=False), nn.Linear(8, 8)
        self.way, self.last = WAYS[way], last

    def forward(self, x: Tensor) -> Tensor:
        if self.last:
            return self.way(self.called(x), self.around.weight)
        return self.called(self.way(x, self.around.weight))


@for_each("last", [False, True])
@for_each("way", WAYS)
def test_every_product_around_the_arrays_is_refused(way, last):
    with pytest.raises(InputError, match="around'"):
        program(Around(way, last=last), ARRAYS)(torch.randn(8, 8))


def test_a_network_of_timm_runs_on_arrays_with_read_noise():
    timm = pytest.importorskip("timm")
    model = timm.create_model("tf_mobilenetv3_small_minimal_100", num_classes=3).eval()
    data = [(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))]
    assert evaluate(model, data, NOISY, chips=1).table["loss"].notna().all()
    torch.testing.assert_close(program(model, ARRAYS)(data[0][0]), model(data[0][0]), rtol=0, atol=1e-4)


class MaskedInPlace(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.clone()
        weight[weight.abs() < 0.1] = 0.0
        return F.linear(x, weight, self.bias)


class ScaledInPlace(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.clone().mul_(2.0), self.bias)


class Binarized(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, torch.where(self.weight >= 0, 1.0, -1.0) * self.weight.abs().mean(), self.bias)


class QuantizedCopy(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, torch.empty_like(self.weight).copy_(self.weight).mul_(4).round_().div_(4), self.bias)


class ClampsItself(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.weight.clamp_(-0.1, 0.1)
        return super().forward(x)


class ThroughNumpy(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, torch.from_numpy(self.weight.detach().numpy()), self.bias)


@for_each("crossbar", [ARRAYS, WEIGHTS])
@for_each("kind", [MaskedInPlace, ScaledInPlace, Binarized, QuantizedCopy, ClampsItself, ThroughNumpy])
def test_a_weight_that_is_changed_in_place_or_through_other_types_is_refused(kind, crossbar):
    chip = program(nn.Sequential(kind(16, 8)), crossbar)
    with pytest.raises(InputError, match="'0' multiplies with values that it computes"):
        chip(X)


def test_writes_of_a_product_into_another_tensor_are_refused():
    class Writes(nn.Module):
        def __init__(self, way: str) -> None:
            super().__init__()
            self.around, self.way = nn.Linear(8, 8, bias=False), way

        def forward(self, x: Tensor) -> Tensor:
            out, w = torch.zeros_like(x), self.around.weight
            if self.way == "addmm_":
                out.addmm_(x, w.t())
            elif self.way == "setitem":
                out[:, 0] = (x * w[0]).sum(-1)
            else:
                out.add_(x * w[0])
            return out

    for way in ("addmm_", "setitem", "add_"):
        with pytest.raises(InputError, match="around'"):
            program(nn.Sequential(Writes(way)), ARRAYS)(torch.randn(8, 8))
