"""The training loop on real digits: it learns, follows the recipe to the letter, and touches nothing else."""

from itertools import chain, combinations

import pytest
import torch
from support.measure import measure
from support.training_examples import conv_net, differing, digits, state_of
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from aimc_robust.training.config import TrainingConfig
from aimc_robust.training.loop import train
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM
from aimc_robust.training.methods.sgd import SGD

METHODS = {"sgd": SGD(), "sam": SAM(rho=0.05), "rwp": RWP(sigma=0.05), "m-rwp": MixedRWP(sigma=0.05)}
IMAGES, LABELS = digits()
TRAINING, VALIDATION = (IMAGES[:1000], LABELS[:1000]), (IMAGES[1000:1400], LABELS[1000:1400])
DATA = {"training_set": TRAINING, "validation_set": VALIDATION}
CONFIG = TrainingConfig(epochs=4, batch_size=32, lr=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_learns_to_read_digits(method):
    result = train(conv_net(), method, CONFIG, **DATA)
    assert measure(result.model, [VALIDATION]).value > 85.0  # chance: 10
    assert not result.model.training


def test_the_history_has_a_whole_row_per_epoch():
    method = RWP(sigma=0.1, ramp=Ramp(shape="quadratic", updates=62))
    seen = []
    result = train(conv_net(), method, CONFIG, **DATA, on_epoch=seen.append)
    assert result.history == seen
    assert [row["epoch"] for row in seen] == [1, 2, 3, 4]
    assert [row["updates"] for row in seen] == [31, 62, 93, 124]  # 1000 // 32 = 31, the rest is dropped
    assert [row["strength"] for row in seen] == [pytest.approx(0.05), 0.1, 0.1, 0.1]
    for row in seen:
        assert row.keys() == {"epoch", "updates", "lr", "strength", "train_loss", "accuracy", "loss",
                              "perturbed_accuracy", "distance", "seconds"}  # fmt: skip
        assert row["perturbed_accuracy"] is None
        assert 0.0 <= row["accuracy"] <= 100.0
    assert (seen[-1]["accuracy"], seen[-1]["loss"]) == measure(result.model, [VALIDATION])[1:3]
    assert seen[-1]["train_loss"] < seen[0]["train_loss"]


class Recorder(nn.Sequential):
    """Keeps every batch of inputs that it is trained on."""

    def forward(self, inputs):
        if self.training:
            self.seen.append(inputs)
        return super().forward(inputs)


def recorder():
    net = Recorder(*conv_net())
    net.seen = []
    return net


def test_the_loop_is_the_one_that_a_user_of_torch_would_write():
    model = recorder()
    train(model, SGD(), CONFIG, **DATA)

    by_image = {image.numpy().tobytes(): label for image, label in zip(*TRAINING, strict=True)}
    own = conv_net()
    optimizer = torch.optim.SGD(own.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=124)
    loss_fn = nn.CrossEntropyLoss(label_smoothing=0.1)
    for inputs in model.seen:
        labels = torch.stack([by_image[image.numpy().tobytes()] for image in inputs])
        optimizer.zero_grad()
        loss_fn(own(inputs), labels).backward()
        optimizer.step()
        schedule.step()
    assert len(model.seen) == 124
    for name, value in state_of(own).items():
        torch.testing.assert_close(state_of(model)[name], value, rtol=1e-3, atol=1e-4)


def test_the_learning_rate_falls_along_half_a_cosine():
    def note(optimizer, *_):
        rates.append(optimizer.param_groups[0]["lr"])

    rates = []
    hook = register_optimizer_step_pre_hook(note)
    try:
        train(conv_net(), SGD(), CONFIG, **DATA)
    finally:
        hook.remove()
    assert rates[0] == 0.1
    assert rates[62] == pytest.approx(0.05)
    assert 0.0 < rates[-1] < 1e-4
    assert rates == sorted(rates, reverse=True)


def first_loss(**settings):
    """train_loss of an epoch of one update: the loss at the initial weights, whatever the optimizer does."""
    config = TrainingConfig(epochs=1, batch_size=1000, **settings)
    return train(conv_net(), SGD(), config, **DATA).history[0]["train_loss"]


def test_the_training_loss_is_smoothed_as_torch_does():
    model = conv_net()
    for smoothing in (0.0, 0.1, 0.4):
        expected = nn.CrossEntropyLoss(label_smoothing=smoothing)(model(TRAINING[0]), TRAINING[1]).item()
        assert first_loss(label_smoothing=smoothing) == pytest.approx(expected, rel=1e-5)


def test_weight_decay_shrinks_the_weights():
    def norm(weight_decay):
        result = train(conv_net(), SGD(), TrainingConfig(epochs=2, weight_decay=weight_decay), **DATA)
        return result.model[-1].weight.norm().item()

    assert norm(0.1) < 0.9 * norm(0.0)


def orders(method, seed=0, epochs=2):
    """The images of each pass of each update, as row numbers of the training set."""
    model = recorder()
    train(model, method, TrainingConfig(epochs=epochs, batch_size=100), **DATA, train_seed=seed)
    rows = {image.numpy().tobytes(): row for row, image in enumerate(TRAINING[0])}
    return [[rows[image.numpy().tobytes()] for image in inputs] for inputs in model.seen]


def test_the_order_of_images_is_the_same_for_every_method():
    sgd = orders(SGD())
    assert orders(RWP(sigma=0.1, seed=7)) == sgd
    sam, mixed = orders(SAM(rho=0.1)), orders(MixedRWP(sigma=0.1))
    assert sam[0::2] == sam[1::2] == sgd  # both passes of SAM see one batch
    assert mixed[0::2] == sgd


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own():
    sgd = orders(SGD())
    first, second = list(chain(*sgd[:10])), list(chain(*sgd[10:]))
    assert sorted(first) == sorted(second) == list(range(1000))
    assert first != second
    assert orders(SGD(), seed=1) != sgd


def test_mixed_rwp_sees_the_images_in_two_orders():
    mixed = orders(MixedRWP(sigma=0.1), epochs=1)
    clean, noisy = list(chain(*mixed[0::2])), list(chain(*mixed[1::2]))
    assert sorted(clean) == sorted(noisy) == list(range(1000))
    assert clean != noisy


def test_a_batch_larger_than_the_data_is_all_of_it():
    assert len(orders(SGD(), epochs=1)) == 10
    history = train(conv_net(), SGD(), TrainingConfig(epochs=2, batch_size=5000), **DATA).history
    assert [row["updates"] for row in history] == [1, 2]


def test_training_with_dropout_is_reproducible_and_leaves_the_global_generator_alone():
    def trained(global_seed, seed=0):
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        result = train(conv_net(dropout=0.5), SAM(rho=0.05), TrainingConfig(epochs=1), **DATA, train_seed=seed)
        assert torch.equal(before, torch.get_rng_state())
        return state_of(result.model)

    with torch.random.fork_rng(devices=[]):
        reference = trained(1)
        assert differing(reference, trained(2)) == []
        assert "0.weight" in differing(reference, trained(1, seed=1))


def test_every_update_epoch_and_seed_has_dropout_of_its_own():
    model, masks = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10)), []
    model[1].register_forward_hook(lambda module, _, output: masks.append(output == 0) if module.training else None)
    data = {"training_set": (torch.ones_like(TRAINING[0]), TRAINING[1]), "validation_set": VALIDATION}
    for seed in (0, 1):
        train(model, SGD(), TrainingConfig(epochs=2, batch_size=500), **data, train_seed=seed)
    assert len(masks) == 8
    assert not any(torch.equal(first, second) for first, second in combinations(masks, 2))


@pytest.mark.gpu
def test_training_on_a_gpu_leaves_its_global_generator_alone(accelerator):
    rng = torch.get_device_module(accelerator)
    before = rng.get_rng_state()
    data = {name: tuple(t.to(accelerator) for t in part) for name, part in DATA.items()}
    train(conv_net(dropout=0.5).to(accelerator), SGD(), TrainingConfig(epochs=1), **data)
    assert torch.equal(before, rng.get_rng_state())
