"""Real Lightning trainings on digits: the adapter under automatic optimisation, and the callback that logs."""

import copy
import functools
import importlib.util
import sys
import warnings

import pandas as pd
import pytest
import torch
from support.lazy import LazyModule
from torch import nn
from torch.nn import functional as F

from aimc_robust.analysis.diagnostics import Diagnostics, DiagnosticsConfig
from aimc_robust.errors import InputError, MissingDependencyError
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM

if importlib.util.find_spec("lightning") is None:
    pytest.skip("needs the extra [lightning]", allow_module_level=True)
cases = LazyModule("support.lightning_cases")  # Lightning takes ten seconds to import

pytestmark = [
    pytest.mark.filterwarnings("error"),
    # Lightning's advice about speed and about checkpoints, and its own use of what torch retires.
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning"),
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]
RAMP = Ramp(shape="quadratic", fraction=0.5)
METHODS = {
    "sam": SAM(rho=0.2, ramp=RAMP),
    "rwp": RWP(sigma=0.1, ramp=RAMP),
    "m-rwp": MixedRWP(sigma=0.1, batches="same", ramp=RAMP),
}


@pytest.fixture(scope="module", autouse=True)
def _lightning_is_imported():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert cases.pl


@pytest.fixture
def fit(tmp_path):
    """Train a module as `trainer.fit` does; returns the trainer."""
    return functools.partial(cases.fit, tmp_path)


def by_hand(method, precision):
    """The same training as a loop with `method.backward`."""
    model = cases.net().train()
    base, schedule = cases.base_and_scheduler(model)
    scheduler, method = schedule(base), method.for_run(cases.UPDATES * cases.EPOCHS)
    inputs, labels = cases.data()[0]
    batches = list(zip(inputs.split(cases.BATCH), labels.split(cases.BATCH), strict=True))
    for step, batch in enumerate(batches * cases.EPOCHS, start=1):
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
    module = cases.Classifier(METHODS[name])
    trainer = fit(module, precision=precision)
    assert trainer.global_step == trainer.optimizers[0].steps == cases.UPDATES * cases.EPOCHS
    assert differing(by_hand(METHODS[name], precision), module.net) == []
    assert differing(cases.net(), module.net) != []


@pytest.mark.parametrize("name", METHODS)
def test_a_resume_from_a_checkpoint_goes_on_bit_for_bit(name, fit, tmp_path):
    undisturbed, resumed = cases.Classifier(METHODS[name]), cases.Classifier(METHODS[name])
    checkpoints = cases.ModelCheckpoint(tmp_path / "saved", filename="{epoch}", save_top_k=-1)
    fit(undisturbed, checkpoints)
    trainer = fit(resumed, checkpoint=tmp_path / "saved" / "epoch=0.ckpt")
    assert trainer.optimizers[0].steps == cases.UPDATES * cases.EPOCHS
    assert differing(undisturbed, resumed) == []


def test_a_trainer_that_accumulates_batches_is_refused(fit):
    with pytest.raises(InputError, match="accumulate_grad_batches=1"):
        fit(cases.Classifier(SAM(rho=0.1)), accumulate_grad_batches=2)


def test_a_training_step_that_returns_no_loss_is_refused(fit):
    module = cases.Classifier(SAM(rho=0.1))
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
    trainer = fit(cases.Classifier(METHODS[name]), cases.DiagnosticsCallback(probe))
    full = METHODS[name].full_strength
    assert probe.calls == [(nn.Sequential, type(METHODS[name]), cases.UPDATES * epoch) for epoch in (1, 2)]
    assert list(metrics(trainer)["epoch"]) == [0, 1]
    assert list(metrics(trainer)["strength"]) == pytest.approx([full, full])
    assert list(metrics(trainer)["one"]) == [1.5, 1.5]
    assert list(metrics(trainer)["tensor"]) == [2.0, 2.0]
    assert "nothing" not in metrics(trainer)


def test_the_logged_strength_follows_the_ramp_and_names_take_the_prefix(fit):
    module = cases.Classifier(SAM(rho=0.2, ramp=Ramp(shape="quadratic", updates=cases.UPDATES * cases.EPOCHS)))
    trainer = fit(module, cases.DiagnosticsCallback(prefix="robust/"))
    rows = pd.read_csv(f"{trainer.logger.log_dir}/metrics.csv")["robust/strength"].dropna()
    assert list(rows) == pytest.approx([0.1, 0.2])


def diagnostics():
    training, test = cases.data()
    config = DiagnosticsConfig(sigmas=(0.05,), draws=1, images=64, batch_size=32)
    return Diagnostics(config, training=training, test=test, loss_fn=nn.CrossEntropyLoss())


def test_a_measured_training_is_the_training(fit):
    class Dropped(cases.Classifier):
        def training_step(self, batch, batch_idx):
            return super().training_step([F.dropout(batch[0], 0.1), batch[1]], batch_idx)

    modules = [Dropped(METHODS["m-rwp"]) for _ in range(2)]
    for module, callbacks in zip(modules, ([], [cases.DiagnosticsCallback(diagnostics())]), strict=True):
        torch.manual_seed(1)
        fit(module, *callbacks)
    assert differing(*modules) == []


def test_the_diagnostics_of_train_are_logged(fit):
    module = cases.Classifier(METHODS["rwp"])
    trainer = fit(module, cases.DiagnosticsCallback(diagnostics()))
    optimizer = trainer.optimizers[0]
    found = diagnostics()(copy.deepcopy(module.net), optimizer.method, optimizer.steps)
    last = metrics(trainer).iloc[-1]
    assert len(found) > 5
    for name, value in found.items():
        assert last[name] == pytest.approx(value, rel=1e-5), name


def test_the_callback_asks_for_the_adapter(fit):
    with pytest.raises(InputError, match="RobustOptimizer"):
        fit(cases.Plain(METHODS["rwp"]), cases.DiagnosticsCallback())


def test_without_lightning_the_install_command_is_given(monkeypatch):
    monkeypatch.delitem(sys.modules, "aimc_robust.integrations.lightning")
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    with pytest.raises(MissingDependencyError, match=r"'aimc-robust\[lightning\]'"):
        importlib.import_module("aimc_robust.integrations.lightning")
