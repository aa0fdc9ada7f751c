"""Data-parallel training in two and in four real processes, against one process that sees all parts of each batch."""

import contextlib

import pytest
import torch
from support.processes import on_processes
from support.training_examples import conv_net, digits, gradients_of, state_of
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from aimc_robust.errors import InputError
from aimc_robust.hardware.config.converters import ADC, DAC
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.ranges import ConverterRanges, LayerRanges
from aimc_robust.noise.distributions import Gaussian
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.seeding import Axes
from aimc_robust.training.methods.array_aware import ArrayAware
from aimc_robust.training.methods.learned_ranges import LearnedRanges
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM, AdaptiveSAM
from aimc_robust.training.methods.sgd import SGD

LOSS = nn.CrossEntropyLoss()
CLOSE = {"rtol": 1e-9, "atol": 1e-12}
SIZE = 16  # of a worker's batch
RAMP = Ramp(shape="linear", updates=4)
# Every worker reads the arrays by itself, so read noise is its own; ranges of a batch, too, are those of its images.
ARRAYS = Crossbar(
    "pcm-nandakumar2019", read_noise=False, rows=50, dac=DAC(bits=6, full_scale=1.0), adc=ADC(bits=6, range=(-4, 4))
)
LEARNED = LearnedRanges(
    start=ConverterRanges({name: LayerRanges(inputs=(0.0, 0.6)) for name in ("first", "last", "sometimes")}), lr=1.0
)
METHODS = {
    "sgd": SGD(),
    "rwp": RWP(sigma=0.1, ramp=RAMP),
    "rwp, three draws": RWP(sigma=0.1, draws=3),
    "m-rwp": MixedRWP(sigma=0.1, lam=0.3),
    "m-rwp, same batch": MixedRWP(sigma=0.1, batches="same"),
    "sam": SAM(rho=0.5, ramp=RAMP),
    "sam, different batches": SAM(rho=0.5, batches="different"),
    "asam": AdaptiveSAM(rho=0.5),
    "array-aware": ArrayAware(ARRAYS, ramp=RAMP, time_s=(1.0, 1e5), lam=0.7),
    "learned ranges": ArrayAware(ARRAYS.replace(dac=DAC(bits=6)), ranges=LEARNED, draws=2),
}


class Plain(nn.Module):
    """Without BatchNorm, so that parts of a batch add up to the whole; `sometimes` works for bright images only."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(1, 4, 3)
        self.last = nn.Linear(144, 10)
        self.sometimes = nn.Linear(144, 10, bias=False)
        self.never = nn.Linear(2, 2)

    def forward(self, images):
        hidden = self.first(images).relu().flatten(1)
        bright = images.mean((1, 2, 3)) > 0.31
        outputs = self.last(hidden)
        if bright.any():
            outputs = outputs + bright[:, None] * self.sometimes(hidden)
        return outputs


def plain(*, every_weight_used: bool) -> nn.Module:
    model = Plain().double()
    if every_weight_used:
        del model.never
        model.sometimes = nn.Linear(144, 10, bias=False, dtype=torch.float64).requires_grad_(False)
    return model


def update_batches(method, update, size=None, *, sort=False):
    """What one update reads, whole: size x SIZE images per batch; sorted ones give all bright images to the last."""
    count, size = method.batches_per_update, size or distributed.get_world_size()
    images, labels = digits(torch.float64)
    found = []
    for number in range(update * count, (update + 1) * count):
        part = slice(size * SIZE * number, size * SIZE * (number + 1))
        order = images[part].mean((1, 2, 3)).argsort() if sort else torch.arange(size * SIZE)
        found.append((images[part][order], labels[part][order]))
    return found


def part_of(batches, rank):
    part = slice(SIZE * rank, SIZE * (rank + 1))
    return [(images[part], labels[part]) for images, labels in batches]


def train(method, model, rank=None, *, size=None, updates=3, accumulate=1, sort=False):
    """The loop a user would write. rank: reads its part of every batch. Returns the weights."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for update in range(updates):
        for micro in range(accumulate):
            step = update * accumulate + micro
            batches = update_batches(method, step, size, sort=sort)
            waits = rank is not None and micro + 1 < accumulate
            with model.no_sync() if waits else contextlib.nullcontext():
                method.backward(model, LOSS, batches if rank is None else part_of(batches, rank), step=step + 1)
            if waits:
                assert differ_between_workers(model)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return state_of(model.module if rank is not None else model)


def differ_between_workers(model):
    mine = next(p.grad for p in model.parameters() if p.grad is not None)
    mean = mine.clone()
    distributed.all_reduce(mean)
    return not torch.allclose(mean / distributed.get_world_size(), mine)


def train_parallel(rank, method, ddp, options):
    model = plain(every_weight_used="find_unused_parameters" not in ddp)
    return train(method, DistributedDataParallel(model, **ddp), rank, **options)


def check(workers, method, oracle=None, *, ddp=None, **options):
    ddp = ddp or {}
    model = plain(every_weight_used="find_unused_parameters" not in ddp)
    alone = train(oracle or method, model, size=workers.size, **options)
    for weights in workers(train_parallel, method, ddp, options):
        for name, weight in weights.items():
            torch.testing.assert_close(weight, alone[name], **CLOSE, msg=lambda text, name=name: f"{name}: {text}")


@on_processes(2, 4)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_workers_make_the_updates_of_one_process(workers, method):
    check(workers, method)


@on_processes(2)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_weights_that_some_worker_leaves_unused_are_no_trouble(workers, method):
    check(workers, method, ddp={"find_unused_parameters": True}, sort=True)


@on_processes(2)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_gradients_may_be_views_of_the_buckets(workers, method):
    check(workers, method, ddp={"gradient_as_bucket_view": True})


@on_processes(2)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_the_users_own_no_sync_is_respected(workers, method):
    check(workers, method, accumulate=2)


OF_ANY_MODEL = {name: method for name, method in METHODS.items() if name != "learned ranges"}


@on_processes(2)
@pytest.mark.parametrize("method", OF_ANY_MODEL.values(), ids=OF_ANY_MODEL)
def test_a_bf16_loop_runs(workers, method):
    for weights in workers(train_autocast, method):
        assert all(weight.isfinite().all() for weight in weights.values())


@on_processes(2, 4)
def test_random_perturbations_per_worker_are_drawn_by_rank(workers):
    batches = update_batches(SGD(), 6, workers.size)
    noisy = [gradient_at_noise(part_of(batches, rank)[0], rank, step=7) for rank in range(workers.size)]
    for gradients in workers(one_gradient, RWP(sigma=0.3, per_worker=True), 7):
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, sum(own[name] for own in noisy) / workers.size, **CLOSE)


@on_processes(2, 4)
def test_every_worker_has_the_same_chip_and_its_own_read_noise(workers):
    """Workers that read the same batch get the mean of the gradients under two draws of read noise."""
    first, second, *_ = workers(gradient_before_averaging, ArrayAware(ARRAYS.replace(read_noise=True)))
    exact, twin, *_ = workers(gradient_before_averaging, ArrayAware(ARRAYS))
    for name, gradient in first.items():
        assert torch.equal(exact[name], twin[name]), name
        assert not torch.equal(gradient, second[name]), name


@on_processes(2, 4)
def test_the_gains_of_folded_batchnorms_are_those_of_the_first_worker(workers):
    first, second, *_ = workers(gains, ArrayAware(ARRAYS))
    assert torch.equal(first, second)
    assert first.min() < 0.5 * first.max()
    first, second, *_ = workers(gains, ArrayAware(ARRAYS, per_worker=True))
    assert not torch.allclose(first, second)


@on_processes(2, 4)
def test_an_ascent_per_worker_is_m_sharpness_with_the_workers_batch_as_m(workers):
    check(workers, SAM(rho=0.5, per_worker=True), oracle=SAM(rho=0.5, m=SIZE))


@on_processes(2)
def test_an_ascent_per_worker_differs_from_the_shared_one(workers):
    with pytest.raises(AssertionError, match="Tensor"):
        check(workers, SAM(rho=0.5, per_worker=True), oracle=SAM(rho=0.5))


@on_processes(2)
@pytest.mark.parametrize("bn_stats", ["clean", "perturbed"])
@pytest.mark.parametrize("method", [SAM, MixedRWP])
def test_batchnorm_and_dropout_end_with_equal_weights_and_one_step_of_statistics_per_update(workers, method, bn_stats):
    strength = {"rho": 0.5} if method is SAM else {"sigma": 0.1}
    first, *others = workers(train_batchnorm, method(**strength, bn_stats=bn_stats))
    for name, value in first.items():
        if "running" not in name:  # DDP keeps statistics per worker, and hands on worker 0's
            assert all(torch.equal(value, other[name]) for other in others), name
    assert first["1.num_batches_tracked"] == 3


@on_processes(2)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_gradients_are_averaged_once_per_update(workers, method):
    assert workers(count_averages, method) == [3] * workers.size


@on_processes(2)
def test_several_passes_in_a_static_graph_are_refused(workers):
    for text in workers(refusal, SAM(rho=0.1)):
        assert "static_graph" in text


@on_processes(2)
def test_a_single_pass_in_a_static_graph_is_fine(workers):
    check(workers, RWP(sigma=0.1), ddp={"static_graph": True})


@on_processes(2)
@pytest.mark.slow
@pytest.mark.parametrize(("name", "order"), [("m-rwp", "DDP of compiled"), ("sam", "compiled DDP")])
def test_compiled_models_are_trained_alike(workers, name, order):
    method = METHODS[name]
    alone = train(method, plain(every_weight_used=True), size=workers.size)
    for weights in workers(train_compiled, method, order):
        for name, weight in weights.items():
            torch.testing.assert_close(weight, alone[name], **CLOSE)


def train_compiled(rank, method, order):
    torch._dynamo.reset()
    model = plain(every_weight_used=True)
    if order == "compiled DDP":
        wrapped = torch.compile(DistributedDataParallel(model), backend="aot_eager")
    else:
        wrapped = DistributedDataParallel(torch.compile(model, backend="aot_eager"))
    train(method, wrapped, rank)
    return state_of(model)


def train_autocast(rank, method):
    model = DistributedDataParallel(conv_net())
    with torch.autocast("cpu", torch.bfloat16):
        method.backward(model, LOSS, [(x.float(), y) for x, y in part_of(update_batches(method, 0), rank)], step=1)
    return gradients_of(model)


def gradient_at_noise(batch, rank, *, step):
    axes = Axes(0).at(use="training", step=step, **({"worker": rank} if rank else {}))
    model = plain(every_weight_used=True)
    with perturbed(model, Gaussian(0.3), generator=axes):
        LOSS(model(batch[0]), batch[1]).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def one_gradient(rank, method, step):
    model = plain(every_weight_used=True)
    wrapped = DistributedDataParallel(model)
    method.backward(wrapped, LOSS, part_of(update_batches(method, step - 1), rank), step=step)
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def gradient_before_averaging(rank, method):
    model = plain(every_weight_used=True)
    method.backward(model, LOSS, part_of(update_batches(method, 0, distributed.get_world_size()), 0), step=1)
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def gains(rank, method):
    model = conv_net()
    model[1].running_var = torch.rand(6, generator=torch.Generator().manual_seed(rank)) + 0.1
    return method.gains(model)["0"]


def train_batchnorm(rank, method):
    torch.manual_seed(rank)
    return train(method, DistributedDataParallel(conv_net(dropout=0.2, dtype=torch.float64)), rank)


def count_averages(rank, method):
    seen = []

    def average(_, bucket):
        seen.append(bucket)
        message = distributed.all_reduce(bucket.buffer().div_(distributed.get_world_size()), async_op=True)
        return message.get_future().then(lambda done: done.value()[0])

    model = DistributedDataParallel(plain(every_weight_used=True))
    model.register_comm_hook(None, average)
    train(method, model, rank)
    return len(seen)


def refusal(rank, method):
    model = DistributedDataParallel(plain(every_weight_used=True), static_graph=True)
    with pytest.raises(InputError) as refused:
        method.backward(model, LOSS, part_of(update_batches(method, 0), rank), step=1)
    return str(refused.value)
