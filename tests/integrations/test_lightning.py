"""Real Lightning trainings on digits: the adapter under automatic optimisation, and the callback that logs."""

import copy
import importlib
import logging
import sys

import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from aimc_robust.analysis.diagnostics import Diagnostics, DiagnosticsConfig
from aimc_robust.errors import InputError, MissingDependencyError
from aimc_robust.training.methods.mixed_rwp import MixedRWP
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.rwp import RWP
from aimc_robust.training.methods.sam import SAM
from aimc_robust.training.robust_optimizer import RobustOptimizer

pl = pytest.importorskip("lightning.pytorch")

from lightning.pytorch.callbacks import ModelCheckpoint  # noqa: E402
from lightning.pytorch.loggers import CSVLogger  # noqa: E402

from aimc_robust.integrations.lightning import DiagnosticsCallback  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("error"),
    # Lightning's advice about speed and about checkpoints, and its own use of what torch retires.
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning"),
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]
BATCH, UPDATES, EPOCHS = 64, 4, 2
RAMP = Ramp(shape="quadratic", fraction=0.5)
METHODS = {
    "sam": SAM(rho=0.2, ramp=RAMP),
    "rwp": RWP(sigma=0.1, ramp=RAMP),
    "m-rwp": MixedRWP(sigma=0.1, batches="same", ramp=RAMP),
}


def data():
    """(inputs, labels) of the training's images, and of others."""
    digits, images = load_digits(), BATCH * UPDATES
    inputs = torch.tensor(digits.images / 16.0, dtype=torch.float32).unsqueeze(1)
    labels = torch.tensor(digits.target)
    return (inputs[:images], labels[:images]), (inputs[images : 2 * images], labels[images : 2 * images])


def net():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
    return nn.Sequential(*layers)


def base_and_scheduler(model):
    base = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return base, lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=UPDATES * EPOCHS)


class Classifier(pl.LightningModule):
    """Automatic optimisation, with nothing of its own but the line that makes the optimizer."""

    def __init__(self, method):
        super().__init__()
        self.net, self.method = net(), method

    def training_step(self, batch, batch_idx):
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        base, schedule = base_and_scheduler(self.net)
        method = self.method.for_run(self.trainer.estimated_stepping_batches)
        optimizer = RobustOptimizer(base, self.net, method)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule(optimizer), "interval": "step"}}


class Plain(Classifier):
    def configure_optimizers(self):
        return base_and_scheduler(self.net)[0]


@pytest.fixture
def fit(tmp_path):
    """Train a module as `trainer.fit` does; returns the trainer."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    def fit(module, *callbacks, checkpoint=None, **more):
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=EPOCHS,
            logger=CSVLogger(tmp_path),
            callbacks=list(callbacks),
            enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
            log_every_n_steps=1,
            enable_progress_bar=False,
            enable_model_summary=False,
            **more,
        )
        trainer.fit(module, DataLoader(TensorDataset(*data()[0]), BATCH), ckpt_path=checkpoint)
        return trainer

    return fit


def by_hand(method, precision):
    """The same training as a loop with `method.backward`."""
    model = net().train()
    base, schedule = base_and_scheduler(model)
    scheduler, method = schedule(base), method.for_run(UPDATES * EPOCHS)
    inputs, labels = data()[0]
    batches = list(zip(inputs.split(BATCH), labels.split(BATCH), strict=True))
    for step, batch in enumerate(batches * EPOCHS, start=1):
        base.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed", cache_enabled=False):
            method.backward(model, F.cross_entropy, [batch], step=step)
        base.step()
        scheduler.step()
    return model


def differing(first, second):
    second = second.state_dict()
    return [name for name, value in first.state_dict().items() if not torch.equal(value, second[name])]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", METHODS)
def test_a_trainer_run_is_the_loop_with_backward(name, precision, fit):
    module = Classifier(METHODS[name])
    trainer = fit(module, precision=precision)
    assert trainer.global_step == trainer.optimizers[0].steps == UPDATES * EPOCHS
    assert differing(by_hand(METHODS[name], precision), module.net) == []
    assert differing(net(), module.net) != []


@pytest.mark.parametrize("name", METHODS)
def test_a_resume_from_a_checkpoint_goes_on_bit_for_bit(name, fit, tmp_path):
    undisturbed, resumed = Classifier(METHODS[name]), Classifier(METHODS[name])
    checkpoints = ModelCheckpoint(tmp_path / "saved", filename="{epoch}", save_top_k=-1)
    fit(undisturbed, checkpoints)
    trainer = fit(resumed, checkpoint=tmp_path / "saved" / "epoch=0.ckpt")
    assert trainer.optimizers[0].steps == UPDATES * EPOCHS
    assert differing(undisturbed, resumed) == []


def test_a_trainer_that_accumulates_batches_is_refused(fit):
    with pytest.raises(InputError, match="accumulate_grad_batches=1"):
        fit(Classifier(SAM(rho=0.1)), accumulate_grad_batches=2)


def test_a_training_step_that_returns_no_loss_is_refused(fit):
    module = Classifier(SAM(rho=0.1))
    module.training_step = lambda batch, batch_idx: None
    with pytest.warns(UserWarning, match="`None`"), pytest.raises(InputError, match="loss"):
        fit(module)


class Recording:
    """A probe that notes how it was called."""

    def __init__(self):
        self.calls = []

    def __call__(self, model, method, step):
        self.calls.append((type(model), type(method), step))
        return {"one": 1.5, "nothing": None, "tensor": torch.tensor(2.0)}


def metrics(trainer):
    rows = pd.read_csv(f"{trainer.logger.log_dir}/metrics.csv")
    return rows[rows["strength"].notna()]


@pytest.mark.parametrize("name", METHODS)
def test_the_callback_logs_what_the_probe_says_and_the_strength(name, fit):
    probe = Recording()
    trainer = fit(Classifier(METHODS[name]), DiagnosticsCallback(probe))
    full = METHODS[name].full_strength
    assert probe.calls == [(nn.Sequential, type(METHODS[name]), UPDATES * epoch) for epoch in (1, 2)]
    assert list(metrics(trainer)["epoch"]) == [0, 1]
    assert list(metrics(trainer)["strength"]) == pytest.approx([full, full])
    assert list(metrics(trainer)["one"]) == [1.5, 1.5]
    assert list(metrics(trainer)["tensor"]) == [2.0, 2.0]
    assert "nothing" not in metrics(trainer)


def test_the_logged_strength_follows_the_ramp_and_names_take_the_prefix(fit):
    module = Classifier(SAM(rho=0.2, ramp=Ramp(shape="quadratic", updates=UPDATES * EPOCHS)))
    trainer = fit(module, DiagnosticsCallback(prefix="robust/"))
    rows = pd.read_csv(f"{trainer.logger.log_dir}/metrics.csv")["robust/strength"].dropna()
    assert list(rows) == pytest.approx([0.1, 0.2])


def diagnostics():
    training, test = data()
    config = DiagnosticsConfig(sigmas=(0.05,), draws=1, images=64, batch_size=32)
    return Diagnostics(config, training=training, test=test, loss_fn=nn.CrossEntropyLoss())


def test_a_measured_training_is_the_training(fit):
    class Dropped(Classifier):
        def training_step(self, batch, batch_idx):
            return super().training_step([F.dropout(batch[0], 0.1), batch[1]], batch_idx)

    modules = [Dropped(METHODS["m-rwp"]) for _ in range(2)]
    for module, callbacks in zip(modules, ([], [DiagnosticsCallback(diagnostics())]), strict=True):
        torch.manual_seed(1)
        fit(module, *callbacks)
    assert differing(*modules) == []


def test_the_diagnostics_of_train_are_logged(fit):
    module = Classifier(METHODS["rwp"])
    trainer = fit(module, DiagnosticsCallback(diagnostics()))
    optimizer = trainer.optimizers[0]
    found = diagnostics()(copy.deepcopy(module.net), optimizer.method, optimizer.steps)
    last = metrics(trainer).iloc[-1]
    assert len(found) > 5
    for name, value in found.items():
        assert last[name] == pytest.approx(value, rel=1e-5), name


def test_the_callback_asks_for_the_adapter(fit):
    with pytest.raises(InputError, match="RobustOptimizer"):
        fit(Plain(METHODS["rwp"]), DiagnosticsCallback())


def test_without_lightning_the_install_command_is_given(monkeypatch):
    monkeypatch.delitem(sys.modules, "aimc_robust.integrations.lightning")
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    with pytest.raises(MissingDependencyError, match=r"'aimc-robust\[lightning\]'"):
        importlib.import_module("aimc_robust.integrations.lightning")
