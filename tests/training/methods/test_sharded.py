"""Models that FSDP2 splits over real processes, against one process with the whole model and all parts of each batch.

Three filters on two processes (and on four) are shards of unequal sizes; on four, some have no filter.
"""

import pytest
import torch
from support.processes import on_processes
from support.training_examples import conv_net, digits
from torch import distributed, nn
from torch.nn.utils import parametrizations

from aimc_robust.errors import InputError
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.noise.analog_weights import weights_in_scope
from aimc_robust.noise.distributions import Gaussian, Laplace
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.seeding import Axes
from aimc_robust.training.methods import sam as sam_module
from aimc_robust.training.methods.array_aware import ArrayAware
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM, AdaptiveSAM
from aimc_robust.training.methods.sgd import SGD
from aimc_robust.training.robust_optimizer import RobustOptimizer
from aimc_robust.training.weight_clipping import WeightClipping

pytestmark = pytest.mark.slow

LOSS = nn.CrossEntropyLoss()
IS_TORCH_2_7 = torch.__version__ < (2, 8)  # rounds the norm of shards to float32, by which their gradients are clipped
CLOSE = {"rtol": 1e-6, "atol": 1e-8} if IS_TORCH_2_7 else {"rtol": 1e-9, "atol": 1e-12}
needs_later_torch = pytest.mark.skipif(IS_TORCH_2_7, reason="FSDP2 of torch 2.7 cannot do this: docs/how-to/train.md")
SIZE = 8  # of a worker's batch
RAMP = Ramp(shape="quadratic", updates=4)
CHIP = Crossbar("pcm-nandakumar2019", read_noise=False)
METHODS = {
    "sgd": SGD(),
    "rwp": RWP(sigma=0.1, ramp=RAMP),
    "rwp, filter norm, all weights": RWP(sigma=0.05, scale="filter_norm", scope="all"),
    "rwp, layer max, three draws": RWP(sigma=0.05, scale="layer_max", draws=3),
    "rwp, absolute": RWP(sigma=0.02, scale="absolute"),
    "rwp, Laplace": RWP(noise=Laplace(0.05)),
    "rwp, a crossbar": RWP(noise=CHIP),
    "m-rwp": MixedRWP(sigma=0.1, lam=0.3, ramp=RAMP),
    "m-rwp, same batch": MixedRWP(sigma=0.1, batches="same"),
    "sam": SAM(rho=0.5, ramp=RAMP),
    "sam, all weights": SAM(rho=0.5, scope="all"),
    "sam, different batches": SAM(rho=0.5, batches="different"),
    "asam": AdaptiveSAM(rho=0.5),
}
CLIPPING = {
    "limit": WeightClipping(limit=0.05),
    "layer": WeightClipping(std=1.0),
    "channel": WeightClipping(std=1.0, per="channel"),
}


class Attention(nn.MultiheadAttention):
    def forward(self, rows):
        return super().forward(rows, rows, rows)[0].clone()  # FSDP2 warns of outputs that are views


class Net(nn.Module):
    """Layers of several kinds, without BatchNorm; `tied` and the embedding share a weight; one layer is not used."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.up = nn.Conv2d(1, 3, 3), nn.ConvTranspose2d(3, 5, 2)
        self.attention = Attention(7, 1, batch_first=True)
        self.last = nn.Linear(245, 7)
        self.embedding, self.tied = nn.Embedding(10, 7), nn.Linear(7, 10)
        self.tied.weight = self.embedding.weight
        self.never = nn.Linear(2, 2)
        self.double()

    def forward(self, images):
        rows = self.up(self.first(images).relu()).tanh().flatten(1, 2)
        rows = rows + self.attention(rows)
        return self.tied(self.last(rows.flatten(1)) + self.embedding(torch.zeros(len(images), dtype=torch.long)))


def sharded(model, mesh=None):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = mesh or init_device_mesh("cpu", (distributed.get_world_size(),))
    for name in ("first", "attention"):
        fully_shard(getattr(model, name), mesh=mesh)
    return fully_shard(model, mesh=mesh)


def whole_state(model):
    state = {name: getattr(value, "full_tensor", lambda v=value: v)() for name, value in model.state_dict().items()}
    return {name: value.clone() for name, value in state.items()}


def update_batches(method, update, size, rank=None):
    images, labels = digits(torch.float64)
    first = update * method.batches_per_update
    wholes = [slice(size * SIZE * n, size * SIZE * (n + 1)) for n in range(first, first + method.batches_per_update)]
    part = slice(None) if rank is None else slice(SIZE * rank, SIZE * (rank + 1))
    return [(images[batch][part], labels[batch][part]) for batch in wholes]


def train(model, method, size, rank=None, *, clipping=None, optimizer=torch.optim.SGD, validate=False, accumulate=1):
    """The loop that a user would write."""
    optimizer = optimizer(model.parameters(), lr=0.05)
    for update in range(3):
        for step in range(accumulate * update, accumulate * (update + 1)):
            batches = update_batches(method, step, size, rank)
            method.backward(model, LOSS, batches, step=step + 1)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if clipping is not None:
            clipping.apply(model, method=method)
        if validate:  # a forward pass alone, after which FSDP2 keeps the gathered weights of the root
            with torch.no_grad():
                model(batches[0][0])
    return whole_state(model)


def train_sharded(rank, method, options):
    return train(sharded(options.pop("make", Net)()), method, distributed.get_world_size(), rank, **options)


def check(workers, method, **options):
    make, others = options.get("make", Net), {name: value for name, value in options.items() if name != "make"}
    expected = train(make(), method, workers.size, **others)
    for state in workers(train_sharded, method, options):
        assert_same(state, expected)


def assert_same(state, expected):
    assert state.keys() == expected.keys()
    for name, value in state.items():
        torch.testing.assert_close(value, expected[name], **CLOSE, msg=lambda text, name=name: f"{name}: {text}")


@on_processes(2, 4)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_shards_are_trained_as_the_whole_model(workers, method):
    check(workers, method)


@on_processes(2)
@pytest.mark.parametrize("name", ["sgd", "rwp", "m-rwp", "sam"])
def test_a_validation_between_updates_changes_nothing(workers, name):
    check(workers, METHODS[name], validate=True)


@on_processes(2)
@pytest.mark.parametrize("name", ["m-rwp", "sam"])
def test_gradients_add_up_over_calls(workers, name):
    check(workers, METHODS[name], accumulate=2)


@on_processes(2)
@pytest.mark.parametrize("name", ["rwp", "sam"])
def test_adam(workers, name):
    check(workers, METHODS[name], optimizer=torch.optim.Adam)


def normalized():
    """A net of which a layer computes its weight."""
    model = Net()
    parametrizations.weight_norm(model.last)
    return model


@on_processes(2)
@needs_later_torch
@pytest.mark.parametrize("name", ["rwp", "m-rwp", "sam, all weights"])
def test_computed_weights(workers, name):
    check(workers, METHODS[name], make=normalized)


@on_processes(2)
@pytest.mark.parametrize("clipping", CLIPPING.values(), ids=CLIPPING)
def test_weights_are_clipped_as_those_of_the_whole_model(workers, clipping):
    check(workers, METHODS["rwp"], clipping=clipping)


def local_norm(tensors):
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(tensor.to_local()) for tensor in tensors]))


def train_with_local_norms(rank, method, options):
    norm, sam_module.global_norm = sam_module.global_norm, local_norm
    try:
        return train_sharded(rank, method, options)
    finally:
        sam_module.global_norm = norm


@on_processes(2)
def test_norms_of_the_shards_alone_would_be_seen(workers):
    expected = train(Net(), METHODS["sam"], workers.size)
    with pytest.raises(AssertionError, match="not close"):
        assert_same(workers(train_with_local_norms, METHODS["sam"], {})[0], expected)


def noisy_state(rank, noise, scope):
    model = sharded(Net()) if rank is not None else Net()
    before = whole_state(model)
    with perturbed(model, noise, generator=Axes(3), scope=scope, draw_on_device=True):
        noisy = whole_state(model)
    assert all(torch.equal(value, before[name]) for name, value in whole_state(model).items())
    return noisy


@on_processes(2, 4)
@pytest.mark.parametrize("scope", ["weights", "all"])
@pytest.mark.parametrize("noise", [Gaussian(0.1), Gaussian(0.1, "layer_max"), Laplace(0.1), CHIP], ids=repr)
def test_noise_is_the_same_numbers_and_restored_bit_for_bit(workers, noise, scope):
    if noise is CHIP and scope == "all":
        noise = Gaussian(0.1, "filter_norm")
    expected = noisy_state(None, noise, scope)
    assert not torch.equal(expected["first.weight"], Net().first.weight)
    for state in workers(noisy_state, noise, scope):
        for name, value in state.items():
            assert torch.equal(value, expected[name]), name


def by_optimizer(rank, method, set_to_none):
    size = distributed.get_world_size() if rank is not None else 2
    model = sharded(Net()) if rank is not None else Net()
    return train_by_optimizer(model, method, size, rank, set_to_none)


def train_by_optimizer(model, method, size, rank, set_to_none):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    optimizer = RobustOptimizer(optimizer, model, method, clip_norm=1.0, weight_clipping=CLIPPING["layer"])
    for update in range(3):
        ((images, labels),) = update_batches(method, update, size, rank)

        def closure(images=images, labels=labels):
            optimizer.zero_grad(set_to_none=set_to_none)
            loss = LOSS(model(images), labels)
            loss.backward()
            return loss

        optimizer.step(closure)
    return whole_state(model)


@on_processes(2)
@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("name", ["sgd", "rwp", "m-rwp, same batch", "sam", "asam"])
def test_the_optimizer_around_a_closure(workers, name, set_to_none):
    expected = train_by_optimizer(Net(), METHODS[name], workers.size, None, set_to_none)
    for state in workers(by_optimizer, METHODS[name], set_to_none):
        assert_same(state, expected)


def train_batchnorm(rank, method):
    from torch.distributed.fsdp import fully_shard

    model = fully_shard(conv_net(dtype=torch.float64))
    return train(model, method, distributed.get_world_size(), rank)


@on_processes(2)
@pytest.mark.parametrize("bn_stats", ["clean", "perturbed"])
def test_batchnorm_counts_one_step_for_each_update(workers, bn_stats):
    first, *others = workers(train_batchnorm, SAM(rho=0.5, bn_stats=bn_stats))
    assert first["1.num_batches_tracked"] == 3
    for name, value in first.items():
        if "running" not in name:
            assert all(torch.equal(value, other[name]) for other in others), name


def refusals(rank, methods):
    messages = []
    for method in methods:
        with pytest.raises(InputError) as refused:
            method.backward(sharded(Net()), LOSS, update_batches(method, 0, 2, rank), step=1)
        messages.append(str(refused.value))
    return messages


@on_processes(2)
def test_what_needs_whole_models_is_refused(workers):
    methods = {
        "arrays of a chip": ArrayAware(CHIP),
        "parallel=True": MixedRWP(sigma=0.1, parallel=True),
        "per_worker=True": RWP(sigma=0.1, per_worker=True),
        "own micro-batch": SAM(rho=0.1, m=4),
    }
    for messages in workers(refusals, list(methods.values())):
        for reason, message in zip(methods, messages, strict=True):
            assert reason in message
            assert "DistributedDataParallel" in message


def refusal_of_parts(rank):
    from torch.distributed.fsdp import fully_shard

    model = Net()
    fully_shard(model.last)
    messages = []
    for call in (
        lambda: RWP(sigma=0.1).backward(model, LOSS, update_batches(SGD(), 0, 2, rank), step=1),
        lambda: weights_in_scope(sharded(Net())),
    ):
        with pytest.raises(InputError) as refused:
            call()
        messages.append(str(refused.value))
    return messages


@on_processes(2)
def test_parts_that_are_sharded_and_other_functions_are_refused(workers):
    for messages in workers(refusal_of_parts):
        assert all("fully_shard on the whole model" in message for message in messages)


def without_sync(rank):
    model = sharded(Net())
    model.set_requires_gradient_sync(False)
    with pytest.raises(InputError) as refused:
        SAM(rho=0.1).backward(model, LOSS, update_batches(SGD(), 0, 2, rank), step=1)
    return str(refused.value)


@on_processes(2)
def test_an_ascent_without_averaged_gradients_is_refused(workers):
    assert all("set_requires_gradient_sync" in message for message in workers(without_sync))


def train_on_a_grid(rank, method):
    from torch.distributed.device_mesh import init_device_mesh

    mesh = init_device_mesh("cpu", (distributed.get_world_size() // 2, 2), mesh_dim_names=("replicate", "shard"))
    return train(sharded(Net(), mesh), method, distributed.get_world_size(), rank)


@on_processes(4)
@needs_later_torch
@pytest.mark.parametrize("name", ["rwp", "m-rwp", "sam", "asam"])
def test_shards_in_replicated_groups(workers, name):
    expected = train(Net(), METHODS[name], workers.size)
    for state in workers(train_on_a_grid, METHODS[name]):
        assert_same(state, expected)
