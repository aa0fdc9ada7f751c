"""The predicted loss: closed form of a near quadratic, beside Monte Carlo on real digits, what is refused."""

import math

import pytest
import torch
from sklearn.datasets import load_digits
from support.measure import measure
from support.small_net import data, net, state_of
from torch import nn
from torch.nn import functional as F

from aimc_robust.data.batches import split_batches
from aimc_robust.errors import DataError, InputError, UnknownNameError
from aimc_robust.evaluation.loss_prediction import predict_loss
from aimc_robust.evaluation.monte_carlo import evaluate_chips
from aimc_robust.evaluation.prediction_check import check_prediction, scale_errors
from aimc_robust.hardware.config.converters import ADC, DAC
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.programming.moments import model_moments
from aimc_robust.models.networks.small_cnn import SmallCNN
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.distributions import Gaussian, Laplace
from aimc_robust.seeding import global_seed

MILO = Crossbar("rram-milo2021")
DAY_S = 86400.0


@pytest.fixture(scope="module")
def digits():
    """A network trained on real digits for some epochs, and images that it has not seen."""
    found = load_digits()
    images = torch.tensor(found.images / 16.0, dtype=torch.float32).unsqueeze(1).sub_(0.3).div_(0.38)
    labels = torch.tensor(found.target)
    with global_seed(0):
        model = SmallCNN(in_channels=1, classes=10, channels=8, stages=3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(8):
            for rows in torch.randperm(1297).split(64):
                optimizer.zero_grad()
                F.cross_entropy(model(images[rows]), labels[rows]).backward()
                optimizer.step()
    return model.eval(), split_batches((images[1297:], labels[1297:]), 250)


def row_of(prediction, name="it"):
    return prediction.table.set_index("condition").loc[name]


@pytest.mark.slow
def test_on_real_digits_the_prediction_is_what_chips_score(digits):
    model, batches = digits
    conditions = {"drift": Crossbar("pcm-nandakumar2019"), "gaussian": Gaussian(0.1)}
    options = {"time_s": {"drift": 3600.0}, "scales": (1.0, 5.0), "chips": 12, "probes": 60}
    found = check_prediction(model, batches, conditions, **options).table
    rows = found.set_index(["condition", "scale"])
    assert rows.loc[("drift", 1.0), "verdict"] == "holds"  # the loss rises tenfold, and the prediction says so
    assert rows.loc[("drift", 1.0), "ratio"] == pytest.approx(1.0, abs=0.1)
    assert (rows["verdict"] != "does not hold").all()
    assert rows.loc[("gaussian", 5.0), "mc_loss"] > 50 * rows.loc[("gaussian", 5.0), "clean_loss"]
    assert list(found.columns) == [
        "condition", "time_s", "scale", "clean_loss", "predicted", "predicted_se", "mc_loss", "mc_low", "mc_high",
        "chips", "ratio", "resolution", "verdict",
    ]  # fmt: skip


@pytest.mark.slow
def test_on_real_digits_a_prediction_agrees_with_many_chips(digits):
    model, batches = digits
    for name, condition in {"rram": MILO, "gaussian": Gaussian(0.03), "laplace": Laplace(0.02)}.items():
        row = row_of(predict_loss(model, batches, {"it": condition}, probes=200))
        losses = torch.tensor([m.loss for _, m in evaluate_chips(model, batches, condition, chips=range(150))])
        error = math.hypot(float(losses.std()) / 150**0.5, row.predicted_se)
        assert abs(row.predicted - float(losses.mean())) < 3 * error, name
        assert row.curvature > 3 * row.curvature_se


def test_the_mean_weights_take_a_shared_drift_whole(digits):
    """PCM's weights shrink together by a third: no term of random errors sees that, one inference does."""
    model, batches = digits
    aged = Crossbar("pcm-nandakumar2019")
    row = row_of(predict_loss(model, batches, {"it": aged}, time_s=3600.0))
    assert row.mean_weight_loss > 2 * row.clean_loss
    moments = model_moments(prepare(model)[0], aged, time_s=3600.0)
    twin = prepare(model)[0]
    twin.load_state_dict({name: m.mean for name, m in moments.items()}, strict=False)
    assert row.mean_weight_loss == measure(twin, batches).loss


class Square(nn.Module):
    """Outputs whose cross-entropy is all but quadratic in the weights: two classes, tiny scores."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 2, bias=False)
        self.inner.weight.data = torch.randn(2, 5, generator=torch.Generator().manual_seed(0)).mul(0.05)

    def forward(self, x):
        return self.inner(x)


def test_a_nearly_quadratic_loss_has_its_closed_form():
    model, generator = Square().double(), torch.Generator().manual_seed(1)
    x = torch.randn(400, 5, generator=generator, dtype=torch.float64)
    y = torch.randint(2, (400,), generator=generator)
    noise = Gaussian(0.3, "absolute")
    p = model(x).softmax(1)[:, :1].detach()
    trace = 2 * float((p * (1 - p) * x.square()).mean(0).sum())  # H_ii of both rows of a softmax of two classes
    row = row_of(predict_loss(model, split_batches((x, y), 100), {"it": noise}, probes=400))
    assert row.predicted_se == row.curvature_se
    assert row.curvature == pytest.approx(0.5 * 0.09 * trace, abs=4 * row.curvature_se)
    assert row.curvature != pytest.approx(0.09 * trace, abs=10 * row.curvature_se)  # the factor 1/2 is resolved
    assert row.predicted == row.mean_weight_loss + row.curvature
    assert row.mean_weight_loss == row.clean_loss == pytest.approx(measure(model, [(x, y)]).loss)


def test_one_time_is_for_all_crossbars_and_a_mapping_for_those_that_it_names():
    conditions = {"aged": Crossbar("pcm-nandakumar2019"), "noise": Gaussian(0.1), "fresh": Crossbar("rram-wan2022")}
    batches = split_batches(data(), 50)
    shared = predict_loss(net(), batches, {k: conditions[k] for k in ("aged", "noise")}, time_s=DAY_S).table
    named = predict_loss(net(), batches, conditions, time_s={"aged": DAY_S}).table
    assert shared.time_s.tolist() == [DAY_S, 0.0]
    assert named.time_s.tolist() == [DAY_S, 0.0, 0.0]
    for column in ("mean_weight_loss", "predicted"):
        assert shared[column].tolist() == pytest.approx(named[column].tolist()[:2], rel=1e-12)


def test_it_does_not_depend_on_how_the_data_are_batched():
    rows = [
        row_of(predict_loss(net(), split_batches(data(200), size), {"it": MILO}, probes=24, images=150))
        for size in (200, 7)
    ]
    for column in ("clean_loss", "mean_weight_loss", "curvature", "curvature_se"):
        assert rows[0][column] == pytest.approx(rows[1][column], rel=1e-3, abs=1e-7), column


def test_the_parts_of_layers_add_up():
    crossbar = Crossbar("rram-wan2022", bias_rows=1)
    found = predict_loss(net(), split_batches(data(), 50), {"one": crossbar, "two": Gaussian(0.1)})
    sums = found.layers.groupby("condition")[["curvature", "share"]].sum()
    for row in found.table.itertuples():
        assert sums.curvature[row.condition] == pytest.approx(row.curvature)
        assert sums.share[row.condition] == pytest.approx(1.0)
    assert list(found.layers.layer) == ["0", "0.bias", "4", "4.bias", "0", "4"]


def test_digital_weights_and_an_ideal_device_lose_nothing():
    conditions = {"digital": None, "ideal": Crossbar("ideal")}
    table = predict_loss(net(), split_batches(data(), 50), conditions).table
    assert table.curvature.tolist() == pytest.approx([0.0, 0.0], abs=1e-9)
    assert table.predicted.tolist() == pytest.approx(table.clean_loss.tolist(), rel=1e-5)


def test_a_prediction_is_a_function_of_its_seed_and_not_of_other_conditions():
    batches = split_batches(data(), 50)

    def found(conditions, seed=0):
        row = row_of(predict_loss(net(), batches, conditions, chip_seed=seed))
        return row.predicted, row.curvature_se

    alone = found({"it": MILO})
    assert alone == pytest.approx(found({"other": Gaussian(0.3), "third": MILO, "it": MILO}), rel=1e-12)
    assert alone != pytest.approx(found({"it": MILO}, seed=1), rel=1e-6)


@pytest.mark.parametrize("images", [20, 60, 200])
def test_fewer_images_estimate_the_same_curvature_less_well(images):
    batches = split_batches(data(2000), 300)
    whole = row_of(predict_loss(net(), batches, {"it": MILO}, probes=200, images=10_000))
    part = row_of(predict_loss(net(), batches, {"it": MILO}, probes=20, images=images))
    assert part.clean_loss == whole.clean_loss
    assert part.mean_weight_loss == whole.mean_weight_loss
    assert abs(part.curvature - whole.curvature) < 4 * math.hypot(part.curvature_se, whole.curvature_se)
    assert part.curvature_se > 1.5 * whole.curvature_se


def test_what_is_no_weight_error_is_named():
    crossbar = Crossbar("sonos-agrawal2022", dac=DAC(bits=8), adc=ADC(bits=8))
    noiseless = Crossbar("sonos-agrawal2022", read_noise=False)
    conditions = {"all": crossbar, "weights": noiseless, "noise": Gaussian(0.1)}
    found = predict_loss(net(), split_batches(data(), 50), conditions)
    assert found.left_out == {"all": ("read noise", "DAC", "ADC"), "weights": (), "noise": ()}
    assert found.table.predicted[0] == found.table.predicted[1]
    assert found.seconds > 0


class Coin(WeightNoise):
    def perturb(self, name, weight, generator):
        return weight + torch.where(torch.rand(weight.shape, generator=generator) < 0.5, 0.2, -0.2)


@pytest.mark.parametrize("noise", [Gaussian(0.2), Laplace(0.2, "layer_max"), Coin(), MILO])
def test_a_scaled_condition_errs_in_proportion(noise):
    weight, errors = net()[4].weight.detach(), []
    for scale in (1.0, 0.25):
        moved = scale_errors(noise, scale).perturb("4", weight, torch.Generator().manual_seed(0))
        errors.append(moved - weight)
    torch.testing.assert_close(errors[1], 0.25 * errors[0], rtol=1e-3, atol=2e-7)


def test_a_mean_that_is_estimated_from_draws_adds_its_error():
    model, batches = net(), split_batches(data(), 50)
    found = [row_of(predict_loss(model, batches, {"it": Coin()}, chip_seed=seed, probes=4)) for seed in range(12)]
    scatter = float(torch.tensor([row.mean_weight_loss for row in found]).std())
    stated = [math.sqrt(row.predicted_se**2 - row.curvature_se**2) for row in found]
    assert 0.4 * scatter < sum(stated) / len(stated) < 2.5 * scatter


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_bit_for_bit_and_in_its_mode(training):
    model = net().train(training)
    before, rng = state_of(model), torch.get_rng_state()
    predict_loss(model, split_batches(data(), 50), {"one": MILO, "two": Gaussian(0.1)})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training == training for module in model.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(rng, torch.get_rng_state())


@pytest.mark.parametrize(
    ("conditions", "options", "error", "message"),
    [
        ({}, {}, InputError, "name"),
        ([MILO], {}, InputError, "conditions"),
        ({"it": "rram-milo2021"}, {}, InputError, "'it'.*Crossbar"),
        ({"it": Gaussian(0.1)}, {"time_s": {"it": 5.0}}, InputError, "crossbar"),
        ({"it": MILO}, {"time_s": {"other": 5.0}}, UnknownNameError, "'other'"),
        ({"it": MILO}, {"time_s": {"it": -1.0}}, InputError, "time_s"),
        ({"it": MILO}, {"time_s": -1.0}, InputError, "time_s"),
        ({"it": MILO}, {"deployment": Deployment(compensation=("drift",))}, InputError, "compensation"),
        ({"it": MILO}, {"deployment": Deployment(backend="crosssim")}, InputError, "backend"),
        ({"it": MILO}, {"probes": 1}, InputError, "probes"),
        ({"it": MILO}, {"images": 0}, InputError, "images"),
    ],
)
def test_what_cannot_be_predicted_is_refused(conditions, options, error, message):
    with pytest.raises(error, match=message):
        predict_loss(net(), [data()], conditions, **options)


def test_no_images_are_refused():
    with pytest.raises(DataError, match="batch"):
        predict_loss(net(), [], {"it": MILO})
    with pytest.raises(InputError, match="chips"):
        check_prediction(net(), [data()], {"it": MILO}, chips=1)
