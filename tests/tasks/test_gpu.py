"""Tasks on an accelerator give the numbers of the CPU, and their losses do not wait for it."""

import copy

import pytest
import torch
from support.waits import no_waits
from torch import nn

import aimc_robust as ar
from aimc_robust.tasks.registry import as_task

pytestmark = pytest.mark.gpu

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(48, 6, generator=GENERATOR)
IMAGES = torch.randn(6, 3, 8, 8, generator=GENERATOR)
TOKENS = torch.randint(0, 30, (12, 9), generator=GENERATOR)
CASES = {
    "classification": (nn.Linear(6, 4), (X, torch.randint(0, 4, (48,), generator=GENERATOR))),
    "regression": (nn.Linear(6, 2), (X, torch.randn(48, 2, generator=GENERATOR) + 100.0)),
    "multilabel": (nn.Linear(6, 4), (X, torch.randint(0, 2, (48, 4), generator=GENERATOR))),
    "segmentation": (nn.Conv2d(3, 5, 3, padding=1), (IMAGES, torch.randint(0, 5, (6, 8, 8), generator=GENERATOR))),
    "language-modelling": (nn.Sequential(nn.Embedding(30, 16), nn.Linear(16, 30)), (TOKENS, TOKENS)),
}


@pytest.mark.parametrize("task", CASES)
@pytest.mark.parametrize("condition", [None, ar.Gaussian(0.05), ar.Crossbar("rram-wan2022", read_noise=False)])
def test_a_task_gives_the_numbers_of_the_cpu(task, condition, accelerator):
    model, (inputs, labels) = CASES[task]
    on_cpu = ar.evaluate(model, [(inputs, labels)], condition, chips=2, task=task).table
    batches = [(inputs.to(accelerator), labels.to(accelerator))]
    on_gpu = ar.evaluate(copy.deepcopy(model).to(accelerator), batches, condition, chips=2, task=task).table
    for column in on_cpu:
        assert on_gpu[column].tolist() == pytest.approx(on_cpu[column].tolist(), rel=1e-4), column


@pytest.mark.parametrize("task", CASES)
def test_a_task_is_trained_on_a_gpu(task, accelerator):
    model, data = CASES[task]
    smoothing = 0.0 if task in ("regression", "multilabel") else 0.1
    config = ar.TrainingConfig(epochs=2, batch_size=3, lr=1e-4, label_smoothing=smoothing)
    model = copy.deepcopy(model).to(accelerator)
    result = ar.train(model, ar.RWP(sigma=0.05), config, training_set=data, validation_set=data, task=task)
    assert next(result.model.parameters()).device == accelerator
    assert torch.isfinite(torch.tensor([row["loss"] for row in result.history])).all()


@pytest.mark.parametrize("task", CASES)
def test_the_loss_of_a_task_and_its_distillation_wait_for_nothing(task, accelerator):
    model, (inputs, labels) = CASES[task]
    on_cpu, loss = copy.deepcopy(model), {}
    for device, net in (("cpu", on_cpu), (accelerator, copy.deepcopy(model).to(accelerator))):
        batches, objective = [(inputs.to(device), labels.to(device))], as_task(task)
        distillation = ar.Distillation(net, task=objective, weight=0.7)
        net[0].weight.data.mul_(1.5) if isinstance(net, nn.Sequential) else net.weight.data.mul_(1.5)
        with no_waits(accelerator):
            losses = [ar.SGD().backward(net, loss_fn, batches, step=1) for loss_fn in (objective, distillation)]
        loss[str(device)] = [float(value) for value in losses]
    assert loss["cpu"] == pytest.approx(loss[str(accelerator)], rel=1e-4)
    for parameter, own in zip(net.parameters(), on_cpu.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad.cpu(), own.grad, rtol=1e-4, atol=1e-5)
