"""The predicted accuracy: beside many simulated chips, what it contains, what is refused."""

import math

import pytest
import torch
from support.small_net import data, net, state_of
from torch import nn

import aimc_robust as ar
from aimc_robust.errors import DivergenceError, InputError, UnknownNameError
from aimc_robust.evaluation import accuracy_prediction
from aimc_robust.hardware.programming.moments import model_moments
from aimc_robust.seeding import global_seed

MILO = ar.Crossbar("rram-milo2021")
PCM = ar.Crossbar("pcm-nandakumar2019")
NOISELESS = ar.Crossbar("pcm-nandakumar2019", read_noise=False)
COMPENSATED = ar.Deployment(compensation=("drift",))
DAY_S = 86400.0
CHIPS = 150


def images(n=1000):
    """More images than the small net was made for, so that sampling errors are small."""
    return data(n)


def row_of(condition, batches=None, model=None, **options):
    model, batches = model or net(), images() if batches is None else batches
    return ar.predict_accuracy(model, batches, {"it": condition}, **options).table.iloc[0]


def t_distance(row, values):
    """Difference between a prediction and simulated chips, in standard errors of both."""
    error = (row.high - row.low) / 2.0 / 2.2
    return (row.predicted - values.mean()) / math.hypot(error, values.std() / len(values) ** 0.5)


CASES = {
    "gaussian": (ar.Gaussian(0.2), {}),
    "laplace": (ar.Laplace(0.1), {}),
    "programming error and read noise": (ar.Crossbar("pcm-hermes2023-1dev", error_scale=2.0), {}),
    "stuck cells": (ar.Crossbar("rram-milo2021", stuck=(0.02, 0.01)), {}),
    "bias in rows": (ar.Crossbar("rram-wan2022", bias_rows=2, mapping="two-sided"), {}),
    "drift": (PCM, {"time_s": DAY_S}),
    "compensated drift": (NOISELESS, {"time_s": DAY_S, "deployment": COMPENSATED}),
    "converters": (ar.Crossbar("rram-wan2022", rows=16, dac=ar.DAC(bits=3), adc=ar.ADC(bits=4)), {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_prediction_is_the_mean_of_many_chips(case):
    condition, options = CASES[case]
    if case == "converters":
        options = {"deployment": ar.Deployment(ranges=ar.calibrate(net(), condition, [images()[0]]))}
    row = row_of(condition, passes=16, **options)
    values = ar.evaluate(net(), images(), condition, chips=CHIPS, **options).table["accuracy"]
    assert abs(t_distance(row, values)) < 3.5
    # Sums of few stuck cells are not Gaussian: 128 passes and 2000 chips differ by 0.6 points here.
    assert row.predicted == pytest.approx(values.mean(), abs=1.6 if case == "stuck cells" else 1.0)
    assert row.digital > values.mean() + 1.0  # there is something to predict


def test_negative_control_another_noise_is_told_apart():
    row = row_of(ar.Gaussian(0.2), passes=16)
    values = ar.evaluate(net(), images(), ar.Gaussian(0.26), chips=CHIPS).table["accuracy"]
    assert abs(t_distance(row, values)) > 3.5


def test_the_row_names_what_all_chips_have_in_common():
    row = row_of(NOISELESS, time_s=DAY_S, passes=2)
    twin = accuracy_prediction.prepare(net())[0]
    moments = model_moments(twin, NOISELESS, time_s=DAY_S)
    digital = ar.evaluate(net(), images(), None).mean
    twin.load_state_dict({name: moment.mean for name, moment in moments.items()}, strict=False)
    assert row.mean_weights == ar.evaluate(twin, images(), None).mean < digital == row.digital
    assert list(row.index) == ["condition", "time_s", "digital", "mean_weights", "predicted", "low", "high"]
    assert row.low <= row.predicted <= row.high


def test_what_is_not_random_has_no_interval():
    table = ar.predict_accuracy(net(), data(), {"digital": None, "ideal": ar.Crossbar("ideal")}).table
    assert set(table[["digital", "mean_weights", "predicted", "low", "high"]].to_numpy().ravel()) == {100.0}


def test_batches_and_other_conditions_change_nothing_and_the_seed_does():
    alone = row_of(PCM, images(170), passes=2)
    x, y = images(170)
    batches = list(zip(x.split(33), y.split(33), strict=True))
    both = ar.predict_accuracy(net(), batches, {"other": ar.Gaussian(0.3), "it": PCM}, passes=2).table.iloc[1]
    assert alone.equals(both)
    assert row_of(PCM, images(170), passes=2, chip_seed=1).predicted != alone.predicted


def test_every_block_meets_another_draw_and_every_pass_too(monkeypatch):
    drawn = []
    draw = accuracy_prediction.GaussianWeights.draw

    def record(self, axes):
        draw(self, axes)
        drawn.append(next(self.model.parameters()).clone())

    monkeypatch.setattr(accuracy_prediction.GaussianWeights, "draw", record)
    row_of(ar.Gaussian(0.1), images(170), passes=3)
    assert len(drawn) == 3 * 4  # 170 images in blocks of at most 50
    assert len({tuple(weights.flatten().tolist()) for weights in drawn}) == 12


class Attentive(nn.Module):
    """Projections in three layouts: attention, a transposed convolution, a recurrent layer."""

    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose1d(6, 8, 2, stride=2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.recurrent = nn.GRU(8, 8, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.up(x.flatten(1, 2)).transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(self.recurrent(x)[0][:, -1])


@pytest.mark.parametrize("bias_rows", [0, 1])
def test_every_layout_of_weights_receives_its_draws(bias_rows):
    """Arrays with read noise store weights filters first; their mean must be the one that plain layers have."""
    with global_seed(0):
        model = Attentive().eval()
    base = accuracy_prediction.prepare(model)[0]
    reading = ar.Crossbar("rram-milo2021", bias_rows=bias_rows, dac=ar.DAC(kind="ideal"), read_noise=False)
    moments = model_moments(base, reading)
    chip = ar.program(model, reading)
    plain = accuracy_prediction.GaussianWeights(base, moments, accuracy_prediction.copy.deepcopy(base))
    arrays = accuracy_prediction.GaussianWeights(base, moments, chip)
    x = data(20)[0]
    before = chip(x)
    for weights in (plain, arrays):
        weights.draw(ar.Axes(3))
    with torch.no_grad():
        torch.testing.assert_close(chip(x), plain.model(x), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before, chip(x), atol=1e-2)


def test_ir_drop_is_named():
    wired = ar.Crossbar("rram-milo2021", rows=64, parasitics=ar.Parasitics(row_ohm=1.0))
    found = ar.predict_accuracy(net(), data(), {"wired": wired, "ideal wires": MILO}, passes=2)
    assert found.left_out == {"wired": ("IR drop",), "ideal wires": ()}
    assert found.table.predicted[0] == found.table.predicted[1]
    assert found.metric.name == "accuracy"
    assert found.seconds > 0


def test_another_task_has_its_own_metric():
    x, _ = data()
    with torch.no_grad():
        y = net().eval()(x)
    row = row_of(ar.Gaussian(0.1), (x, y), passes=2, task="regression")
    assert row.digital == pytest.approx(0.0, abs=1e-5)
    assert 0.0 <= row.low <= row.predicted <= row.high
    values = ar.evaluate(net(), (x, y), ar.Gaussian(0.1), chips=60, task="regression").mean
    assert row.predicted == pytest.approx(values, rel=0.25)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_bit_for_bit_and_in_its_mode(training):
    model = net().train(training)
    before, rng = state_of(model), torch.get_rng_state()
    ar.predict_accuracy(model, data(), {"one": PCM, "two": ar.Gaussian(0.1)}, passes=2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training == training for module in model.modules())
    assert torch.equal(rng, torch.get_rng_state())


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(36, 36), nn.Linear(36, 36, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(x.flatten(1) + self.embedding.weight[0])


@pytest.mark.parametrize(
    ("condition", "options", "error", "message"),
    [
        (MILO, {"passes": 1}, InputError, "passes"),
        (MILO, {"time_s": {"other": 5.0}}, UnknownNameError, "'other'"),
        (MILO, {"deployment": {"other": COMPENSATED}}, UnknownNameError, "'other'"),
        (MILO, {"deployment": "drift"}, InputError, "deployment"),
        (MILO, {"deployment": ar.Deployment(backend="crosssim")}, InputError, "native"),
        (MILO, {"deployment": ar.Deployment(compensation=("batchnorm",), data=[data()[0]])}, InputError, "BatchNorm"),
        (ar.Crossbar("rram-milo2021", adc=ar.ADC(bits=4)), {}, InputError, "ranges"),
        (MILO, {"task": ar.ModelScore(score=len, metric="score")}, InputError, "evaluate"),
        (ar.Gaussian(0.1), {"model": Tied()}, InputError, "'head' shares its weight"),
        (ar.Gaussian(1e38), {}, DivergenceError, "^it: "),
    ],
)
def test_what_cannot_be_predicted_is_refused(condition, options, error, message):
    with pytest.raises(error, match=message):
        row_of(condition, data(), **options)
