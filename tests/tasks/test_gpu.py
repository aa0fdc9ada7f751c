"""Tasks on a GPU give the numbers of the CPU."""

import pytest
import torch
from torch import nn

import aimc_robust as ar

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]

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
def test_a_task_gives_the_numbers_of_the_cpu(task, condition):
    model, (inputs, labels) = CASES[task]
    on_cpu = ar.evaluate(model.cpu(), [(inputs, labels)], condition, chips=2, task=task).table
    on_gpu = ar.evaluate(model.cuda(), [(inputs.cuda(), labels.cuda())], condition, chips=2, task=task).table
    for column in on_cpu:
        assert on_gpu[column].tolist() == pytest.approx(on_cpu[column].tolist(), rel=1e-4), column


@pytest.mark.parametrize("task", CASES)
def test_a_task_is_trained_on_a_gpu(task):
    model, data = CASES[task]
    smoothing = 0.0 if task in ("regression", "multilabel") else 0.1
    config = ar.TrainingConfig(epochs=2, batch_size=3, lr=1e-4, label_smoothing=smoothing)
    result = ar.train(model.cuda(), ar.RWP(sigma=0.05), config, training_set=data, validation_set=data, task=task)
    assert next(result.model.parameters()).is_cuda
    assert torch.isfinite(torch.tensor([row["loss"] for row in result.history])).all()
