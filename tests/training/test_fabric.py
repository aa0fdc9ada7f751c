"""The loop on Fabric: precision, compilation and memory layout change the speed, not what is learned."""

import importlib.metadata
import itertools
import sys
from types import ModuleType

import pytest
import torch
from support.training_examples import conv_net, differing, digits, state_of

from aimc_robust.data.in_memory import Images
from aimc_robust.errors import DataError, InputError
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.training import fabric_import
from aimc_robust.training.config import TrainingConfig
from aimc_robust.training.fabric import Machine, check_fabric, single_device_fabric
from aimc_robust.training.fabric_import import without_torchmetrics
from aimc_robust.training.loop import train
from aimc_robust.training.methods.registry import METHODS
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM
from aimc_robust.training.methods.sgd import SGD

IMAGES, LABELS = digits()
DATA = {"training_set": (IMAGES[:400], LABELS[:400]), "validation_set": (IMAGES[400:600], LABELS[400:600])}
METHODS_WITH_STRENGTH = [SGD(), SAM(rho=0.1), RWP(sigma=0.1), MixedRWP(sigma=0.1)]


def trained(method, **settings):
    config = TrainingConfig(epochs=2, batch_size=40, **settings)
    return train(conv_net(dropout=0.2), method, config, **DATA, train_seed=3)


def test_a_fabric_of_ones_own_gives_the_same_weights():
    config = TrainingConfig(epochs=1, batch_size=40)
    own = Machine(accelerator="cpu").fabric("32-true")
    first = train(conv_net(), RWP(sigma=0.1), config, **DATA, fabric=own)
    second = train(conv_net(), RWP(sigma=0.1), config, **DATA)
    assert differing(state_of(first.model), state_of(second.model)) == []


@pytest.mark.parametrize("method", METHODS_WITH_STRENGTH, ids=lambda method: type(method).__name__)
def test_bf16_learns_as_float32_does_and_keeps_float32_weights(method):
    half, full = trained(method, precision="bf16-mixed"), trained(method)
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}
    assert half.history[-1]["train_loss"] == pytest.approx(full.history[-1]["train_loss"], rel=0.05)
    assert half.history[-1]["train_loss"] != full.history[-1]["train_loss"]


@pytest.mark.parametrize("method", METHODS_WITH_STRENGTH, ids=lambda method: type(method).__name__)
def test_channels_last_changes_the_layout_and_not_the_numbers(method):
    last, first = trained(method, channels_last=True), trained(method)
    for name, value in state_of(first.model).items():
        torch.testing.assert_close(state_of(last.model)[name], value, rtol=1e-3, atol=1e-4)


def test_channels_last_resumes_bit_for_bit(tmp_path):
    def run(folder, stop_after=None):
        def on_epoch(row):
            if row["epoch"] == stop_after:
                raise KeyboardInterrupt

        config = TrainingConfig(epochs=3, batch_size=40, channels_last=True, precision="bf16-mixed")
        return train(conv_net(), SAM(rho=0.1), config, **DATA, folder=folder, on_epoch=on_epoch)

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", stop_after=2)
    assert differing(state_of(run(tmp_path / "stopped").model), state_of(whole.model)) == []


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_other_base_optimizers_learn_and_resume_bit_for_bit(optimizer, tmp_path):
    def run(folder, stop_after=None):
        def on_epoch(row):
            if row["epoch"] == stop_after:
                raise KeyboardInterrupt

        config = TrainingConfig(epochs=3, batch_size=40, lr=0.01, optimizer=optimizer, clip_norm=1.0)
        return train(conv_net(), RWP(sigma=0.05), config, **DATA, folder=folder, on_epoch=on_epoch)

    whole = run(tmp_path / "whole")
    assert whole.history[-1]["accuracy"] > 50.0
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", stop_after=1)
    assert differing(state_of(run(tmp_path / "stopped").model), state_of(whole.model)) == []


def test_clipping_bounds_the_step_of_the_weights():
    model = conv_net()
    before = state_of(model)
    config = TrainingConfig(epochs=1, batch_size=400, lr=1.0, momentum=0.0, weight_decay=0.0, clip_norm=0.01)
    train(model, SAM(rho=0.1), config, **DATA)
    moved = sum(float((p.detach() - before[name]).square().sum()) for name, p in model.named_parameters()) ** 0.5
    assert moved == pytest.approx(0.01, rel=1e-3)


def test_the_distance_travelled_is_the_sum_of_the_epochs_moves():
    states, model = [], conv_net()
    states.append(dict(state_of(model)))
    rows = train(
        model,
        SGD(),
        TrainingConfig(epochs=3, batch_size=40),
        **DATA,
        on_epoch=lambda _: states.append(dict(state_of(model))),
    ).history
    names = [name for name, _ in model.named_parameters()]
    moves = [
        sum(float((b[name].double() - a[name].double()).square().sum()) for name in names) ** 0.5
        for a, b in itertools.pairwise(states)
    ]
    for epoch, row in enumerate(rows):
        assert row["distance"] == pytest.approx(sum(moves[: epoch + 1]), rel=1e-5)


def test_warmup_raises_the_learning_rate_and_the_cosine_starts_after_it():
    config = TrainingConfig(epochs=4, lr=0.8, warmup_epochs=2)
    rates = [config.learning_rate(step, 10) for step in range(1, 41)]
    assert rates[:20] == pytest.approx([0.8 * step / 20 for step in range(1, 21)])
    assert rates[20] == pytest.approx(0.8)
    assert rates[30] == pytest.approx(0.4)
    assert TrainingConfig(epochs=4, lr=0.8, schedule="constant").learning_rate(37, 10) == 0.8


def test_images_are_augmented_while_training():
    from aimc_robust.data.augmentation import Augmentation

    augmented = Images(*DATA["training_set"], augmentation=Augmentation(crop=1))
    config = TrainingConfig(epochs=1, batch_size=40)
    options = {"validation_set": DATA["validation_set"]}
    first = train(conv_net(), SGD(), config, training_set=augmented, **options)
    second = train(conv_net(), SGD(), config, training_set=augmented, **options)
    plain = train(conv_net(), SGD(), config, **DATA)
    assert differing(state_of(first.model), state_of(second.model)) == []
    assert "0.weight" in differing(state_of(first.model), state_of(plain.model))


@pytest.mark.parametrize("name", METHODS)
def test_a_probe_is_called_after_each_epoch_and_its_numbers_are_kept(name, tmp_path):
    seen = []

    def probe(model, method, step):
        assert not model.training
        seen.append((type(method), step))
        return {"found": float(step)}

    own = {"sgd": {}, "sam": {"rho": 0.1}, "asam": {"rho": 0.5}, "array-aware": {"crossbar": Crossbar("rram-wan2022")}}
    settings = own.get(name, {"sigma": 0.1})
    config = TrainingConfig(epochs=2, batch_size=40)
    rows = train(conv_net(), METHODS[name](**settings), config, **DATA, probe=probe, folder=tmp_path).history
    assert seen == [(METHODS[name], 10), (METHODS[name], 20)]
    assert [row["found"] for row in rows] == [10.0, 20.0]
    assert all(row["probe_seconds"] >= 0 for row in rows)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "16-mixed"}, "16.*bf16-mixed"),
        ({"precision": "half"}, "'half'"),
        ({"optimizer": "lion"}, "'lion'"),
        ({"schedule": "cosin"}, "'cosin'.*'cosine'"),
        ({"clip_norm": -1.0}, "clip_norm"),
        ({"warmup_epochs": 9.0}, "warmup_epochs"),
        ({"channels_last": 1}, "channels_last"),
        ({"clip_norm": 0.0}, "clip_norm.*0"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(settings, message):
    with pytest.raises((InputError, LookupError), match=message):
        TrainingConfig(epochs=2, **settings)


def test_what_a_fabric_cannot_do_is_refused():
    fabric = single_device_fabric(torch.device("cpu"), "32-true")
    with pytest.raises(InputError, match=r"bf16-mixed.*32"):
        check_fabric(fabric, "bf16-mixed", 8, 1)
    with pytest.raises(InputError, match=r"batch of 9 .*2"):
        check_fabric(fabric, "32-true", 9, 2)
    with pytest.raises(InputError, match=r"m-RWP.*got 1"):
        train(conv_net(), MixedRWP(sigma=0.1, parallel=True), TrainingConfig(epochs=1), **DATA)
    with pytest.raises(InputError, match="devices"):
        Machine(devices=0)
    with pytest.raises(InputError, match=r"1.*'no-such'"):
        Machine(accelerator="cpu", strategy="no-such").fabric("32-true")


@pytest.mark.parametrize(
    ("found", "accelerator", "expected"),
    [
        (None, "auto", "cpu"),
        (None, "gpu", "this machine has none; use auto or cpu"),
        ("cuda", "auto", "cuda"),
        ("cuda", "gpu", "cuda"),
        ("cuda", "cuda", "cuda"),
        ("cuda", "cpu", "cpu"),
        ("cuda", "mps", "'mps', but this machine has cuda"),
    ],
)
def test_an_accelerator_that_is_asked_for_is_used_or_refused(monkeypatch, found, accelerator, expected):
    device = None if found is None else torch.device(found)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: device)
    machine = Machine(accelerator=accelerator)
    if expected in ("cpu", "cuda"):
        assert machine.device == torch.device(expected)
    else:
        with pytest.raises(InputError, match=expected):
            machine.device  # noqa: B018


@pytest.mark.parametrize(
    ("found", "accelerator", "jobs", "expected"),
    [
        ("cuda", "auto", None, "cuda"),
        ("cuda", "auto", 2, "cpu"),
        ("mps", "auto", None, "cpu"),
        ("mps", "mps", None, "mps"),
        ("cuda", "gpu", 2, "cuda"),  # which check_jobs then refuses
        (None, "auto", None, "cpu"),
    ],
)
def test_an_evaluation_is_on_the_accelerator_where_it_can_be(monkeypatch, found, accelerator, jobs, expected):
    device = None if found is None else torch.device(found)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: device)
    assert Machine.for_evaluation(accelerator, jobs).device.type == expected


def test_processes_of_an_evaluation_are_on_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: torch.device("cuda"))
    Machine(accelerator="cpu").check_jobs(2)
    Machine().check_jobs(None)
    with pytest.raises(InputError, match="jobs are processes on the CPU, but the accelerator is cuda; omit jobs"):
        Machine().check_jobs(2)


def _train_without_a_fabric(rank):
    with pytest.raises(InputError, match=r"2 processes, .* 1; pass"):
        train(conv_net(), SGD(), TrainingConfig(epochs=1), **DATA)


def test_processes_that_work_together_need_a_fabric(workers):
    workers(_train_without_a_fabric)


def test_what_cannot_be_trained_is_refused():
    vectors = {"training_set": (torch.rand(64, 4), LABELS[:64]), "validation_set": (torch.rand(8, 4), LABELS[:8])}
    with pytest.raises(InputError, match=r"channels_last.*got inputs"):
        train(torch.nn.Linear(4, 10), SGD(), TrainingConfig(epochs=1, channels_last=True), **vectors)
    with pytest.raises(InputError, match="scope"):
        train(torch.nn.Flatten(), SGD(), TrainingConfig(epochs=1), **DATA)
    with pytest.raises(DataError, match="labels"):
        Images(IMAGES[:8], LABELS[:8].float())


def test_a_ramp_longer_than_the_run_warns_once():
    from aimc_robust.training.methods.ramp import Ramp

    method = RWP(sigma=0.1, ramp=Ramp(shape="linear", updates=1000))
    with pytest.warns(UserWarning, match=r"1000.*10") as caught:
        train(conv_net(), method, TrainingConfig(epochs=1, batch_size=40), **DATA)
    assert len([w for w in caught if "ramp" in str(w.message)]) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_on_a_gpu_follows_the_cpu():
    config = TrainingConfig(epochs=2, batch_size=40)
    gpu = train(conv_net(), RWP(sigma=0.1), config, **DATA, fabric=Machine(accelerator="gpu").fabric("32-true"))
    cpu = train(conv_net(), RWP(sigma=0.1), config, **DATA, fabric=Machine(accelerator="cpu").fabric("32-true"))
    assert gpu.history[-1]["train_loss"] == pytest.approx(cpu.history[-1]["train_loss"], rel=1e-2)


def test_fabric_is_imported_without_the_seconds_of_torchmetrics(monkeypatch):
    monkeypatch.delitem(sys.modules, "torchmetrics", raising=False)
    with without_torchmetrics():
        found = importlib.import_module("torchmetrics")
        assert found.__version__ == importlib.metadata.version("torchmetrics")
        assert not hasattr(found, "Metric")
    assert "torchmetrics" not in sys.modules
    loaded = ModuleType("torchmetrics")
    monkeypatch.setitem(sys.modules, "torchmetrics", loaded)
    with without_torchmetrics():
        assert sys.modules["torchmetrics"] is loaded
    assert sys.modules["torchmetrics"] is loaded


def test_fabric_is_imported_as_it_is_where_there_is_no_torchmetrics(monkeypatch):
    monkeypatch.delitem(sys.modules, "torchmetrics", raising=False)
    monkeypatch.setattr(fabric_import, "UNUSED", "torchmetrics_of_nobody")
    with without_torchmetrics():
        assert "torchmetrics_of_nobody" not in sys.modules
