"""Training that breaks says where: update, epoch, method and strength."""

from dataclasses import dataclass

import pytest
import torch
from support.training_examples import conv_net, digits

from aimc_robust.errors import DivergenceError
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.training.config import TrainingConfig
from aimc_robust.training.loop import train
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.rwp import RWP
from aimc_robust.training.methods.sam import SAM
from aimc_robust.training.methods.sgd import SGD

IMAGES, LABELS = digits()
VALIDATION = (IMAGES[200:300], LABELS[200:300])


def run(method, config, images=IMAGES[:200], **more):
    return train(conv_net(), method, config, training_set=(images, LABELS[:200]), validation_set=VALIDATION, **more)


def test_an_absurd_learning_rate_is_reported_with_update_method_and_strength():
    method = RWP(sigma=0.2, ramp=Ramp(shape="quadratic", updates=1))
    config = TrainingConfig(epochs=20, batch_size=20, lr=1e30)
    with pytest.raises(DivergenceError, match=r"not finite at update \d+ \(epoch \d+\) of RWP at strength 0\.2"):
        run(method, config)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_image_that_is_not_finite_is_reported_at_the_first_update_that_meets_it(value):
    images = torch.full_like(IMAGES[:200], value)
    with pytest.raises(DivergenceError, match=r"at update 1 \(epoch 1\) of SAM at strength 0\.5"):
        run(SAM(rho=0.5), TrainingConfig(epochs=2, batch_size=20), images=images)


@dataclass(frozen=True, kw_only=True)
class BreaksAt(SGD):
    """A loss of NaN at update `at` alone."""

    at: int

    def backward(self, model, loss_fn, batches, *, step):
        loss = super().backward(model, loss_fn, batches, step=step)
        return loss * float("nan") if step == self.at else loss


@pytest.mark.parametrize(("at", "epoch"), [(1, 1), (10, 1), (11, 2), (14, 2), (20, 2)])
def test_the_update_is_counted_from_the_first_of_the_run(at, epoch):
    with pytest.raises(DivergenceError, match=rf"at update {at} \(epoch {epoch}\) of BreaksAt; lower lr\."):
        run(BreaksAt(at=at), TrainingConfig(epochs=3, batch_size=20))


def test_weights_that_break_at_the_very_last_update_are_reported_too():
    # No training loss follows the last update; without a look at the result a broken model would pass for trained.
    with pytest.raises(DivergenceError, match=r"update 1\b"):
        run(SGD(), TrainingConfig(epochs=1, batch_size=200, lr=3e38, momentum=0.0, weight_decay=0.0))


def test_a_broken_epoch_leaves_no_row_and_no_finished_checkpoint(tmp_path):
    with pytest.raises(DivergenceError):
        run(BreaksAt(at=14), TrainingConfig(epochs=3, batch_size=20), folder=tmp_path)
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 1
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_the_first_bad_loss_is_the_one_named():
    @dataclass(frozen=True, kw_only=True)
    class StaysBroken(SGD):
        def backward(self, model, loss_fn, batches, *, step):
            return torch.tensor(float("inf") if step >= 13 else 1.0)

    with pytest.raises(DivergenceError, match=r"at update 13 \(epoch 2\)"):
        run(StaysBroken(), TrainingConfig(epochs=3, batch_size=20))


def test_weights_that_broke_are_reported_before_a_crossbar_refuses_them():
    config = TrainingConfig(epochs=2, batch_size=40, lr=1e30)
    method = RWP(noise=Crossbar("rram-milo2021"))
    with pytest.raises(DivergenceError, match=r"a weight is not finite at update \d+ \(epoch 1\) of RWP at strength 1"):
        run(method, config)
