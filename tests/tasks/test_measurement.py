"""Accuracy and loss against numpy."""

import numpy as np
import pytest
import torch
from support.measure import measure
from torch import nn

from aimc_robust.data.batches import split_batches
from aimc_robust.errors import DataError

N, CLASSES = 97, 5


def example():
    """A model, inputs and labels, and what numpy says of them: accuracy, loss."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(8, CLASSES), nn.Dropout(0.5), nn.BatchNorm1d(CLASSES)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    inputs = torch.randn(N, 8, generator=generator)
    labels = torch.randint(CLASSES, (N,), generator=generator)
    weight, bias, gain, shift = (p.detach().double().numpy() for p in model.parameters())
    logits = (inputs.double().numpy() @ weight.T + bias) / np.sqrt(1 + model[2].eps) * gain + shift
    y = labels.numpy()
    loss = np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(N), y])
    return model, (inputs, labels), 100.0 * np.mean(logits.argmax(1) == y), loss


@pytest.mark.parametrize("size", [1, 7, 32, N, 1000])
def test_accuracy_and_loss_are_numpys_at_any_batch_size(size):
    model, data, accuracy, loss = example()
    found = measure(model, split_batches(data, size))
    assert found.value == pytest.approx(accuracy, rel=1e-12)
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert found.n == N


def test_the_example_is_neither_all_right_nor_all_wrong():
    assert 5.0 < example()[2] < 95.0


def test_batches_of_unequal_size_weigh_by_their_images():
    model, (inputs, labels), accuracy, loss = example()
    found = measure(model, [(inputs[:3], labels[:3]), (inputs[3:], labels[3:])])
    assert found.value == pytest.approx(accuracy)
    assert found.loss == pytest.approx(loss, rel=1e-5)


def test_batches_may_be_a_one_shot_iterator():
    model, data, *_ = example()
    assert measure(model, iter(split_batches(data, 10))) == measure(model, split_batches(data, 10))


@pytest.mark.parametrize(
    "batches",
    [[], iter([]), [(torch.zeros(0, 8), torch.zeros(0, dtype=torch.long))]],
    ids=["list", "iterator", "empty"],
)
def test_no_images_are_refused(batches):
    with pytest.raises(DataError, match="batch"):
        measure(example()[0], batches)


@pytest.mark.parametrize("training", [False, True])
def test_mode_weights_and_gradients_stay_as_they_are(training):
    model, data, *_ = example()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    model.train(training)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    measure(model, split_batches(data, 10))
    assert all(module.training == training for module in model.modules())
    for parameter, value in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
        assert torch.equal(parameter.grad, torch.ones_like(parameter))
        assert parameter.requires_grad


def test_a_model_without_gradients_gets_none():
    model, data, *_ = example()
    measure(model, split_batches(data, 10))
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("size", [1, 10, N, 1000])
def test_batches_are_the_data_in_order_and_without_a_copy(size):
    _, data, *_ = example()
    batches = split_batches(data, size)
    assert all(len(inputs) == len(labels) <= size for inputs, labels in batches)
    for part in (0, 1):
        assert torch.equal(torch.cat([batch[part] for batch in batches]), data[part])
        assert batches[0][part].data_ptr() == data[part].data_ptr()


def test_inputs_and_labels_of_different_number_are_refused():
    with pytest.raises(DataError):
        split_batches((torch.zeros(10, 8), torch.zeros(9, dtype=torch.long)), 10)


def test_a_metric_that_writes_into_its_arguments_changes_nothing_else():
    def vandal(outputs, labels):
        outputs.zero_()
        labels.fill_(0)
        return 1.0

    def right(outputs, labels):
        return (outputs.argmax(1) == labels).double().mean()

    torch.manual_seed(0)
    model, images = torch.nn.Linear(4, 3), torch.randn(60, 4)
    labels = model(images).argmax(1)
    before = labels.clone()
    measured = measure(model, [(images, labels)], {"vandal": vandal, "right": right})
    assert dict(measured.metrics) == {"vandal": 1.0, "right": 1.0}
    assert torch.equal(labels, before)
