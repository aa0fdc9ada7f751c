"""Learned input ranges: the gradient against oracles, the rule of an update, and where the ranges are kept."""

import copy
import math

import pytest
import torch
from support.training_examples import conv_net, digit_batches, digits
from torch import nn
from torch.nn import functional as F

from aimc_robust.errors import CheckpointError, DivergenceError, InputError, UnknownNameError
from aimc_robust.evaluation.evaluate import evaluate
from aimc_robust.hardware.calibration.converter_ranges import calibrate
from aimc_robust.hardware.config.converters import ADC, DAC
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.config.placement import Placement
from aimc_robust.hardware.config.ranges import ConverterRanges, LayerRanges
from aimc_robust.hardware.program import program
from aimc_robust.training.config import TrainingConfig
from aimc_robust.training.loop import train
from aimc_robust.training.methods.array_aware import ArrayAware
from aimc_robust.training.methods.learned_ranges import LearnedRanges
from aimc_robust.training.methods.range_state import learned_ranges
from aimc_robust.training.methods.sgd import SGD
from aimc_robust.training.robust_optimizer import RobustOptimizer

LOSS = nn.CrossEntropyLoss()
IDEAL = Crossbar("ideal", dac=DAC(bits=4, kind="sign-magnitude"))
PCM = Crossbar("pcm-nandakumar2019", rows=50, dac=DAC(bits=4), adc=ADC(bits=4))
RATE = 1e-4  # small, so that no update reaches the bound on its change


def start(full_scale, name="weight", *, signed=True):
    return ConverterRanges({name: LayerRanges(inputs=(-full_scale if signed else 0.0, full_scale))})


def found_gradient(model, batch, full_scale, *, name="weight", loss, crossbar=IDEAL, **options):
    """dL/dr, from how far an update without decay moves r."""
    rule = LearnedRanges(start=start(full_scale, name), lr=RATE, decay=0.0)
    ArrayAware(crossbar, ranges=rule, **options).backward(model, loss, [batch], step=1)
    return -math.log(learned_ranges(model)[name].full_scale / full_scale) / (RATE * full_scale)


def weighted_sum(outputs, weights):
    return (outputs * weights).sum()


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_gradient_is_that_of_clipping_by_finite_differences():
    """One input at a time; of the inputs, those count that ask for a larger range."""
    x, weights, full_scale, step = normal(12, 6), normal(12, 3, seed=1), 0.8, 1e-4
    layer = nn.Linear(6, 3, dtype=torch.float64)

    @torch.no_grad()
    def loss_with(index, end):
        clipped = x.clamp(-full_scale, full_scale)
        clipped.view(-1)[index] = x.view(-1)[index].clamp(-end, end)
        return float(weighted_sum(F.linear(clipped, layer.weight, layer.bias), weights))

    slopes = [
        (loss_with(i, full_scale + step) - loss_with(i, full_scale - step)) / (2 * step) for i in range(x.numel())
    ]
    expected = sum(min(slope, 0.0) for slope in slopes)
    assert sum(map(abs, slopes)) > 1.5 * abs(expected) > 0  # both signs occur
    assert found_gradient(layer, (x, weights), full_scale, loss=weighted_sum) == pytest.approx(expected, rel=1e-6)


def test_the_gradient_of_a_padded_convolution_inside_a_network_is_that_of_a_dense_oracle():
    x, target, full_scale = normal(4, 2, 6, 6), normal(4, 3, 6, 6, seed=1), 0.2
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 3, 3, padding=1)).double()
    step = 2 * full_scale / (2**4 - 2)
    hidden = model[1](model[0](x)).detach()
    clipped = hidden.clamp(-full_scale, full_scale)
    converted = ((clipped / step).round() * step).requires_grad_()
    F.mse_loss(F.conv2d(converted, model[2].weight, model[2].bias, padding=1), target).backward()
    above, below = hidden >= full_scale, hidden <= -full_scale
    expected = float(converted.grad[above].clamp(max=0).sum() - converted.grad[below].clamp(min=0).sum())
    digital_first = {"scope": lambda name, _: name.startswith("2.")}
    options = {"name": "2", "loss": F.mse_loss, **digital_first}
    assert found_gradient(model, (x, target), full_scale, **options) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("options", [{"draws": 3}, {"lam": 0.25, "batches": "same"}])
def test_the_gradient_is_that_of_the_update(options):
    """Averaged over draws, and with the weight of the pass through arrays."""
    x, weights = normal(12, 6), normal(12, 3, seed=1)
    layer = nn.Linear(6, 3, dtype=torch.float64)
    once = found_gradient(copy.deepcopy(layer), (x, weights), 0.8, loss=weighted_sum)
    found = found_gradient(layer, (x, weights), 0.8, loss=weighted_sum, **options)
    assert found == pytest.approx(once * options.get("lam", 1.0), rel=1e-6)


def test_a_closure_and_a_scaled_loss_give_the_same_range():
    x, weights = normal(12, 6), normal(12, 3, seed=1)
    layer = nn.Linear(6, 3, dtype=torch.float64)
    rule = LearnedRanges(start=start(0.8), lr=RATE)
    method = ArrayAware(IDEAL, ranges=rule, lam=0.5, batches="same")
    plain, scaled, closed = (copy.deepcopy(layer) for _ in range(3))
    method.backward(plain, weighted_sum, [(x, weights)], step=1)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    method.backward(scaled, weighted_sum, [(x, weights)], step=1, scaler=scaler)
    optimizer = RobustOptimizer(torch.optim.SGD(closed.parameters(), lr=0.1), closed, method)

    def closure():
        optimizer.zero_grad()
        loss = weighted_sum(closed(x), weights)
        loss.backward()
        return loss

    optimizer.step(closure)
    expected = learned_ranges(plain)["weight"].full_scale
    assert expected != 0.8
    for model in (scaled, closed):
        assert learned_ranges(model)["weight"].full_scale == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("full_scale", "decay"), [(1.5, 0.0), (2.5, 0.01)])
def test_an_update_in_parts_changes_ranges_as_one_batch_does(full_scale, decay):
    """Gradient accumulation: no part moves the range that the next one computes with, or decays it once more."""
    x, weights = normal(64, 6), normal(64, 3, seed=1)
    layer = nn.Linear(6, 3, dtype=torch.float64)
    rule = LearnedRanges(start=start(full_scale), lr=1e-3, decay=decay)
    found = {}
    for parts in (1, 4):
        accumulated, method = copy.deepcopy(layer), ArrayAware(IDEAL, ranges=rule)
        for step in (1, 2, 3):
            for batch in zip(x.chunk(parts), weights.chunk(parts), strict=True):
                method.backward(accumulated, weighted_sum, [batch], step=step)
        found[parts] = learned_ranges(accumulated)["weight"].full_scale
    assert found[4] == pytest.approx(found[1], rel=1e-12)
    assert found[1] < full_scale if decay else found[1] > full_scale


def test_first_ranges_count_updates_and_not_their_parts():
    method = ArrayAware(IDEAL, ranges=LearnedRanges(init_batches=2, init_std=2.0, lr=0.0, decay=0.0))
    layer, parts = nn.Linear(6, 3, dtype=torch.float64), normal(16, 6).chunk(4)
    for step in (1, 2):
        for part in parts:
            method.backward(layer, lambda out, _: out.square().mean() / 4, [(part, part)], step=step)
    found = learned_ranges(layer)["weight"].full_scale
    assert found == pytest.approx(2.0 * float(sum(part.std(correction=0) for part in parts)) / 4, rel=1e-6)
    method.backward(layer, lambda out, _: out.square().mean(), [(9 * parts[0], parts[0])], step=3)
    assert learned_ranges(layer)["weight"].full_scale == found  # two updates have found it


def test_the_gradient_is_that_of_aihwkit_lightning():
    pytest.importorskip("aihwkit_lightning", reason="aihwkit-lightning is not installed")
    from aihwkit_lightning.nn import AnalogLinear
    from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig

    x, target, full_scale = normal(40, 6).float(), normal(40, 3, seed=1).float(), 0.8
    for decay, scale in ((0.0, full_scale), (0.01, full_scale), (0.01, 6.0)):  # the last one clips too few inputs
        config = TorchInferenceRPUConfig()
        config.forward.inp_res, config.mapping.max_input_size = 2**4 - 2, 0
        input_range = config.pre_post.input_range
        input_range.enable, input_range.init_from_data, input_range.init_value = True, 0, scale
        input_range.decay = decay
        peer = AnalogLinear(6, 3, rpu_config=config)
        F.mse_loss(peer(x), target).backward()
        layer = nn.Linear(6, 3)
        layer.load_state_dict({"weight": peer.weight.detach(), "bias": peer.bias.detach()})
        rule = LearnedRanges(start=start(scale), lr=RATE, decay=RATE * decay)
        ArrayAware(IDEAL, ranges=rule).backward(layer, F.mse_loss, [(x, target)], step=1)
        change = -math.log(learned_ranges(layer)["weight"].full_scale / scale) / RATE
        decayed = decay if scale > full_scale else 0.0
        # The peer's r dL/dr + decay r is the gradient of r, ours r dL/dr + decay that of log r.
        assert change - decayed == pytest.approx(float(peer.input_range.grad) - decayed * scale, rel=1e-3, abs=1e-6)


def test_the_first_range_is_the_mean_of_the_first_batches():
    batches = [normal(20, 6, seed=seed) * (seed + 1) for seed in range(4)]
    layer = nn.Linear(6, 3, dtype=torch.float64)
    method = ArrayAware(IDEAL, ranges=LearnedRanges(init_batches=3, init_std=2.0, lr=0.0, decay=0.0))
    for step, x in enumerate(batches, start=1):
        method.backward(layer, lambda out, _: out.square().mean(), [(x, None)], step=step)
    expected = sum(2.0 * float(x.std(correction=0)) for x in batches[:3]) / 3
    assert learned_ranges(layer)["weight"].inputs == pytest.approx((-expected, expected), rel=1e-9)


def test_the_first_range_may_be_a_quantile_and_positive_inputs_start_at_0():
    x = normal(50, 6).abs()
    layer = nn.Linear(6, 3, dtype=torch.float64)
    crossbar = IDEAL.replace(dac=DAC(bits=4))
    method = ArrayAware(crossbar, ranges=LearnedRanges(init_std=None), percentile=1.0)
    method.backward(layer, lambda out, _: out.square().mean(), [(x, None)], step=1)
    assert learned_ranges(layer)["weight"].inputs == (0.0, pytest.approx(float(x.max()), rel=1e-6))


def test_decay_pulls_down_a_range_that_is_hardly_used_until_inputs_are_clipped():
    x = normal(200, 6)
    layer = nn.Linear(6, 3, dtype=torch.float64)
    method = ArrayAware(IDEAL, ranges=LearnedRanges(start=start(50.0), lr=0.0, decay=0.05))
    found = []
    for step in range(1, 101):
        method.backward(layer, lambda out, _: out.square().mean(), [(x, None)], step=step)
        found.append(learned_ranges(layer)["weight"].full_scale)
    assert found[0] == pytest.approx(50.0 * math.exp(-0.05), rel=1e-12)
    quantile = float(x.abs().flatten().quantile(0.95))
    assert quantile * 0.94 < found[-1] <= quantile * 1.01
    assert found[-1] == found[-2]


def test_an_update_changes_a_range_by_a_tenth_at_most():
    rule = LearnedRanges(lr=1e6)
    assert rule.updated(1.0, -1.0, 0.5) == pytest.approx(math.exp(0.1))
    assert rule.updated(1.0, math.nan, 0.5) == 1.0
    assert LearnedRanges(decay=0.1).updated(1.0, 0.0, 1.0) == pytest.approx(math.exp(-0.1))


def test_a_range_that_collapses_stops_training_and_names_the_layer():
    model = nn.Sequential(nn.Linear(6, 3), nn.Linear(3, 2)).double()
    rule = LearnedRanges(init_batches=1, decay=0.1)
    method = ArrayAware(IDEAL, ranges=rule)

    def run(steps):
        for step in range(1, steps):
            x = normal(20, 6) if step == 1 else torch.zeros(20, 6, dtype=torch.float64)
            method.backward(model, lambda out, _: out.square().mean(), [(x, None)], step=step)

    with pytest.raises(DivergenceError, match=r"layer '0' collapsed to .* decay"):
        run(100)


def test_inputs_that_are_not_finite_are_told_with_the_layer():
    method = ArrayAware(IDEAL, ranges="learned")
    with pytest.raises(InputError, match=r"'weight'.*not finite"):
        method.backward(nn.Linear(4, 2), lambda out, _: out.mean(), [(torch.full((3, 4), math.inf), None)], step=1)


def loop(model, method, steps=12):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step, batch in enumerate(digit_batches(steps), start=1):
        method.backward(model, LOSS, [batch], step=step)
        optimizer.step()
        optimizer.zero_grad()
    return model


def test_the_ranges_are_kept_beside_the_weights_and_fit_a_deployment():
    model = conv_net()
    names = list(model.state_dict())
    loop(model, ArrayAware(PCM, ranges=LearnedRanges(init_batches=4)))
    assert list(model.state_dict()) == names
    ranges = learned_ranges(model)
    assert set(ranges) == {"0", "6"}
    assert ranges["6"].inputs[0] == 0.0
    assert len(ranges["0"].outputs) == 1
    assert learned_ranges(copy.deepcopy(model)) == ranges
    images, labels = digits()
    batches = [(images[500:700], labels[500:700])]
    deployment = Deployment(ranges=ranges)
    assert evaluate(model, batches, PCM, chips=2, deployment=deployment).mean > 10
    with pytest.raises(InputError, match="calibrate"):
        program(model, PCM.replace(dac=DAC(bits=5)), deployment=deployment)
    with pytest.raises(InputError, match="fold"):
        program(model, PCM, deployment=Deployment(ranges=ranges, fold=False))


def test_learning_goes_on_from_the_ranges_of_before():
    rule = LearnedRanges(init_batches=4)
    whole, stopped = loop(conv_net(), ArrayAware(PCM, ranges=rule)), conv_net()
    loop(stopped, ArrayAware(PCM, ranges=rule), steps=6)
    before = learned_ranges(stopped)
    resumed = conv_net()
    resumed.load_state_dict(stopped.state_dict())
    method = ArrayAware(PCM, ranges=LearnedRanges(init_batches=4, start=ConverterRanges.from_json(before.to_json())))
    optimizer = torch.optim.SGD(resumed.parameters(), lr=0.05)
    for step, batch in enumerate(digit_batches(12)[6:], start=7):
        method.backward(resumed, LOSS, [batch], step=step)
        optimizer.step()
        optimizer.zero_grad()
    assert learned_ranges(resumed) != before
    for name, layer in learned_ranges(whole).items():
        assert learned_ranges(resumed)[name].inputs == layer.inputs


def test_other_converters_start_anew():
    model = loop(conv_net(), ArrayAware(PCM, ranges=LearnedRanges(init_batches=4)))
    before = learned_ranges(model)
    other = PCM.replace(adc=ADC(bits=4, range=(-4.0, 4.0)))
    loop(model, ArrayAware(other, ranges=LearnedRanges(init_batches=4)), steps=1)
    assert learned_ranges(model) != before
    assert learned_ranges(model)["0"].outputs == ()


def test_a_placement_learns_where_converters_ask_for_it():
    other = Crossbar("ideal", dac=DAC(bits=6))
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 2))
    placement = Placement({"0": "digital", "1": PCM, "2": other})
    method = ArrayAware(placement, ranges=LearnedRanges(init_batches=2))
    x = normal(8, 6).float()
    for step in range(1, 4):
        method.backward(model, lambda out, _: out.square().mean(), [(x, None)], step=step)
    ranges = learned_ranges(model)
    assert set(ranges) == {"1", "2"}
    assert (len(ranges["1"].outputs), len(ranges["2"].outputs)) == (1, 0)
    program(model, placement, deployment=Deployment(ranges=ranges))(x)
    swapped = Placement({"0": "digital", "1": PCM, "2": other.replace(dac=DAC(bits=5))})
    with pytest.raises(InputError, match="'2'"):
        program(model, swapped, deployment=Deployment(ranges=ranges))


def test_recurrent_layers_learn_one_range_for_all_time_steps():
    model = nn.LSTM(4, 6, batch_first=True)
    method = ArrayAware(PCM, ranges=LearnedRanges(init_batches=2))
    for step in range(1, 6):
        x = normal(8, 5, 4, seed=step).float()
        method.backward(model, lambda out, _: out[0].square().mean(), [(x, None)], step=step)
    ranges = learned_ranges(model)
    assert set(ranges) == {"weight_ih_l0", "weight_hh_l0"}
    program(model, PCM, deployment=Deployment(ranges=ranges))(x)


def test_bias_rows_are_never_clipped():
    layer = nn.Linear(6, 3)
    crossbar = IDEAL.replace(bias_rows=2)
    method = ArrayAware(crossbar, ranges=LearnedRanges(init_batches=1, decay=0.1))
    for step in range(1, 30):
        method.backward(layer, lambda out, _: out.square().mean(), [(normal(20, 6).float() * 0.1, None)], step=step)
    assert learned_ranges(layer)["weight"].full_scale == 1.0
    program(layer, crossbar, deployment=Deployment(ranges=learned_ranges(layer)))(torch.ones(1, 6))


def test_training_saves_the_ranges_of_the_selected_epoch(tmp_path):
    images, labels = digits()
    data = {"training_set": (images[:200], labels[:200]), "validation_set": (images[200:300], labels[200:300])}
    method = ArrayAware(PCM, ranges=LearnedRanges(init_batches=4))
    config = TrainingConfig(epochs=2, batch_size=40)
    result = train(conv_net(), method, config, **data, folder=tmp_path)
    assert result.ranges == learned_ranges(result.model) == learned_ranges(tmp_path / "checkpoint.safetensors")
    again = train(conv_net(seed=1), method, config, **data, folder=tmp_path)
    assert again.ranges == result.ranges
    assert train(conv_net(), SGD(), config, **data).ranges is None


def test_ranges_that_are_not_there_are_told(tmp_path):
    with pytest.raises(InputError, match="ranges='learned'"):
        learned_ranges(nn.Linear(4, 2))
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match="weights"):
        learned_ranges(path)
    with pytest.raises(InputError, match="trained"):
        learned_ranges(3)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: ArrayAware(PCM, ranges="learnt"), "learned"),
        (lambda: ArrayAware(Crossbar("ideal", adc=ADC(bits=4)), ranges="learned"), "dac"),
        (lambda: ArrayAware(PCM.replace(dac=DAC(bits=4, full_scale=1.0)), ranges="learned"), "full_scale"),
        (lambda: LearnedRanges(start={}), "start"),
        (lambda: LearnedRanges(init_batches=0), "init_batches"),
        (lambda: LearnedRanges(init_std=0.0), "init_std"),
        (lambda: LearnedRanges(lr=-1.0), "lr"),
        (lambda: LearnedRanges(decay=0.5), "decay"),
        (lambda: LearnedRanges(unclipped=1.5), "unclipped"),
    ],
)
def test_bad_options_are_refused(build, words):
    with pytest.raises((InputError, UnknownNameError), match=words):
        build()


def test_start_belongs_to_the_model():
    ranges = calibrate(nn.Linear(4, 2), PCM, [torch.ones(3, 4)])
    method = ArrayAware(PCM.replace(rows=2), ranges=LearnedRanges(start=ranges))
    with pytest.raises(InputError, match="rows"):
        method.backward(nn.Linear(4, 2), lambda out, _: out.mean(), [(torch.ones(3, 4), None)], step=1)
