"""Evaluation data must be the same in every pass: what is not is refused, whoever shuffles."""

import numpy as np
import pytest
import torch
from support.for_each import for_each
from torch import nn
from torch.utils import data as torch_data
from torch.utils.data import DataLoader, TensorDataset

import aimc_robust as ar
from aimc_robust.data.passes import RepeatedPasses
from aimc_robust.seeding import global_seed

N = 24
INPUTS, LABELS = torch.randn(N, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(N) % 3
PAIRS = TensorDataset(INPUTS, LABELS)
NOISE, CROSSBAR = ar.Gaussian(0.3), ar.Crossbar("rram-wan2022")


def net():
    with global_seed(0):
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()


def losses(data, jobs=None):
    return ar.evaluate(net(), data, NOISE, chips=4, jobs=jobs).table["loss"].tolist()


class Order(torch_data.Sampler):
    """A sampler of a user's own."""

    def __init__(self, draw):
        self.draw = draw

    def __iter__(self):
        return iter(self.draw())

    def __len__(self):
        return N


class Jittered(torch_data.Dataset):
    """Images with a random transform, by the generator of one library."""

    def __init__(self, draw):
        self.draw = draw

    def __getitem__(self, index):
        return INPUTS[index] + self.draw(), LABELS[index]

    def __len__(self):
        return N


class Streamed(torch_data.IterableDataset):
    """Images without an index."""

    def __init__(self, draw):
        self.draw = draw

    def __iter__(self):
        return ((INPUTS[i], LABELS[i]) for i in self.draw())


def by_torch():
    return float(torch.rand(()))


def by_numpy():
    return float(np.random.default_rng().random())  # from the system's entropy: no seed of a worker helps


def shuffled():
    return torch.randperm(N).tolist()


def shuffled_by_numpy():
    return np.random.default_rng().permutation(N).tolist()


def batches_shuffled_by_numpy():
    return np.random.default_rng().permutation(N).reshape(3, 8)


def backwards():
    return range(N - 1, -1, -1)


def distributed(replicas, shuffle):
    return torch_data.DistributedSampler(PAIRS, replicas, 0, shuffle=shuffle)


RANDOM = {  # name of what draws -> DataLoader
    "RandomSampler": lambda: DataLoader(PAIRS, 8, shuffle=True),
    "WeightedRandomSampler": lambda: DataLoader(PAIRS, 8, sampler=torch_data.WeightedRandomSampler(torch.ones(N), N)),
    "SubsetRandomSampler": lambda: DataLoader(PAIRS, 8, sampler=torch_data.SubsetRandomSampler(range(N))),
    "RandomSampler)": lambda: DataLoader(
        PAIRS, batch_sampler=torch_data.BatchSampler(torch_data.RandomSampler(PAIRS), 8, False)
    ),
    "RandomSampler); ": lambda: DataLoader(PAIRS, batch_size=None, sampler=torch_data.RandomSampler(PAIRS)),
    "DistributedSampler": lambda: DataLoader(PAIRS, 8, sampler=distributed(2, shuffle=False)),
    "DistributedSampler,": lambda: DataLoader(PAIRS, 8, sampler=distributed(1, shuffle=True)),
}
FUNCTIONS = {
    "evaluate": lambda data: ar.evaluate(net(), data, None),
    "evaluate_grid": lambda data: ar.evaluate_grid(net(), data, {"digital": None}),
    "attribute": lambda data: ar.attribute(net(), data, CROSSBAR, chips=2),
    "predict_loss": lambda data: ar.predict_loss(net(), data, {"noise": NOISE}),
    "predict_accuracy": lambda data: ar.predict_accuracy(net(), data, {"noise": NOISE}, passes=2),
    "check_prediction": lambda data: ar.check_prediction(net(), data, {"noise": NOISE}, scales=[1.0], chips=2),
    "equivalent_sigma": lambda data: ar.equivalent_sigma(net(), data, NOISE, chips=2),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@for_each("sampler", RANDOM)
def test_a_random_sampler_is_refused_by_name(function, sampler):
    with pytest.raises(ar.AimcError) as refusal:
        FUNCTIONS[function](RANDOM[sampler]())
    assert sampler in str(refusal.value)
    assert "same order" in str(refusal.value)


@pytest.mark.parametrize("jobs", [None, 2])
@pytest.mark.parametrize(
    "make",
    [
        lambda: DataLoader(PAIRS, 8, sampler=Order(shuffled)),
        lambda: DataLoader(Jittered(by_torch), 8),
        lambda: DataLoader(Jittered(by_numpy), 8, num_workers=1),
        lambda: DataLoader(Streamed(shuffled_by_numpy), 8),
        lambda: Streamed(batches_shuffled_by_numpy),
    ],
    ids=["sampler", "transform", "transform in workers", "iterable", "iterable of batches"],
)
def test_images_that_differ_from_pass_to_pass_are_refused(make, jobs):
    with pytest.raises(ar.AimcError, match=r"same examples in the same order .* (DataLoader|Streamed)"):
        losses(make(), jobs)


def test_a_difference_between_conditions_of_one_chip_is_seen():
    with pytest.raises(ar.AimcError, match="same examples"):
        ar.evaluate_grid(net(), DataLoader(Jittered(by_torch), 8), {"a": NOISE, "b": NOISE}, chips=1)


@pytest.mark.parametrize("jobs", [None, 1, 2])
@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "order"),
    [
        (lambda: DataLoader(PAIRS, 8), range(N)),
        (lambda: DataLoader(PAIRS, 8, sampler=distributed(1, shuffle=False)), range(N)),
        (lambda: DataLoader(Streamed(lambda: range(N)), 8), range(N)),
        (lambda: DataLoader(PAIRS, 8, sampler=Order(backwards)), backwards()),
        (lambda: DataLoader(PAIRS, 8, num_workers=2), range(N)),
        (lambda: DataLoader(PAIRS, 8, num_workers=2, persistent_workers=True), range(N)),
    ],
    ids=[
        "plain",
        "distributed",
        "iterable",
        "backwards",
        "workers",
        "persistent workers",
    ],
)
def test_a_fixed_order_gives_the_numbers_of_a_list(make, order, jobs):
    order = list(order)
    batches = list(zip(INPUTS[order].split(8), LABELS[order].split(8), strict=True))
    assert losses(make(), jobs) == losses(batches, jobs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda: DataLoader(Jittered(by_torch), 8, num_workers=1),
        lambda: DataLoader(Jittered(by_torch), 8, num_workers=1, persistent_workers=True),
        lambda: DataLoader(Jittered(by_torch), 8, num_workers=1, generator=torch.Generator()),
        lambda: DataLoader(Streamed(shuffled), 8),
    ],
    ids=["workers", "persistent workers", "generator", "iterable"],
)
def test_what_a_loader_draws_with_torch_is_the_same_for_every_chip_and_job(make):
    alone = losses(make())
    assert alone == losses(make(), jobs=2)
    assert len(set(alone)) == 4  # chips differ


def test_a_loader_whose_workers_the_user_keeps_serves_all_processes():
    loader = DataLoader(PAIRS, 8, num_workers=1, persistent_workers=True)
    assert len(list(loader)) == 3  # its workers run
    found = ar.evaluate_grid(net(), loader, {"digital": None, "noise": NOISE}, chips=4, jobs=2)
    assert found["noise", 0.0].table["loss"].tolist() == pytest.approx(losses(PAIRS[:], jobs=2), rel=1e-6)
    assert len(list(loader)) == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_a_pass_leaves_the_generators_as_they_are(workers):
    generator = torch.Generator().manual_seed(3)
    passes = RepeatedPasses(DataLoader(PAIRS, 8, num_workers=workers, generator=generator))
    before = torch.get_rng_state(), generator.get_state()
    assert len(list(passes)) == 3
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.equal(generator.get_state(), before[1])


def test_a_pass_that_ends_early_is_not_compared():
    passes = RepeatedPasses(DataLoader(PAIRS, 8))
    next(iter(passes))
    assert len(list(passes)) == len(list(passes)) == 3


@pytest.mark.parametrize("dtype", [torch.bool, torch.bfloat16, torch.float64, torch.uint8, torch.complex64])
def test_inputs_of_any_type_are_compared(dtype):
    first = torch.zeros(2, 3, dtype=dtype)
    changing = [first, torch.ones_like(first)]

    class Changing:
        def __iter__(self):
            return iter([(changing[0], LABELS[:2])])

    passes = RepeatedPasses(Changing())
    list(passes), list(passes)
    changing.reverse()
    with pytest.raises(ar.AimcError, match="Changing"):
        list(passes)
