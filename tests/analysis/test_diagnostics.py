"""The diagnostics against dense float64 arithmetic."""

import json
import math

import pytest
import torch
from support.diagnostics_cases import KEYS, LOSS, images, linear, method_of, net, probe, small

from aimc_robust.analysis.diagnostics import Diagnostics
from aimc_robust.analysis.update_gradients import FIXED_STEP, with_fixed_strength
from aimc_robust.errors import AimcError
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.draw_faults import draw_faults
from aimc_robust.hardware.program import program
from aimc_robust.noise.distributions import Gaussian
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.random_numbers import normal
from aimc_robust.seeding import Axes
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM
from aimc_robust.training.methods.sgd import SGD


def batches(data, size=8):
    return list(zip(data[0].split(size), data[1].split(size), strict=True))


def measured(model, data):
    """(accuracy, loss with label smoothing 0.1 over 4 classes) written out."""
    with torch.no_grad():
        logs = torch.log_softmax(model(data[0]), dim=1)
    loss = -(0.9 * logs[torch.arange(len(logs)), data[1]] + 0.1 * logs.mean(dim=1)).mean()
    return 100 * float((logs.argmax(1) == data[1]).double().mean()), float(loss)


def in_any_order(data, seed=0, split="train"):
    """The subset that is all of `data`, in the order that the diagnostics take it."""
    order = torch.randperm(len(data[1]), generator=Axes(seed).at(use="diagnostics", split=split).generator())
    return data[0][order], data[1][order]


def test_the_keys_are_those_documented_and_json():
    row = probe()(net(), RWP(sigma=0.1), 3)
    assert set(row) == KEYS
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert all(isinstance(value, float) for value in row.values())


def test_accuracy_loss_and_average_sharpness_are_means_over_draws_in_evaluation_mode():
    model = net().eval()
    row = probe()(model, SGD(), 1)
    for split, data in (("train", images(24, 0)), ("test", images(20, 1))):
        clean = measured(model, data)
        assert (row[f"{split}_accuracy@0"], row[f"{split}_loss@0"]) == pytest.approx(clean, rel=1e-12)
        for sigma in (0.05, 0.2):
            found = []
            for draw in range(2):
                with perturbed(model, Gaussian(sigma), generator=Axes(0).at(use="diagnostics", draw=draw)):
                    found.append(measured(model, data))
            accuracy, loss = (sum(values) / 2 for values in zip(*found, strict=True))
            assert row[f"{split}_accuracy@{sigma}"] == pytest.approx(accuracy)
            assert row[f"{split}_loss@{sigma}"] == pytest.approx(loss, rel=1e-12)
            assert row[f"{split}_sharpness@{sigma}"] == pytest.approx(loss - clean[1], rel=1e-9)
    assert row["train_loss@0.2"] != pytest.approx(row["train_loss@0.05"], rel=1e-3)


def dense(weight, bias, data):
    """(loss, gradient over weight and bias) of softmax regression with label smoothing, by hand."""
    inputs, labels = data[0].flatten(1), data[1]
    target = torch.full((len(labels), 4), 0.1 / 4, dtype=torch.float64)
    target[torch.arange(len(labels)), labels] += 0.9
    logits = inputs @ weight.T + bias
    logs = logits - logits.logsumexp(1, keepdim=True)
    error = (logs.exp() - target) / len(labels)
    return float(-(target * logs).sum(1).mean()), torch.cat([(error.T @ inputs).flatten(), error.sum(0)])


@pytest.mark.parametrize("name", ["sgd", "sam", "rwp", "m-rwp"])
def test_gradients_and_both_directions_are_those_of_dense_softmax_regression(name):
    model, rho, factor = linear(), 0.3, 0.25  # a quarter of the ramp has passed
    method = method_of(name, ramp=Ramp(shape="quadratic", updates=40)) if name != "sgd" else SGD()
    row = probe(rho=rho)(model, method, 10)
    weight, bias = model[1].weight.detach().clone(), model[1].bias.detach().clone()
    ordered = {"train": in_any_order(images(24, 0)), "test": in_any_order(images(20, 1), split="test")}

    def ascended(data, radius):
        gradient = dense(weight, bias, data)[1][:64].view(4, 16)
        return weight + radius * gradient / gradient.norm()

    for split in ("train", "test"):  # the last 4 of 20 test images are no batch of 8 and left out
        found = [b for b in batches(ordered[split]) if len(b[1]) == 8]
        rises = [dense(ascended(b, rho), bias, b)[0] - dense(weight, bias, b)[0] for b in found]
        assert row[f"{split}_ascent_sharpness"] == pytest.approx(sum(rises) / len(rises), rel=1e-9)

    found, norms, rises, cosines, fulls = batches(ordered["train"]), [], [], [], []
    for number, batch in enumerate(found):

        def moved(share, batch=batch, number=number):
            if name == "sam":
                return ascended(batch, 0.1 * share)
            axes = Axes(Axes(0).at(use="diagnostics", batch=number).seed()).at(use="training", step=10**12, layer="1")
            draw = normal(axes, torch.empty(4, 16)).double()
            return weight + 0.1 * share * weight.abs().amax(1, keepdim=True) * draw

        clean, there = dense(weight, bias, batch), dense(moved(factor), bias, batch)
        update = {"sgd": clean[1], "m-rwp": 0.5 * (dense(weight, bias, found[number - 1])[1] + there[1])}
        norms.append(update.get(name, there[1]).norm())
        rises.append(there[0] - clean[0])
        cosines.append(there[1] @ clean[1] / there[1].norm() / clean[1].norm())
        fulls.append(dense(moved(1.0), bias, batch)[0])
    assert row["gradient_norm"] == pytest.approx(float(sum(norms)) / 3, rel=1e-9)
    if name == "sgd":
        assert row["gradient_sharpness"] is row["gradient_cosine"] is row["full_strength_loss"] is None
    else:
        assert row["gradient_sharpness"] == pytest.approx(sum(rises) / 3, rel=1e-7)
        assert row["gradient_cosine"] == pytest.approx(float(sum(cosines)) / 3, rel=1e-9)
        assert row["full_strength_loss"] == pytest.approx(sum(fulls) / 3, rel=1e-9)
        assert row["full_strength_loss"] != pytest.approx(row["gradient_sharpness"] + row["train_loss@0"], rel=1e-4)


def test_updates_are_seen_in_training_mode():
    model = net(dropout=0.0).train()
    (batch,) = batches(in_any_order(images(8, 0)))
    expected = torch.autograd.grad(LOSS(model(batch[0]), batch[1]), list(model.parameters()))
    row = Diagnostics(small(), training=images(8, 0), test=images(8, 1), loss_fn=LOSS)(
        net(dropout=0.0).eval(), SGD(), 1
    )
    assert row["gradient_norm"] == pytest.approx(float(torch.cat([g.flatten() for g in expected]).norm()), rel=1e-12)
    model.eval()
    other = torch.autograd.grad(LOSS(model(batch[0]), batch[1]), list(model.parameters()))
    assert row["gradient_norm"] != pytest.approx(float(torch.cat([g.flatten() for g in other]).norm()), rel=1e-3)


@pytest.mark.parametrize("method", [RWP(sigma=0.0), SAM(rho=0.0), MixedRWP(sigma=0.0)], ids=["rwp", "sam", "m-rwp"])
def test_without_a_perturbation_both_places_are_one_also_under_dropout(method):
    row = probe()(net(dropout=0.5), method, 1)
    assert row["gradient_sharpness"] == pytest.approx(0.0, abs=1e-12)
    assert row["gradient_cosine"] == pytest.approx(1.0, rel=1e-12)


def test_several_draws_and_parts_are_averaged():
    one, three = (probe()(linear(), RWP(sigma=0.3, draws=draws), 1) for draws in (1, 3))
    assert three["gradient_cosine"] > one["gradient_cosine"]  # the noise of a mean of draws is smaller
    assert three["full_strength_loss"] == pytest.approx(one["full_strength_loss"], rel=0.3)  # a mean, not a sum
    whole, cut = (probe()(linear(), SAM(rho=0.3, m=m), 1) for m in (None, 2))
    assert cut["gradient_sharpness"] > whole["gradient_sharpness"]  # small parts ascend more steeply


@pytest.mark.parametrize("shape", ["linear", "quadratic"])
@pytest.mark.parametrize("step", [1, 7, 39, 40, 90])
def test_a_held_method_has_the_strength_of_its_update(shape, step):
    method = SAM(rho=0.3, ramp=Ramp(shape=shape, updates=40))
    fixed = with_fixed_strength(method, method.ramp.factor(step), seed=1)
    assert fixed.strength(FIXED_STEP) == pytest.approx(method.strength(step))


def test_draws_stay_the_same_over_the_epochs_and_images_the_same_for_a_seed():
    model, method = net(), RWP(sigma=0.1)
    rows = [probe(images=10, seed=seed)(model, method, step) for seed, step in ((0, 1), (0, 500), (1, 1))]
    assert rows[0] == rows[1]
    assert rows[0]["train_loss@0"] != rows[2]["train_loss@0"]


def test_a_model_that_has_diverged_still_has_a_row():
    model = linear()
    with torch.no_grad():
        model[1].weight.fill_(math.nan)
    row = probe()(model, SAM(rho=0.1), 1)
    assert row["train_loss@0"] is row["gradient_norm"] is row["gradient_cosine"] is None
    json.dumps(row, allow_nan=False)


def test_a_small_split_is_taken_whole_and_a_partial_batch_is_kept_when_it_is_all():
    row = Diagnostics(small(images=900), training=images(5, 0), test=images(3, 1), loss_fn=LOSS)(net(), SAM(rho=0.1), 1)
    assert all(value is not None for value in row.values())
    assert row["test_accuracy@0"] == pytest.approx(measured(net().eval(), images(3, 1))[0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sigmas": [-0.1]}, "sigmas"),
        ({"sigmas": [math.nan]}, "sigmas"),
        ({"sigmas": ["0.1"]}, "sigmas"),
        ({"sigmas": 0.1}, "list"),
        ({"sigmas": [0.0]}, "0 twice"),
        ({"sigmas": [0.1, 0.1]}, "0.1"),
        ({"scale": "filter"}, "'filter'"),
        ({"rho": -1.0}, "rho"),
        ({"draws": 0}, "draws"),
        ({"images": 0}, "images"),
        ({"batch_size": 1.5}, "batch_size"),
        ({"seed": "x"}, "seed"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(change, words):
    with pytest.raises(AimcError, match=words) as caught:
        small(**change)
    assert "\n" not in str(caught.value)


def test_images_and_labels_that_do_not_fit_are_refused():
    data = images(8, 0)
    with pytest.raises(AimcError, match="images"):
        Diagnostics(small(), training=data, test=(data[0], data[1][:3]), loss_fn=LOSS)


def test_a_method_with_faults_is_measured_on_its_chip():
    model = net().eval()
    crossbar = Crossbar("rram-milo2021")
    crossbar = crossbar.replace(stuck=draw_faults(model, crossbar.replace(stuck=(0.2, 0.1)), chip=1))
    on_chip = program(model, crossbar.replace(programming=False, drift=False, read_noise=False))
    row, digital = (probe()(model, SGD(**faults), 1) for faults in ({"faults": crossbar}, {}))
    for split, data in (("train", images(24, 0)), ("test", images(20, 1))):
        assert row[f"{split}_loss@0"] == pytest.approx(measured(on_chip, data)[1], rel=1e-9)
        assert row[f"{split}_loss@0"] != pytest.approx(digital[f"{split}_loss@0"], rel=1e-3)
        assert row[f"{split}_ascent_sharpness"] != pytest.approx(digital[f"{split}_ascent_sharpness"], rel=1e-3)
    noisy = probe()(model, RWP(sigma=1e-9, faults=crossbar), 1)
    assert noisy["gradient_sharpness"] == pytest.approx(0.0, abs=1e-6)  # both passes are on the chip
    assert noisy["gradient_cosine"] == pytest.approx(1.0, abs=1e-6)
