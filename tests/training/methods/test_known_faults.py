"""Training around known stuck devices: every pass of every method computes with the chip's weights."""

import copy
import math

import numpy as np
import pytest
import torch
from support.methods import build_method
from support.training_examples import conv_net, differing, digit_batches, digits, state_of
from torch import nn
from torch.nn.utils import parametrizations

from aimc_robust import (
    Crossbar,
    Deployment,
    FaultMap,
    Gaussian,
    Ramp,
    RobustOptimizer,
    TrainingConfig,
    draw_faults,
    evaluate,
)
from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.hardware.program import program
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.training.config import EarlyStopping
from aimc_robust.training.loop import train
from aimc_robust.training.methods.array_aware import ArrayAware
from aimc_robust.training.methods.registry import METHODS
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM, AdaptiveSAM
from aimc_robust.training.methods.sgd import SGD
from aimc_robust.training.recipe import recipe_fingerprint

LOSS = nn.CrossEntropyLoss()
CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def faulty_crossbar(model, *, low=0.2, high=0.1, **options):
    crossbar = Crossbar("rram-milo2021", **options)
    return crossbar.replace(stuck=draw_faults(model, crossbar.replace(stuck=(low, high)), chip=1))


def chip_without_errors(model, crossbar, **options):
    """The model on the chip of the fault map, whose working devices are exact."""
    return program(model, crossbar.replace(programming=False, drift=False, read_noise=False), **options)


def method_of(name, faults, **more):
    """A method with known stuck devices, each of which a perturbation of strength 0 leaves alone with them."""
    if name == "array-aware":
        return ArrayAware(faults.replace(programming=False, read_noise=False, **more.pop("crossbar", {})), **more)
    arguments = {"sgd": {}, "sam": {"rho": 0.0}, "asam": {"rho": 0.0}, "rwp": {"sigma": 0.0}, "m-rwp": {"sigma": 0.0}}
    return METHODS[name](faults=faults, **arguments[name], **more)


def linear_net():
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh(), nn.Linear(12, 10)).double()


def weights_at_each_pass(model):
    """A list that grows by the weight of the first layer at each forward pass."""
    seen = []
    model.register_forward_hook(lambda module, args, out: seen.append(module[1].weight.detach().clone()))
    return seen


@pytest.mark.parametrize("mapping", ["one-sided", "two-sided", "offset", "bit-sliced"])
@pytest.mark.parametrize("name", METHODS)
def test_each_pass_is_that_of_the_chip_and_gradients_pass_straight_through(name, mapping):
    model = linear_net()
    crossbar = faulty_crossbar(model, mapping=mapping)
    on_chip = chip_without_errors(model, crossbar)
    method = method_of(name, crossbar)
    batches = digit_batches(method.batches_per_update, dtype=torch.float64)
    before, seen = state_of(model), []
    handle = model.register_forward_hook(lambda module, args, out: seen.append((args[0], out.detach())))
    loss = method.backward(model, LOSS, batches, step=1)
    handle.remove()
    assert len(seen) == method.passes_per_update
    for inputs, outputs in seen:
        torch.testing.assert_close(outputs, on_chip(inputs), **CLOSE)
    assert differing(before, state_of(model)) == []
    expected = sum(
        w * LOSS(on_chip(x), y) for w, (x, y) in zip((1.0,) if len(batches) == 1 else (0.5, 0.5), batches, strict=True)
    )
    torch.testing.assert_close(loss, expected.detach(), **CLOSE)
    gradients = torch.autograd.grad(expected, list(on_chip.parameters()))
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, **CLOSE)


@pytest.mark.parametrize("fold", [True, False])
def test_batchnorm_is_folded_as_on_the_chip(fold):
    model = conv_net(dtype=torch.float64)
    for step in range(3):  # statistics and gains of its own
        model(digit_batches(3, dtype=torch.float64)[step][0])
    model[1].weight.data.uniform_(0.2, 3.0)
    model.eval()
    crossbar = faulty_crossbar(model)
    images = digit_batches(1, dtype=torch.float64)[0][0]
    expected = chip_without_errors(model, crossbar, deployment=Deployment(fold=fold))(images)
    with SGD(faults=crossbar, fold=fold).with_faults(model):
        torch.testing.assert_close(model(images), expected, rtol=1e-6, atol=1e-6)
    with SGD(faults=crossbar, fold=not fold).with_faults(model):
        assert (model(images) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("name", METHODS)
def test_a_map_without_stuck_devices_changes_nothing(name):
    model = linear_net()
    healthy = FaultMap({"1": np.full((2, 12, 64), math.nan)})
    method = method_of(name, Crossbar("rram-milo2021", stuck=healthy))
    batches = digit_batches(method.batches_per_update, dtype=torch.float64)
    method.backward(model, LOSS, batches, step=1)
    plain = copy.deepcopy(model)
    plain.zero_grad()
    (SGD() if len(batches) == 1 else MixedRWP(sigma=0.0)).backward(plain, LOSS, batches, step=1)
    for parameter, expected in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-6, atol=1e-9)


def test_noise_and_ascent_act_on_the_weights_of_the_chip():
    model = linear_net()
    crossbar = faulty_crossbar(model)
    on_chip = chip_without_errors(model, crossbar)
    seen = weights_at_each_pass(model)
    batch = digit_batches(1, dtype=torch.float64)
    method = RWP(sigma=0.1, faults=crossbar)
    method.backward(model, LOSS, batch, step=3)
    with perturbed(on_chip, Gaussian(0.1), generator=method.axes(3)):
        torch.testing.assert_close(seen.pop(), on_chip[1].weight.detach(), **CLOSE)
    for ascent in (SAM(rho=0.2, faults=crossbar), AdaptiveSAM(rho=0.2, faults=crossbar)):
        chip = copy.deepcopy(on_chip)
        chip_weights = weights_at_each_pass(chip)
        type(ascent)(rho=0.2).backward(chip, LOSS, batch, step=3)
        ascent.backward(model, LOSS, batch, step=3)
        assert not torch.equal(seen[0], seen[1])
        for on_model, expected in zip(seen, chip_weights, strict=True):
            torch.testing.assert_close(on_model, expected, **CLOSE)
        seen.clear()


@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_a_crossbar_as_noise_has_its_stuck_devices_at_any_strength(progress):
    model = linear_net()
    crossbar = faulty_crossbar(model)
    layers = {name: states.clone() for name, states in crossbar.device.fault_map.layers.items()}
    layers["1"][:, 0] = torch.tensor([80.0, 120.0], dtype=torch.float64)[:, None]  # both devices of a column
    crossbar = crossbar.replace(stuck=FaultMap(layers), read_noise=False)
    ramp = Ramp(shape="quadratic", updates=100)
    method = MixedRWP(noise=crossbar, ramp=ramp)
    seen = weights_at_each_pass(model)
    step = max(1, round(100 * progress))
    method.backward(model, LOSS, digit_batches(2, dtype=torch.float64), step=step)
    clean, noisy = seen
    exact = chip_without_errors(model, crossbar)[1].weight.detach()
    torch.testing.assert_close(clean, exact, **CLOSE)
    torch.testing.assert_close(noisy[0], exact[0], **CLOSE)
    full = MixedRWP(noise=crossbar)
    full.backward(model, LOSS, digit_batches(2, dtype=torch.float64), step=step)
    torch.testing.assert_close(noisy, torch.lerp(exact, seen[3], ramp.factor(step)), rtol=1e-6, atol=1e-9)
    assert (seen[3] - exact).abs().max() > 1e-3


def test_arrays_have_their_stuck_devices_at_any_strength():
    model = linear_net()
    crossbar = faulty_crossbar(model)
    expected = chip_without_errors(model, crossbar)
    images = digit_batches(1, dtype=torch.float64)[0][0]
    method = ArrayAware(crossbar, ramp=Ramp(shape="linear", updates=10**9))
    with method.perturbation(model, None, step=1):
        torch.testing.assert_close(model(images), expected(images), rtol=1e-4, atol=1e-4)


def test_computed_weights_and_a_user_loop():
    model = nn.Sequential(nn.Flatten(), parametrizations.weight_norm(nn.Linear(64, 10))).double()
    crossbar = faulty_crossbar(model)
    images, labels = digit_batches(1, dtype=torch.float64)[0]
    expected = chip_without_errors(model, crossbar)(images)
    method = SGD(faults=crossbar)
    with method.with_faults(model):
        torch.testing.assert_close(model(images), expected, **CLOSE)
    optimizer = RobustOptimizer(torch.optim.SGD(model.parameters(), lr=0.1), model, method)

    def closure():
        optimizer.zero_grad()
        loss = LOSS(model(images), labels)
        loss.backward()
        return loss

    torch.testing.assert_close(optimizer.step(closure).detach(), LOSS(expected, labels).detach(), **CLOSE)


def test_what_cannot_be_is_refused():
    model = linear_net()
    crossbar = faulty_crossbar(model)
    batches = digit_batches(1, dtype=torch.float64)
    with pytest.raises(InputError, match="faults must be a crossbar with known stuck devices"):
        SGD(faults=Crossbar("rram-milo2021"))
    with pytest.raises(InputError, match="faults must be a Crossbar"):
        SGD(faults=crossbar.device.fault_map)
    for make in (lambda **faults: RWP(noise=crossbar, **faults), lambda **faults: ArrayAware(crossbar, **faults)):
        with pytest.raises(InputError, match="give that crossbar the fault map"):
            make(faults=crossbar)
    with pytest.raises(InputError, match="scope"):
        RWP(noise=crossbar, scope="all")
    with pytest.raises(InputError, match="bias_rows=0"):
        SGD(faults=crossbar.replace(bias_rows=1)).backward(model, LOSS, batches, step=1)
    unknown = crossbar.replace(stuck=FaultMap({"9": [[[1.0]]]}))
    with pytest.raises(UnknownNameError, match="'9'"):
        SAM(rho=0.1, faults=unknown).backward(model, LOSS, batches, step=1)
    for method in (SGD(faults=crossbar), ArrayAware(crossbar)):
        with pytest.raises(InputError, match=r"'1' has shape \(2, 12, 64\)"):
            method.backward(
                nn.Sequential(nn.Flatten(), nn.Linear(64, 11), nn.Tanh(), nn.Linear(11, 10)), LOSS, batches, step=1
            )


def test_the_recipe_names_the_faults():
    model = linear_net()
    first, other = (faulty_crossbar(model, low=low) for low in (0.1, 0.2))
    config, images = TrainingConfig(epochs=1), None
    prints = {recipe_fingerprint(model, "", SGD(faults=f), config, images, 0) for f in (first, first, other, None)}
    assert len(prints) == 3


def test_training_recovers_and_validates_on_the_chip():
    images, labels = digits()
    training, test = (images[:1200], labels[:1200]), (images[1200:], labels[1200:])
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10))
    config = TrainingConfig(epochs=8, lr=0.1, early_stopping=EarlyStopping(sigma=0.0))
    sets = {"training_set": training, "validation_set": test}
    train(net, SGD(), config, **sets)
    crossbar = faulty_crossbar(net, low=0.0, high=0.05, programming=False, read_noise=False)
    before = evaluate(net, [test], crossbar, chips=1).mean
    result = train(net, SGD(faults=crossbar), config, **sets)
    after = evaluate(net, [test], crossbar, chips=1).mean
    assert before < 60.0
    assert after > 90.0
    assert result.history[result.epoch - 1]["accuracy"] == pytest.approx(after)
    assert evaluate(net, [test], None).mean < after  # the digital weights are those of another function


def test_specs(tmp_path):
    model = linear_net()
    crossbar = faulty_crossbar(model)
    path = tmp_path / "faults.npz"
    crossbar.device.fault_map.save(path)
    table = {"device": "rram-milo2021", "stuck": str(path)}
    for kind, keys in (("sgd", {}), ("asam", {"rho": 0.1}), ("m-rwp", {"sigma": 0.1})):
        method = build_method(kind, {**keys, "faults": table}, seed=0)
        assert method.faults == crossbar
    assert build_method("array-aware", {"crossbar": table}, seed=0).faulty_crossbar == crossbar
    with pytest.raises(InputError, match=r"faults: `gaussian-0\.1` is a noise"):
        build_method("sgd", {"faults": "gaussian-0.1"}, seed=0)
    with pytest.raises(InputError, match="stuck devices have no time"):
        build_method("sgd", {"faults": {**table, "time_s": 10.0}}, seed=0)
