"""Outputs that are NaN or infinite are never right, and losses of 16-bit models are those of float32."""

import math

import pytest
import torch
from support.measure import measure
from torch import nn

import aimc_robust as ar
from aimc_robust.analysis.diagnostics import _measure
from aimc_robust.errors import DivergenceError
from aimc_robust.tasks.classification import Classification
from aimc_robust.training.epoch import validate

N, CLASSES = 40, 4
INPUTS, LABELS = torch.randn(N, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(N, dtype=torch.long)
BATCHES = [(INPUTS[:30], LABELS[:30]), (INPUTS[30:], LABELS[30:])]


class Net(nn.Module):
    """A linear layer whose outputs for one image and class are replaced."""

    def __init__(self, value, image=35, classes=slice(None)):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.value, self.classes = nn.Linear(8, CLASSES), value, classes
        self.image = INPUTS[image]

    def forward(self, x):
        scores = self.layer(x)
        chosen = (x == self.image).all(dim=1)
        scores[:, self.classes] = torch.where(chosen[:, None], self.value, scores[:, self.classes])
        return scores


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("jobs", [None, 2])
def test_scores_without_softmax_are_an_error_that_names_chip_device_and_time(value, jobs):
    model, crossbar = Net(value), ar.Crossbar("pcm-nandakumar2019", read_noise=False)
    with pytest.raises(DivergenceError) as caught:
        ar.evaluate(model, BATCHES, crossbar, chips=2, time_s=3600.0, jobs=jobs)
    for part in ("chip 0 of pcm-nandakumar2019", "3600 s", "1 of 10 images"):
        assert part in str(caught.value)
    with pytest.raises(DivergenceError, match=r"digital weights: .*1 of 10 images"):
        ar.evaluate(model, BATCHES, None)
    with pytest.raises(DivergenceError, match=r"chip 0 of Gaussian\(.*0.3"):
        ar.evaluate(model, BATCHES, ar.Gaussian(0.3), chips=2)


@pytest.mark.parametrize(
    "function", ["attribute", "predict_loss", "predict_accuracy", "equivalent_sigma", "evaluate_grid"]
)
def test_no_function_scores_them(function):
    crossbar = ar.Crossbar("rram-wan2022")
    options = {"attribute": (crossbar,), "equivalent_sigma": (crossbar,)}.get(function, ({"rram": crossbar},))
    with pytest.raises(DivergenceError, match=r"rram-wan2022|trained weights"):
        getattr(ar, function)(Net(math.nan), BATCHES, *options)


def test_a_class_of_minus_infinity_has_probability_0():
    scored = measure(Net(-math.inf, classes=slice(1, 3)), BATCHES)  # other classes than the label of that image
    scores = Net(0.0).layer(INPUTS).detach().double()
    scores[35, 1:3] = -math.inf
    expected = nn.functional.cross_entropy(scores, LABELS)
    assert scored.loss == pytest.approx(float(expected), rel=1e-6)
    assert scored.value == 100.0 * float((scores.argmax(1) == 0).double().mean())
    assert measure(Net(-math.inf, classes=slice(0, 1)), BATCHES).loss == math.inf  # the label itself


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_of_16_bit_outputs_are_summed_in_float32(dtype):
    torch.manual_seed(0)
    model = nn.Linear(8, 50).to(dtype)
    inputs, labels = torch.randn(32000, 8).mul(3).to(dtype), torch.randint(50, (32000,))
    with torch.no_grad():
        expected = nn.functional.cross_entropy(model(inputs).double(), labels)
    assert measure(model, [(inputs, labels)]).loss == pytest.approx(float(expected), rel=1e-6)


def test_validation_of_a_model_that_diverged_has_no_loss():
    row = validate(Net(math.nan), None, (INPUTS, LABELS), Classification(), 0)
    assert (row["accuracy"], row["perturbed_accuracy"]) == (None, None)
    assert math.isnan(row["loss"])  # by which training finds that it diverged


def test_no_image_is_right_where_the_noise_of_early_stopping_gives_nan():
    torch.manual_seed(0)
    model, stopping = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, CLASSES)), ar.EarlyStopping(sigma=1e25)
    row = validate(model, stopping, (INPUTS, LABELS), Classification(), 0)
    assert math.isfinite(row["loss"])
    assert row["perturbed_accuracy"] == 0.0


def test_diagnostics_count_nan_as_wrong():
    right, _ = _measure(Net(0.0, image=0), Classification(), nn.CrossEntropyLoss(), BATCHES)
    wrong, _ = _measure(Net(math.nan, image=0), Classification(), nn.CrossEntropyLoss(), BATCHES)
    assert wrong == right - 100.0 / N  # NaN has argmax 0, the label
