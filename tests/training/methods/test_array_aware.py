"""Training through arrays: gradients against dense oracles, and what an update leaves behind."""

import copy
import math
import warnings

import pytest
import torch
from support.training_examples import conv_net, differing, digit_batches, digits, gradients_of, state_of
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from aimc_robust.errors import DivergenceError, InputError, UnknownNameError
from aimc_robust.hardware.calibration.converter_ranges import calibrate
from aimc_robust.hardware.config.converters import ADC, DAC
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.config.ranges import ConverterRanges, LayerRanges
from aimc_robust.hardware.conversion.norm_gains import foldable_norms
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.program import chip_axes, program_prepared
from aimc_robust.noise.distributions import Gaussian
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.seeding import Axes
from aimc_robust.training.config import TrainingConfig
from aimc_robust.training.loop import train
from aimc_robust.training.methods.array_aware import ArrayAware
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sgd import SGD
from aimc_robust.training.robust_optimizer import RobustOptimizer

LOSS = nn.CrossEntropyLoss()
CLOSE = {"rtol": 1e-9, "atol": 1e-12}
FULL_SCALE, ADC_END = 1.5, 1.1
IDEAL = Crossbar("ideal")
CONVERTERS = {
    "dac": DAC(bits=4, kind="sign-magnitude", full_scale=FULL_SCALE),
    "adc": ADC(bits=5, kind="sign-magnitude", range=(-ADC_END, ADC_END)),
}
PCM = Crossbar("pcm-nandakumar2019", dac=DAC(bits=6), adc=ADC(bits=6))
WITHOUT_EDGE = Crossbar("pcm-nandakumar2019", read_noise=False)


def mean_square(outputs, targets):
    return (outputs - targets).square().mean()


def rounded(x, end, steps):
    """Clip to +-end and round to `steps` intervals; the gradient is that of the clipping."""
    clipped = x.clamp(-end, end)
    step = 2 * end / steps
    return clipped + ((clipped / step).round() * step - clipped).detach()


def in_arrays(columns, weight, rows, limit):
    """(..., inputs) times weight (outputs, inputs), by hand: converted inputs, one ADC per array, digital sum."""
    inputs = rounded(columns, FULL_SCALE, 2**4 - 2)
    total = 0.0
    for start in range(0, weight.shape[1], rows):
        part = slice(start, start + rows)
        current = inputs[..., part] @ (weight[:, part] / limit).T
        total = total + rounded(current, ADC_END * FULL_SCALE, 2**5 - 2)
    return total * limit


def gradients(method, model, batches, step=1, loss=LOSS):
    """Of one update; the model stays as it is, with its BatchNorm statistics."""
    twin = copy.deepcopy(model)
    method.backward(twin, loss, batches, step=step)
    return gradients_of(twin)


def outputs_of(method, model, x, step=1):
    """What the model puts out in the pass through arrays."""
    seen = []
    method.backward(model, lambda out, _: seen.append(out.detach()) or out.square().mean(), [(x, None)], step=step)
    return seen[0]


def square(outputs, _):
    return outputs.square().mean()


def same(first, second, **tolerance):
    assert first.keys() == second.keys()
    for name, gradient in first.items():
        message = f"{name}: {{}}".format
        torch.testing.assert_close(gradient, second[name], **(tolerance or CLOSE), msg=message)


def test_the_gradient_of_a_linear_layer_passes_straight_through_its_converters():
    generator = torch.Generator().manual_seed(0)
    x, target = (torch.randn(40, size, generator=generator, dtype=torch.float64) for size in (6, 3))
    layer = nn.Linear(6, 3, dtype=torch.float64)
    twin = copy.deepcopy(layer)
    weight = twin.weight
    mean_square(in_arrays(x, weight, 3, weight.abs().max().detach()) + twin.bias, target).backward()
    crossbar = IDEAL.replace(rows=3, **CONVERTERS)
    found = gradients(ArrayAware(crossbar), layer, [(x, target)], loss=mean_square)
    same(found, gradients_of(twin))
    plain = gradients(SGD(), layer, [(x, target)], loss=mean_square)
    assert not torch.allclose(found["weight"], plain["weight"], rtol=1e-3)


def test_the_gradient_of_a_convolution_passes_straight_through_to_its_inputs_too():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 2, 5, 5, generator=generator, dtype=torch.float64)
    target = torch.randn(6, 4, 5, 5, generator=generator, dtype=torch.float64)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 4, 3, padding=1)).double()
    twin = copy.deepcopy(model)

    def convolve(x, layer):
        columns = F.unfold(x, 3, padding=1).transpose(1, 2)
        limit = layer.weight.abs().max().detach()
        out = in_arrays(columns, layer.weight.flatten(1), 6, limit) + layer.bias
        return out.transpose(1, 2).unflatten(2, (5, 5))

    mean_square(convolve(convolve(x, twin[0]).tanh(), twin[2]), target).backward()
    found = gradients(ArrayAware(IDEAL.replace(rows=6, **CONVERTERS)), model, [(x, target)], loss=mean_square)
    same(found, gradients_of(twin))


NETS = {
    "convolutions, BatchNorm": (lambda: conv_net(dtype=torch.float64), (1, 8, 8)),
    "transposed, groups": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.ConvTranspose2d(4, 6, 3, groups=2, stride=2)).double(),
        (2, 6, 6),
    ),
    "shared with an embedding": (lambda: Tied().double(), (5,)),
    "attention": (lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).double(), (5, 8)),
    "recurrent": (lambda: Outputs(nn.LSTM(4, 6, num_layers=2, batch_first=True)).double(), (5, 4)),
    "a cell": (lambda: nn.GRUCell(4, 6).double(), (4,)),
    "a forward of its own": (lambda: nn.Sequential(Doubled(4, 6), nn.Tanh(), nn.Linear(6, 2)).double(), (4,)),
}


class Outputs(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(9, 4), nn.Linear(4, 9)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(self.embedding(x.abs().mul(9).long().clamp(max=8)).tanh())


class Doubled(nn.Linear):
    def forward(self, x):
        return 2.0 * F.linear(x, self.weight, self.bias)


def example(shape):
    x = torch.rand((12, *shape), generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.3
    return x, None


@pytest.mark.parametrize("crossbar", [IDEAL, IDEAL.replace(mapping="bit-sliced", bias_rows=0), IDEAL.replace(rows=3)])
@pytest.mark.parametrize("net", NETS)
def test_on_an_ideal_crossbar_it_is_sgd(net, crossbar):
    make, shape = NETS[net]
    model, batch = make(), example(shape)
    # Bit slices round weights to 8 bits, so that its gradient is that of rounded weights.
    close = CLOSE if crossbar.weights.mapping == IDEAL.weights.mapping else {"rtol": 0.2, "atol": 0.02}

    found = gradients(ArrayAware(crossbar), model, [batch], loss=square)
    same(found, gradients(SGD(), model, [batch], loss=square), **close)


@pytest.mark.parametrize("net", NETS)
def test_without_converters_and_read_noise_it_is_rwp_with_the_crossbars_errors(net):
    make, shape = NETS[net]
    model, batch = make(), example(shape)

    found = gradients(ArrayAware(WITHOUT_EDGE, seed=3, fold=False), model, [batch], step=5, loss=square)
    same(found, gradients(RWP(noise=WITHOUT_EDGE, seed=3), model, [batch], step=5, loss=square))


@pytest.mark.parametrize("bias_rows", [0, 2])
@pytest.mark.parametrize("net", ["transposed, groups", "attention", "recurrent", "a forward of its own"])
def test_the_forward_pass_is_that_of_the_programmed_chip(net, bias_rows):
    make, shape = NETS[net]
    model, (x, _) = make(), example(shape)
    inner = x.tanh()
    crossbar = PCM.replace(rows=5, read_noise=True, bias_rows=bias_rows)
    ranges = calibrate(model, crossbar, [inner], fold=False)
    method = ArrayAware(crossbar, ranges=ranges, seed=3, time_s=3600.0, drift_compensation=True)
    found = outputs_of(method, model, inner, step=7)
    axes = Axes(3).at(use="training", step=7)
    deployment = Deployment(fold=False, ranges=ranges, compensation=("drift",))
    prepared, _ = prepare(model, fold=False)
    chip = program_prepared(prepared, crossbar, axes, time_s=3600.0, deployment=deployment)
    torch.testing.assert_close(found, chip(inner).detach(), **CLOSE)


def test_ranges_are_those_that_calibrate_finds_in_the_batch():
    """With rounding of 2 bits another range would give other outputs."""
    x = digits()[0][:64] - 0.3
    crossbar = IDEAL.replace(rows=20, dac=DAC(bits=3), adc=ADC(bits=3))
    for layer in (nn.Conv2d(1, 4, 3), nn.Sequential(nn.Flatten(), nn.Linear(64, 7))):
        ranges = calibrate(layer, crossbar, [x], percentile=0.97, fold=False)
        found = outputs_of(ArrayAware(crossbar, percentile=0.97), layer, x)
        assert torch.equal(found, outputs_of(ArrayAware(crossbar, ranges=ranges), layer, x))
        assert not torch.allclose(found, outputs_of(ArrayAware(crossbar, percentile=0.9), layer, x))


def test_ranges_that_are_found_do_not_drift_with_the_chip():
    """A chip keeps the ranges that `calibrate` found: after a year the currents are smaller and fill less of them."""
    crossbar = Crossbar(
        "pcm-nandakumar2019", programming=False, read_noise=False, rows=20, dac=DAC(bits=4), adc=ADC(bits=4)
    )
    x, layer = digits()[0][:64] - 0.3, nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
    ranges = calibrate(layer, crossbar, [x], fold=False)
    found = outputs_of(ArrayAware(crossbar, time_s=3e7), layer, x)
    assert torch.equal(found, outputs_of(ArrayAware(crossbar, time_s=3e7, ranges=ranges), layer, x))
    assert found.abs().mean() < 0.7 * outputs_of(ArrayAware(crossbar, time_s=20.0), layer, x).abs().mean()


def settled_net():
    """A net whose BatchNorm has statistics and a gain of its own; one channel is switched off, one inverted."""
    model = conv_net(dtype=torch.float64)
    for images, _ in digit_batches(20, dtype=torch.float64):
        model(images)
    gamma = torch.tensor([3.0, -1.0, 0.5, 0.0, 0.1, 1.0], dtype=torch.float64)
    model[1].weight.data = gamma
    return model.eval()


@pytest.mark.parametrize("fold", [True, False])
def test_in_evaluation_mode_it_computes_what_the_deployed_model_does(fold):
    """Converters of 5 bits see folded currents where the deployment folds. The bits hide no other range."""
    x = digits(torch.float64)[0][:64]
    model = settled_net()
    with torch.no_grad():
        model[1].weight.abs_()  # programmed in inverse, an inverted channel has the errors of the other device
        model[1].weight[3] = 0.2
    crossbar = PCM.replace(dac=DAC(bits=5), adc=ADC(bits=5), rows=5, scaling="layer")
    ranges = calibrate(model, crossbar, [x], fold=fold)
    found = outputs_of(ArrayAware(crossbar, fold=fold, ranges=ranges, seed=3, time_s=3600.0), model, x, step=7)
    prepared, _ = prepare(model, fold=fold)
    axes = Axes(3).at(use="training", step=7)
    chip = program_prepared(prepared, crossbar, axes, time_s=3600.0, deployment=Deployment(fold=fold, ranges=ranges))
    torch.testing.assert_close(found, chip(x).detach(), **CLOSE)


def test_channels_that_a_batchnorm_switches_off_or_inverts_are_trained():
    model, batches = settled_net().train(), digit_batches(1, dtype=torch.float64)
    same(gradients(ArrayAware(IDEAL), model, batches), gradients(SGD(), model, batches))
    assert all(gradient.isfinite().all() for gradient in gradients(ArrayAware(PCM), model, batches).values())


def test_a_model_whose_layers_are_exchanged_is_traced_again():
    model = settled_net()
    assert foldable_norms(model) == {"1": "0"}
    model[1] = nn.Identity()
    assert foldable_norms(model) == {}


def test_ranges_of_another_folding_and_bias_rows_behind_batchnorm_are_refused():
    model, x = settled_net(), digits(torch.float64)[0][:64]
    for fold in (True, False):
        ranges = calibrate(model, PCM, [x], fold=fold)
        with pytest.raises(InputError, match=f"fold={fold}"):
            outputs_of(ArrayAware(PCM, fold=not fold, ranges=ranges), model, x)
    with pytest.raises(InputError, match="bias_rows"):
        outputs_of(ArrayAware(PCM.replace(bias_rows=1)), model, x)


def test_an_update_leaves_the_model_as_it_was():
    model = conv_net(dropout=0.2)
    before, kinds = state_of(model), [type(module) for module in model.modules()]
    keys, attributes = list(model.state_dict()), [sorted(vars(module)) for module in model.modules()]
    method = ArrayAware(PCM, time_s=(1.0, 1e5), noise=Gaussian(0.1))
    for step in range(1, 4):
        method.backward(model, LOSS, digit_batches(1), step=step)
    assert differing(before, before | dict(model.named_parameters())) == []
    assert [type(module) for module in model.modules()] == kinds
    assert [sorted(vars(module)) for module in model.modules()] == attributes
    assert list(model.state_dict()) == keys
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not torch.equal(before["1.running_mean"], model[1].running_mean)


def test_an_error_in_the_forward_pass_leaves_the_model_as_it_was():
    model = conv_net()
    kinds = [type(module) for module in model.modules()]
    with pytest.raises(ZeroDivisionError):
        ArrayAware(PCM).backward(model, lambda *_: 1 / 0, digit_batches(1), step=1)
    assert [type(module) for module in model.modules()] == kinds


def test_the_random_numbers_depend_on_seed_update_and_draw_only():
    model, batches = conv_net(), digit_batches(1)
    first = gradients(ArrayAware(PCM, seed=1), model, batches, step=4)
    assert differing(first, gradients(ArrayAware(PCM, seed=1), model, batches, step=4)) == []
    for other in (ArrayAware(PCM, seed=2), ArrayAware(PCM, seed=1, draws=2)):
        assert len(differing(first, gradients(other, model, batches, step=4))) > 3
    assert len(differing(first, gradients(ArrayAware(PCM, seed=1), model, batches, step=5))) > 3


@pytest.mark.parametrize("mapping", ["one-sided", "offset", "bit-sliced"])
def test_at_strength_0_nothing_is_random(mapping):
    model, batches = conv_net(dtype=torch.float64), digit_batches(1, dtype=torch.float64)
    ramp = Ramp(shape="linear", updates=10**9)
    errors = {"gain_error": 0.1, "offset_error": 0.1, "inl": 0.1}
    crossbar = PCM.replace(
        mapping=mapping,
        stuck=(0.1, 0.1),
        rows=20,
        adc=ADC(bits=9, **errors),
        dac=DAC(bits=9, noise=0.1),
        output_noise=0.2,
    )
    exact = PCM.replace(mapping=mapping, rows=20, adc=ADC(bits=9), dac=DAC(bits=9))
    exact = exact.replace(programming=False, drift=False, read_noise=False)

    def weak(step, strength):
        method = ArrayAware(crossbar, ramp=ramp, time_s=1e6, noise=Gaussian(0.5))
        object.__setattr__(method, "ramp", type("Fixed", (), {"factor": lambda self, _: strength})())
        return gradients(method, model, batches, step=step)

    same(weak(1, 0.0), gradients(ArrayAware(exact), model, batches), rtol=1e-6, atol=1e-9)
    assert len(differing(weak(1, 0.3), weak(2, 0.3))) > 3
    same(weak(1, 1.0), weak(1, 1.0 - 1e-12), rtol=1e-3, atol=1e-4)


def test_read_noise_is_drawn_at_every_read_with_its_own_size():
    """The outputs of one chip spread by the read noise of the same device; errors of programming are off."""
    crossbar = Crossbar("pcm-nandakumar2019", programming=False, drift=False)
    layer, x = nn.Linear(32, 4), torch.rand(4000, 32, generator=torch.Generator().manual_seed(0))[:1].expand(4000, 32)
    found = outputs_of(ArrayAware(crossbar), layer, x)
    prepared, _ = prepare(layer)
    chip = program_prepared(prepared, crossbar, chip_axes(1, 0))
    torch.testing.assert_close(found.std(dim=0), chip(x).std(dim=0).detach(), rtol=0.06, atol=0.0)
    assert found.std(dim=0).min() > 0


@pytest.mark.parametrize("edge", ["output", "dac", "adc"])
def test_noise_and_errors_of_the_edge_act_in_training_as_on_a_chip_and_gradients_pass(edge):
    options = {
        "output": {"dac": DAC(kind="ideal", full_scale=2.0), "output_noise": 0.1},
        "dac": {"dac": DAC(kind="ideal", full_scale=2.0, noise=0.05)},
        "adc": {"dac": DAC(kind="ideal", full_scale=2.0), "adc": ADC(bits=8, range=(-4.0, 4.0), gain_error=0.2)},
    }[edge]
    crossbar = Crossbar("ideal", rows=20, **options)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).double()
    x = digits(torch.float64)[0][:400]
    found = outputs_of(ArrayAware(crossbar), net, x)
    chip = program_prepared(prepare(net)[0], crossbar, ArrayAware(crossbar).axes(1), time_s=0.0)
    with torch.no_grad():
        exact, on_chip = net(x), chip(x)
    assert float((found - exact).std()) == pytest.approx(float((on_chip - exact).std()), rel=0.1)
    if edge == "adc":  # the same errors of the same chip
        torch.testing.assert_close(found, on_chip, rtol=1e-6, atol=1e-6)
    for gradient in gradients(ArrayAware(crossbar), net, digit_batches(1, dtype=torch.float64)).values():
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 0


def test_times_are_drawn_log_uniformly_between_their_ends():
    method = ArrayAware(PCM, time_s=(1.0, 1e6))
    times = [method._draw_time(method.axes(step)) for step in range(1, 2001)]
    decades = torch.tensor(times, dtype=torch.float64).log10().div(6.0).sort().values
    assert (decades - torch.linspace(0, 1, 2000, dtype=torch.float64)).abs().max() < 1.63 / math.sqrt(2000)  # p = 0.01
    assert {ArrayAware(PCM, time_s=7.0)._draw_time(method.axes(step)) for step in (1, 2)} == {7.0}


def test_a_chip_of_a_later_time_has_drifted():
    model, batches = conv_net(), digit_batches(1)
    first, late = (gradients(ArrayAware(WITHOUT_EDGE, time_s=time), model, batches) for time in (20.0, 1e7))
    assert late["6.weight"].norm() != first["6.weight"].norm()


def test_a_mix_of_passes_is_the_mix_of_the_gradients():
    model, batches = conv_net(dtype=torch.float64), digit_batches(2, dtype=torch.float64)
    clean, noisy = gradients(SGD(), model, batches[:1]), gradients(ArrayAware(PCM), model, batches[1:])
    mixed = gradients(ArrayAware(PCM, lam=0.3), model, batches)
    same(mixed, {name: 0.7 * gradient + 0.3 * noisy[name] for name, gradient in clean.items()})
    assert ArrayAware(PCM, lam=0.3, batches="same").batches_per_update == 1
    same(
        gradients(ArrayAware(WITHOUT_EDGE, lam=0.3, fold=False), model, batches),
        gradients(MixedRWP(noise=WITHOUT_EDGE, lam=0.3), model, batches),
    )


def test_further_noise_acts_before_programming():
    model, batches = conv_net(dtype=torch.float64), digit_batches(1, dtype=torch.float64)
    found = gradients(ArrayAware(PCM, noise=Gaussian(0.1)), model, batches)
    axes = Axes(0).at(use="training", step=1, effect="noise")
    with perturbed(model, Gaussian(0.1), generator=axes):
        expected = gradients(ArrayAware(PCM), model, batches)
    same(found, expected)


def test_layers_out_of_scope_stay_digital():
    model, (batch,) = conv_net(dtype=torch.float64), digit_batches(1, dtype=torch.float64)
    crossbar = IDEAL.replace(dac=DAC(bits=2), adc=ADC(bits=2))
    method = ArrayAware(crossbar, scope=lambda name, _: name == "6.weight")
    seen = []
    model[5].register_forward_hook(lambda _, x, out: seen.append(out.detach().clone()))
    for one in (SGD(), method, ArrayAware(crossbar)):
        one.backward(model, LOSS, [batch], step=1)
    assert torch.equal(seen[0], seen[1])
    assert not torch.allclose(seen[0], seen[2])


def test_dropout_of_attention_acts():
    class Attention(nn.Module):
        def __init__(self, dropout):
            super().__init__()
            self.inner = nn.MultiheadAttention(8, 2, dropout=dropout, batch_first=True)

        def forward(self, x):
            return self.inner(x, x, x, need_weights=self.need)[0]

    x = torch.randn(64, 30, 8, generator=torch.Generator().manual_seed(0))
    for need in (True, False):
        spreads = []
        for dropout in (0.0, 0.5):
            model = Attention(dropout)
            model.need = need
            first, second = (outputs_of(ArrayAware(IDEAL), model, x) for _ in range(2))
            spreads.append(float((first - second).abs().max()))
        assert spreads[0] == 0.0 < spreads[1]


def test_it_trains_batchnorm_with_the_batch_that_comes_out_of_the_arrays():
    model, (x, y) = conv_net(dtype=torch.float64), digit_batches(1, dtype=torch.float64)[0]
    seen = []
    model[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    ArrayAware(PCM).backward(model, LOSS, [(x, y)], step=1)
    torch.testing.assert_close(model[1].running_mean, 0.1 * seen[0].mean((0, 2, 3)), **CLOSE)
    assert model[1].weight.grad.abs().min() > 0


def test_a_closure_makes_the_same_update():
    (batch,), method = digit_batches(1), ArrayAware(PCM, lam=0.5, batches="same")
    model, twin = conv_net(), conv_net()
    method.backward(twin, LOSS, [batch], step=1)
    torch.optim.SGD(twin.parameters(), lr=0.1).step()
    robust = RobustOptimizer(torch.optim.SGD(model.parameters(), lr=0.1), model, method)

    def closure():
        robust.zero_grad()
        loss = LOSS(model(batch[0]), batch[1])
        loss.backward()
        return loss

    robust.step(closure)
    assert differing(state_of(twin), state_of(model)) == []


def test_autocast_leaves_arrays_in_float32():
    model, (batch,) = conv_net(), digit_batches(1)
    with torch.autocast("cpu", torch.bfloat16):
        loss = ArrayAware(PCM).backward(model, LOSS, [batch], step=1)
    assert torch.isfinite(loss)
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())


def weight_normed():
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 2))


class OwnProduct(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return x @ self.layer.weight.T


def on_two_devices():
    model = nn.DataParallel(nn.Linear(4, 2))
    model.device_ids = [0, 1]
    return model


X = (torch.rand(6, 4), None)


@pytest.mark.parametrize(
    ("model", "method", "words"),
    [
        (weight_normed, ArrayAware(IDEAL), "'0' computes its weight"),
        (OwnProduct, ArrayAware(IDEAL), "'layer'"),
        (lambda: torch.compile(nn.Linear(4, 2)), ArrayAware(IDEAL), "compile"),
        (lambda: on_two_devices(), ArrayAware(IDEAL), "DataParallel"),
        (lambda: nn.Tanh(), ArrayAware(IDEAL), "no parameter"),
        (lambda: Outputs(nn.LSTM(4, 2)), ArrayAware(PCM), "'layer.weight_ih_l0'"),
        (
            lambda: nn.Linear(4, 2),
            ArrayAware(PCM, ranges=ConverterRanges({"fc": LayerRanges(inputs=(0, 1))})),
            "unknown layer .* 'fc'",
        ),
    ],
)
def test_models_that_arrays_cannot_compute_are_refused(model, method, words):
    with pytest.raises((InputError, UnknownNameError), match=words):
        method.backward(model(), lambda out, _: out.mean(), [X], step=1)


def test_values_that_are_not_finite_are_told_with_the_layer():
    model = nn.Linear(4, 2)
    with pytest.raises(InputError, match="'weight'"):
        ArrayAware(PCM).backward(model, lambda out, _: out.mean(), [(X[0] * math.inf, None)], step=1)


def test_a_training_that_diverges_is_told_as_such():
    config = TrainingConfig(epochs=2, batch_size=50, lr=1e30)
    images, labels = digits()
    data = {"training_set": (images[:100], labels[:100]), "validation_set": (images[100:200], labels[100:200])}
    with pytest.raises(DivergenceError):
        train(conv_net(), ArrayAware(PCM), config, **data)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"crossbar": "rram-wan2022"}, "crossbar"),
        ({"scope": "all"}, "scope"),
        ({"noise": IDEAL}, "noise"),
        ({"noise": 0.1}, "noise"),
        ({"time_s": (0.0, 10.0)}, "above 0"),
        ({"time_s": (10.0, 1.0)}, "time_s"),
        ({"time_s": -1.0}, "time"),
        ({"time_s": "1 d"}, "time"),
        ({"ranges": {}}, "ranges"),
        ({"percentile": 0.4}, "percentile"),
        ({"lam": 1.5}, "lam"),
        ({"draws": 0}, "draws"),
        ({"bn_stats": "clean"}, "bn_stats"),
        ({"crossbar": IDEAL.replace(crosssim={"simulation": {}})}, "CrossSim"),
        ({"sigma": 0.1}, "sigma"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises((InputError, UnknownNameError), match=words):
        ArrayAware(**({"crossbar": PCM} | options))


def test_a_time_beyond_the_cards_source_is_told():
    card = Crossbar("pcm-nandakumar2019", on_out_of_range="error")
    with pytest.raises(InputError, match="nandakumar"):
        ArrayAware(card, time_s=(1.0, 3e9))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ArrayAware(card, time_s=3600.0)
