"""m-RWP with its two passes in two and in four real processes, against m-RWP in one."""

import pytest
import torch
from support.processes import on_processes
from support.training_examples import conv_net, differing, digit_batches, state_of
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from aimc_robust.errors import InputError
from aimc_robust.training.methods import rwp as module
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.rwp import MixedRWP

LOSS = nn.CrossEntropyLoss()
UPDATES = 4
RAMP = Ramp(shape="linear", updates=3)
SETTINGS = {
    "even": {},
    "lam 0.3, a ramp": {"lam": 0.3, "ramp": RAMP},
    "three draws": {"draws": 3},
    "the same batch": {"batches": "same"},
    "every parameter": {"scope": "all", "scale": "filter_norm"},
    "perturbed statistics": {"bn_stats": "perturbed"},
}


def train(model, method, batches_of_update, module):
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    losses = []
    for step in range(1, UPDATES + 1):
        optimizer.zero_grad()
        losses.append(method.backward(model, LOSS, batches_of_update(step), step=step))
        optimizer.step()
    momentum = {f"momentum {n}": s["momentum_buffer"] for n, s in enumerate(optimizer.state.values())}
    return state_of(module) | momentum | {"losses": torch.stack(losses)}


def pair(step, dtype):
    return digit_batches(2 * UPDATES, dtype=dtype)[2 * step - 2 : 2 * step]


def smooth_net(dtype):
    """Without kinks: there another order of summation, as with another number of threads, can take the other side."""
    net = conv_net(dtype=dtype)
    net[2], net[3] = nn.GELU(), nn.AvgPool2d(2)
    return net


def alone(dtype, settings):
    method, model = MixedRWP(sigma=0.1, **settings), smooth_net(dtype)
    return train(model, method, lambda step: pair(step, dtype)[: method.batches_per_update], model)


def in_parallel(rank, dtype, settings, ddp):
    method, model = MixedRWP(sigma=0.1, parallel=True, **settings), smooth_net(dtype)
    (stream,), part, parts = method.shard(rank, 2)
    assert (part, parts) == (0, 1)
    return train(DistributedDataParallel(model, **ddp), method, lambda step: [pair(step, dtype)[stream]], model)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_updates_momentum_and_statistics_are_those_of_one_process(workers, dtype, settings):
    expected = alone(dtype, settings)
    tolerance = {"rtol": 1e-9, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-6}
    both = workers(in_parallel, dtype, settings, {})
    mean_loss = sum(found.pop("losses") for found in both) / 2
    torch.testing.assert_close(mean_loss, expected["losses"], **tolerance)
    for found in both:
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], **tolerance, msg=lambda text, n=name: f"{n}: {text}")


def without_batchnorm():
    """A net of which the halves of a batch add up to the whole."""
    net = smooth_net(torch.float64)
    net[1] = nn.Identity()
    return net


def in_parts(rank):
    method, model = MixedRWP(sigma=0.1, lam=0.3, ramp=RAMP, parallel=True), without_batchnorm()
    (stream,), part, parts = method.shard(rank, distributed.get_world_size())

    def batches(step):
        images, labels = pair(step, torch.float64)[stream]
        return [(images.chunk(parts)[part], labels.chunk(parts)[part])]

    return train(DistributedDataParallel(model), method, batches, model)


@on_processes(2, 4)
def test_processes_share_each_of_the_two_batches(workers):
    model = without_batchnorm()
    expected = train(model, MixedRWP(sigma=0.1, lam=0.3, ramp=RAMP), lambda step: pair(step, torch.float64), model)
    found = workers(in_parts)
    mean_loss = sum(values.pop("losses") for values in found) / workers.size
    torch.testing.assert_close(mean_loss, expected["losses"], rtol=1e-9, atol=1e-12)
    for values in found:
        for name, value in values.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("ddp", [{}, {"broadcast_buffers": False}, {"gradient_as_bucket_view": True}], ids=str)
@pytest.mark.parametrize("bn_stats", ["clean", "perturbed"])
def test_both_workers_end_with_the_same_weights_and_statistics(workers, bn_stats, ddp):
    first, second = workers(in_parallel, torch.float32, {"bn_stats": bn_stats}, ddp)
    assert [name for name in differing(first, second) if name != "losses"] == []


def test_the_clean_pass_alone_would_be_seen(workers):
    first, _ = workers(in_parallel, torch.float64, {}, {})
    assert "0.weight" in differing(first, alone(torch.float64, {"lam": 0.0}))


def test_one_process_is_told_that_it_needs_another():
    with pytest.raises(InputError, match="got 1"):
        MixedRWP(sigma=0.1, parallel=True).backward(conv_net(), LOSS, digit_batches(1), step=1)


def test_an_odd_number_of_processes_is_refused(monkeypatch):
    monkeypatch.setattr(module, "world", lambda: (2, 3))
    with pytest.raises(InputError, match="got 3"):
        MixedRWP(sigma=0.1, parallel=True).backward(conv_net(), LOSS, digit_batches(1), step=1)


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_a_share_of_nothing_is_refused(lam):
    with pytest.raises(InputError, match="both"):
        MixedRWP(sigma=0.1, lam=lam, parallel=True, bn_stats="perturbed" if lam else "clean")


def test_more_workers_share_each_of_the_two_batches_in_pairs():
    method = MixedRWP(sigma=0.1, parallel=True)
    assert [method.shard(rank, 4) for rank in range(4)] == [([0], 0, 2), ([1], 0, 2), ([0], 1, 2), ([1], 1, 2)]


def test_a_worker_brings_one_batch():
    with pytest.raises(InputError, match="1 batch"):
        MixedRWP(sigma=0.1, parallel=True).backward(conv_net(), LOSS, digit_batches(2), step=1)
