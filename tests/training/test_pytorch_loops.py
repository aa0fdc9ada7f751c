"""The rest of a PyTorch training loop stays the user's: accumulation, clipping, schedules, layouts, wrappers."""

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from support.for_each import for_each
from support.training_examples import conv_net, digit_batches, gradients_of, state_of
from torch import nn
from torch.optim import lr_scheduler

from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM, AdaptiveSAM
from aimc_robust.training.methods.sgd import SGD

TRAIN_PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "train.md"
LOSS = nn.CrossEntropyLoss()
CLOSE = {"rtol": 1e-9, "atol": 1e-12}
METHODS = {
    "sgd": SGD(),
    "sam": SAM(rho=0.5),
    "asam": AdaptiveSAM(rho=0.5),
    "rwp": RWP(sigma=0.1),
    "m-rwp": MixedRWP(sigma=0.1),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def batches_for(method, size=16, dtype=torch.float32):
    return digit_batches(method.batches_per_update, size=size, dtype=dtype)


def gradients(method, model, batches=None):
    method.backward(model, LOSS, batches or batches_for(method), step=1)
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def without_batchnorm():
    model = conv_net(dtype=torch.float64)
    model[1] = nn.Identity()
    return model


@pytest.mark.parametrize("method", [RWP(sigma=0.1), MixedRWP(sigma=0.1)], ids=["rwp", "m-rwp"])
def test_parts_of_a_batch_accumulate_to_the_whole_under_one_draw(method):
    whole = gradients(method, without_batchnorm(), batches_for(method, 32, torch.float64))
    model = without_batchnorm()
    for part in (slice(16), slice(16, None)):
        parts = [(images[part], labels[part]) for images, labels in batches_for(method, 32, torch.float64)]
        method.backward(model, lambda output, target: LOSS(output, target) / 2, parts, step=1)  # the same step
    for name, gradient in gradients_of(model).items():
        torch.testing.assert_close(gradient, whole[name], **CLOSE)


@pytest.mark.parametrize("kind", [SAM, AdaptiveSAM])
def test_parts_of_a_batch_that_ascend_alone_are_m_sharpness_and_not_the_whole_batch(kind):
    batches = batches_for(kind(rho=0.5), 32, torch.float64)
    split, whole = (gradients(kind(rho=0.5, m=m), without_batchnorm(), batches) for m in (16, None))
    model = without_batchnorm()
    for batch in digit_batches(2, dtype=torch.float64):
        kind(rho=0.5).backward(model, lambda output, target: LOSS(output, target) / 2, [batch], step=1)
    for name, gradient in gradients_of(model).items():
        torch.testing.assert_close(gradient, split[name], **CLOSE)
        assert (gradient - whole[name]).norm() > 1e-3 * whole[name].norm()
    (item,) = (item for item in TRAIN_PAGE.read_text().split("\n- ") if item.startswith("**Gradient accumulation**"))
    assert "m-sharpness" in item


@every_method
def test_clipping_sees_the_whole_updates_gradient(method):
    model = conv_net()
    before = {name: value.clone() for name, value in gradients(method, model).items()}
    norm = nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    torch.testing.assert_close(norm, torch.cat([value.flatten() for value in before.values()]).norm())
    assert norm > 0.1
    for name, gradient in gradients_of(model).items():
        torch.testing.assert_close(gradient, before[name] * 0.1 / norm, rtol=1e-4, atol=1e-7)


SCHEDULES = {
    "step": lambda optimizer: lr_scheduler.StepLR(optimizer, 2),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 5),
    "restarts": lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 2),
    "one cycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=7),
    "warm-up, then decay": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer, [lr_scheduler.LinearLR(optimizer), lr_scheduler.ExponentialLR(optimizer, 0.9)], [2]
    ),
    "plateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=0),
}


def learning_rates(method, schedule):
    model = conv_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler, rates = schedule(optimizer), []
    for step in range(1, 6):
        optimizer.zero_grad()
        method.backward(model, LOSS, batches_for(method), step=step)
        optimizer.step()
        scheduler.step(1.0) if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@every_method
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_any_schedule_runs_without_a_warning(method, schedule):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "The epoch parameter")  # SequentialLR's own, up to torch 2.7
        rates = learning_rates(method, schedule)
    assert len(set(rates)) > 1


@every_method
def test_channels_last_changes_no_number_and_no_layout(method):
    def net():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 6, 3), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(64, 10)).double()

    batches = batches_for(method, dtype=torch.float64)
    expected, model = gradients(method, net(), batches), net().to(memory_format=torch.channels_last)
    strides = [p.stride() for p in model.parameters()]
    assert strides != [p.stride() for p in net().parameters()]
    batches = [(images.to(memory_format=torch.channels_last), labels) for images, labels in batches]
    for name, gradient in gradients(method, model, batches).items():
        torch.testing.assert_close(gradient, expected[name], **CLOSE)
    assert [p.stride() for p in model.parameters()] == strides


def compiled_inside(model):
    model[6] = torch.compile(model[6], backend="eager")
    return model


WRAPPERS = {
    "DataParallel": nn.DataParallel,
    "torch.compile": lambda model: torch.compile(model, backend="eager"),
    "torch.compile of one layer": compiled_inside,
    "both": lambda model: nn.DataParallel(torch.compile(model, backend="eager")),
}


@every_method
@for_each("wrap", WRAPPERS.values())
def test_a_wrapped_model_meets_the_noise_of_the_model_itself(method, wrap):
    expected, model = gradients(method, conv_net()), conv_net()
    before, wrapped = state_of(model), wrap(model)
    found = gradients(method, wrapped)
    for gradient, other in zip(found.values(), expected.values(), strict=True):
        torch.testing.assert_close(gradient, other)
    assert all(torch.equal(p, before[name.replace("_orig_mod.", "")]) for name, p in model.named_parameters())


@pytest.mark.slow
def test_the_documented_loop_with_fsdp2_runs_in_two_processes(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", TRAIN_PAGE.read_text(), re.DOTALL)
    (code,) = (block for block in blocks if "fully_shard" in block)
    (tmp_path / "train.py").write_text(code)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "train.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("accuracy") == 1  # the first process evaluates the whole weights
