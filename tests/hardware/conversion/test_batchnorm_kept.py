"""A BatchNorm that cannot be folded exactly stays as it is, and the coverage says which and why."""

import copy

import pytest
import torch
from support.folding import TOLERANCE, folded_and_difference, noise_inputs, stirred
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from aimc_robust import Crossbar, program, recalibrate_batchnorm
from aimc_robust.errors import InputError
from aimc_robust.hardware.conversion.preceding_layer import NotFoldable, preceding_layer, run, used_twice
from aimc_robust.hardware.conversion.prepare import prepare


class Net(nn.Module):
    """A convolution and its BatchNorm, used by each model below in a way of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)


class NormAfterReLU(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(F.relu(self.conv(x)))


class OutputUsedTwice(Net):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.norm(y) + y


class SharedConv(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(self.conv(x)))


class SharedNorm(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.norm(self.conv(x)))


class TiedWeights(Net):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Conv2d(3, 3, 3, padding=1)
        self.other.weight = self.conv.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.norm(self.conv(x)))


class WeightUsedAgain(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) * self.conv.weight.sum()


class StatisticsUsedAgain(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) - self.norm.running_mean.reshape(-1, 1, 1)


class NoRunningStatistics(Net):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Untraceable(Net):
    """The number of passes depends on the input's size; with an example the model can be run instead."""

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(len(x) - 1):
            x = x * 1.5
        return self.norm(self.conv(x))


class Parametrised(Net):
    """The weight is computed anew from other parameters at each use; in the deployed copy it is a plain one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = parametrizations.weight_norm(self.conv)
        self.last = nn.Conv2d(3, 3, 1)  # without a plain layer the model would be refused

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.conv(x)))


class Hooked(Net):
    """A trace does not see what a forward hook does to the layer's output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv.register_forward_hook(lambda module, args, output: F.relu(output))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


NETS = [
    NormAfterReLU,
    OutputUsedTwice,
    SharedConv,
    SharedNorm,
    TiedWeights,
    WeightUsedAgain,
    StatisticsUsedAgain,
    NoRunningStatistics,
    Untraceable,
    Hooked,
]
REASONS = {
    NormAfterReLU: "input is not one layer's output alone",
    OutputUsedTwice: "input is not one layer's output alone",
    SharedConv: "conv is used in more than one place",
    NoRunningStatistics: "statistics",
    Untraceable: "cannot be traced (RuntimeError), and there is no example input to run",
}


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_a_batchnorm_after_a_computed_weight_is_folded_into_the_weight_that_it_computes(frozen, grad):
    with torch.set_grad_enabled(grad):
        net = Parametrised().requires_grad_(not frozen)
        coverage, difference = folded_and_difference(net, noise_inputs(2, 3, 6, 6))
    assert difference < TOLERANCE
    assert coverage.folding.folded == {"norm": "conv"}


@pytest.mark.parametrize("net", NETS)
def test_a_batchnorm_that_cannot_be_folded_stays_and_is_named_with_the_reason(net):
    coverage, difference = folded_and_difference(net(), noise_inputs(2, 3, 6, 6))
    assert difference < TOLERANCE
    assert coverage.folding.folded == {}
    assert list(coverage.folding.not_folded) == ["norm"]
    assert coverage.digital_parameters["norm"] == 6
    reason = coverage.folding.not_folded["norm"]
    assert REASONS.get(net, "") in reason
    assert f"BatchNorm not folded: norm ({reason})" in coverage.summary()


class TwoNames(nn.Module):
    """The BatchNorm is reached by a second name, under which it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), self.norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class NormAfterReLUWithoutMask(Net):
    """A trace that hands in something for `mask` does not see the ReLU that a user who leaves it out gets."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = self.conv(x)
        if mask is None:
            y = F.relu(y)
        return self.norm(y)


class NormAfterMask(Net):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = self.conv(x)
        if mask is not None:
            y = y * mask
        return self.norm(y)


IMAGES, MASK = noise_inputs(2, 3, 6, 6), noise_inputs(6)


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (TwoNames(), [IMAGES]),
        (NormAfterReLUWithoutMask(), [IMAGES]),
        (NormAfterReLUWithoutMask(), [IMAGES, MASK]),
        (NormAfterMask(), [IMAGES]),
        (NormAfterMask(), [IMAGES, MASK]),
    ],
    ids=["two names", "relu, no mask", "relu, mask", "no mask", "mask"],
)
def test_whether_folded_or_not_the_outputs_stay_equal(model, inputs):
    assert folded_and_difference(model, *inputs)[1] < TOLERANCE


def test_a_batchnorm_over_the_length_of_sequences_does_not_pass_for_one_over_features():
    # (batch, length, features): BatchNorm1d normalises the length, here as long as there are features. The trace
    # cannot know; equal outputs or a refusal when it shows will do, wrong numbers will not.
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8))
    try:
        difference = folded_and_difference(model, noise_inputs(4, 8, 5))[1]
    except InputError:
        return
    assert difference < TOLERANCE


@pytest.mark.parametrize("net", [net for net in NETS if net not in (Untraceable, NoRunningStatistics)])
def test_a_run_on_an_example_finds_the_same(net):
    """As a trace does, with a reason of its own."""
    model = net().eval()
    uses = run(model, noise_inputs(2, 3, 6, 6).float())
    assert isinstance(preceding_layer(model, uses, "norm", used_twice(model)), NotFoldable)


def test_a_model_that_cannot_be_traced_is_folded_by_a_run_on_an_example():
    model, x = stirred(Untraceable()).eval(), noise_inputs(2, 3, 6, 6)
    prepared, found = prepare(model, lambda: x)
    assert found.folding.folded == {"norm": "conv"}
    assert (prepared(x) - model(x)).abs().max() < TOLERANCE


class Spelt(Net):
    """The same network, written in the ways that people do."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "assert":
            assert x.shape[1] == 3, "three channels"
        elif self.way == "raise":
            if x.ndim != 4:
                raise ValueError(f"images expected, got {x.shape}")
        elif self.way == "branch":
            return self.norm(self.conv(x)) if x.sum() > 0 else -self.norm(self.conv(x))
        elif self.way == "unpack":
            images, _, height, _ = x.shape
            return self.norm(self.conv(x)).reshape(images, 3, height, -1)
        return self.norm(self.conv(x))


class OwnNorm(nn.BatchNorm2d):
    """A subclass that adds nothing."""


class NormAndActivation(nn.BatchNorm2d):
    """As timm's BatchNormAct2d."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class ScaledInputs(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * x)


@pytest.mark.parametrize("way", ["assert", "raise", "branch", "unpack"])
@pytest.mark.parametrize("kind", [nn.BatchNorm2d, OwnNorm, NormAndActivation])
def test_folding_does_not_depend_on_the_spelling(way, kind):
    model = Spelt(way)
    model.norm = kind(3)
    coverage, difference = folded_and_difference(model, noise_inputs(2, 3, 6, 6))
    assert coverage.folding.folded == {"norm": "conv"}
    assert difference < 1e-6  # 1 - eps + eps in float32


def test_a_subclass_that_normalizes_something_else_is_not_folded():
    model = Spelt("assert")
    model.norm = ScaledInputs(3)
    coverage, difference = folded_and_difference(model, noise_inputs(2, 3, 6, 6))
    assert "ScaledInputs computes something else" in coverage.folding.not_folded["norm"]
    assert difference < TOLERANCE


def test_a_path_that_uses_the_output_twice_prevents_folding():
    class Sometimes(Net):
        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return self.norm(y) + y if x.mean() > 100 else self.norm(y)

    assert folded_and_difference(Sometimes(), noise_inputs(2, 3, 6, 6))[0].folding.folded == {}


def test_recalibration_leaves_the_rest_of_a_folded_norm_alone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), NormAndActivation(4), nn.Conv2d(4, 2, 3)).eval()
    x = torch.randn(64, 3, 6, 6)
    model.train()(x)
    model.eval()
    chip = recalibrate_batchnorm(program(model, Crossbar("ideal")), [x])
    plain = copy.deepcopy(model)
    for norm in (plain[1],):
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()(plain[0](x))
        norm.eval()
    torch.testing.assert_close(chip(x), plain(x), rtol=1e-3, atol=1e-3)


class Rectified(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


class LowRank(nn.Conv2d):
    """As adapters do: a second product beside the layer's own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x * 0.5


class SamePadding(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(F.pad(x, (0, 1, 0, 1)), self.weight, self.bias)


@pytest.mark.parametrize(("kind", "folds"), [(Rectified, False), (LowRank, False), (SamePadding, True)])
def test_a_layer_of_a_subclass_is_folded_into_if_its_outputs_scale_with_its_weight(kind, folds):
    model = Spelt("plain")
    model.conv = kind(3, 3, 3, padding=1)
    coverage, difference = folded_and_difference(model, noise_inputs(2, 3, 6, 6))
    assert difference < TOLERANCE
    assert coverage.folding.folded == ({"norm": "conv"} if folds else {})


class SometimesAsked(Net):
    """Two optional arguments whose combination matters."""

    def forward(self, x: Tensor, a: Tensor | None = None, b: Tensor | None = None) -> Tensor:
        y = self.conv(x)
        return self.norm(y) + y if a is not None and b is None else self.norm(y)


def test_every_combination_of_optional_arguments_is_traced():
    inputs = noise_inputs(2, 3, 6, 6), torch.ones(1, dtype=torch.float64)
    coverage, difference = folded_and_difference(SometimesAsked(), *inputs)
    assert coverage.folding.folded == {}
    assert difference < TOLERANCE


class AsksForTensors(Net):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.norm(y) + y if isinstance(x, Tensor) else self.norm(y)


class ReadsParameters(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) + sum(p.square().sum() for p in self.parameters())


@pytest.mark.parametrize("net", [AsksForTensors, ReadsParameters])
def test_an_example_shows_what_no_trace_can(net):
    model, x = stirred(net()).eval(), noise_inputs(2, 3, 6, 6)
    prepared, found = prepare(model, lambda: x)
    assert (prepared(x) - model(x)).abs().max() < TOLERANCE
    assert "no trace shows" in found.folding.not_folded["norm"]


def test_a_folded_convolution_refuses_inputs_without_images():
    model = stirred(nn.Sequential(nn.Conv1d(3, 8, 3, padding=1), nn.BatchNorm1d(8))).eval()
    with pytest.raises(InputError, match="3 dimensions"):
        prepare(model)[0](noise_inputs(3, 8))
