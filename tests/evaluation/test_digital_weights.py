"""Weights that stay digital, and networks that fold on data alone: the same in every function that evaluates."""

import warnings

import pytest
import torch
from torch import Tensor, nn

from aimc_robust import (
    ADC,
    DAC,
    Crossbar,
    Deployment,
    calibrate,
    evaluate,
    evaluate_grid,
    predict_loss,
    program,
)
from aimc_robust.errors import InputError

MILO = Crossbar("rram-milo2021")


class Mixing(nn.Module):
    """A matrix of parameters that no known layer holds."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.mixing = nn.Linear(4, 3), nn.Parameter(torch.randn(3, 3))
        self.added = nn.Parameter(torch.randn(5, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) @ self.mixing + self.added[0]


class Added(nn.Module):
    """A matrix of parameters that nothing is multiplied with."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.added = nn.Linear(4, 3), nn.Parameter(torch.randn(5, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.added[0]


DATA = [(torch.randn(6, 4), torch.randint(0, 3, (6,)))]


@pytest.mark.parametrize("run", [evaluate, lambda *args, **kw: evaluate_grid(args[0], args[1], {"a": args[2]}, **kw)])
def test_an_evaluation_warns_of_weights_that_stay_digital(run):
    with pytest.warns(UserWarning, match=r"the model itself \(24 parameters"):
        run(Mixing(), DATA, MILO, chips=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(Mixing(), DATA, MILO, chips=1, strict=False)
        run(Added(), DATA, MILO, chips=1)  # the data show that it is not multiplied with
        run(Mixing(), DATA, None if run is evaluate else MILO, chips=1, strict=False)
    with pytest.raises(InputError, match="strict"):
        run(Mixing(), DATA, MILO, chips=1, strict=True)


class Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Linear(3, 2)
        self.norm.running_var.uniform_(0.1, 0.3)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(int(x.shape[1])):
            x = x * 1.0
        return self.out(self.norm(self.conv(x)).mean((2, 3)))


class Plain(Untraceable):
    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(self.conv(x)).mean((2, 3)))


def both() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    untraceable, plain = Untraceable().eval(), Plain().eval()
    plain.load_state_dict(untraceable.state_dict())
    return untraceable, plain


IMAGES = [(torch.randn(8, 1, 6, 6), torch.randint(0, 2, (8,)))]


def test_an_untraceable_model_is_evaluated_as_the_same_traceable_one():
    harsh = Crossbar("rram-milo2021", error_scale=3.0)
    losses = [evaluate(model, IMAGES, harsh, chips=3).table["loss"].tolist() for model in both()]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    predicted = [predict_loss(model, IMAGES, {"a": harsh}, probes=4).table["predicted"].item() for model in both()]
    assert predicted[0] == pytest.approx(predicted[1], rel=1e-5)


def test_converter_ranges_of_a_model_that_folds_on_data_need_the_example():
    crossbar = Crossbar("ideal", dac=DAC(bits=8), adc=ADC(bits=8))
    untraceable, plain = both()
    deployment = Deployment(ranges=calibrate(untraceable, crossbar, IMAGES))
    assert deployment.ranges["conv"].outputs == calibrate(plain, crossbar, IMAGES)["conv"].outputs
    with pytest.raises(InputError, match=r"example="):
        program(untraceable, crossbar, deployment=deployment)
    chip = program(untraceable, crossbar, deployment=deployment, example=IMAGES[0][0])
    torch.testing.assert_close(chip(IMAGES[0][0]), program(plain, crossbar, deployment=deployment)(IMAGES[0][0]))
    evaluate(untraceable, IMAGES, crossbar, chips=1, deployment=deployment)


def test_numbers_of_chips_that_no_memory_holds_and_other_kinds_of_strict_are_refused():
    for run in (
        lambda: evaluate(Added(), DATA, MILO, chips=10**12),
        lambda: evaluate_grid(Added(), DATA, {"a": MILO}, chips=10**30),
    ):
        with pytest.raises(InputError, match="chips must be"):
            run()
    with pytest.raises(InputError, match="strict"):
        program(Added(), MILO, strict="yes")


def test_a_product_that_cannot_be_counted_is_warned_of():
    class Bilinear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.both, self.last = nn.Bilinear(4, 4, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.both(x, x))

    with pytest.warns(UserWarning, match=r"stay digital.*both \(51 parameters"):
        evaluate(Bilinear(), DATA, MILO, chips=1)
