"""What the other tests on an accelerator rely on: mixed devices and foreign generators are errors, waits are seen."""

import copy

import pytest
import torch
from support.waits import no_waits
from torch import nn

pytestmark = pytest.mark.gpu

ON_CPU = torch.ones(4, 3)
MIXED = {
    "a sum": lambda x: x + ON_CPU,
    "a sum in place": lambda x: ON_CPU.clone().add_(x),
    "a product": lambda x: ON_CPU @ x.T,
    "a stack with a number of the CPU": lambda x: torch.stack([x[0, 0], torch.tensor(1.0)]),
    "an index of the device": lambda x: ON_CPU[x[:, 0].long()],
    "a layer": lambda x: nn.Linear(3, 2)(x),
}
FOREIGN = {
    "on the device": lambda device: torch.randn(3, device=device, generator=torch.Generator()),
    "in place": lambda device: torch.empty(3, device=device).exponential_(generator=torch.Generator()),
    "on the CPU": lambda device: torch.randn(3, generator=torch.Generator(device)),
}
WAITS = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "bool": lambda x: bool((x > 0).all()),
    "cpu": lambda x: x.cpu(),
    "tolist": lambda x: x.tolist(),
    "a copy into a tensor of the CPU": lambda x: torch.empty(4, 3).copy_(x),
    "equal": lambda x: torch.equal(x, x + 1),
    "nonzero": lambda x: x.nonzero(),
    "a mask": lambda x: x[x > 0],
    "masked_select": lambda x: x.masked_select(x > 0),
}


def tensor(device):
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).to(device)


@pytest.mark.parametrize("name", MIXED)
def test_tensors_of_two_devices_do_not_mix(name, accelerator):
    with pytest.raises(RuntimeError, match="device"):
        MIXED[name](tensor(accelerator))


@pytest.mark.parametrize("name", FOREIGN)
def test_a_generator_of_another_device_is_refused(name, accelerator):
    with pytest.raises(RuntimeError, match="device type for generator"):
        FOREIGN[name](accelerator)


def test_numbers_of_the_cpu_may_be_factors(accelerator):
    x = tensor(accelerator)
    assert torch.equal((x * torch.tensor(2.0)).cpu(), 2.0 * tensor("cpu"))
    assert torch.equal(torch.where(x > 0, x, torch.tensor(0.0)).cpu(), tensor("cpu").relu())


@pytest.mark.parametrize("name", WAITS)
@pytest.mark.parametrize("inference", [False, True])
def test_a_wait_for_the_device_is_seen(name, inference, accelerator):
    x = tensor(accelerator)
    with pytest.raises((AssertionError, RuntimeError)), torch.inference_mode(inference), no_waits(accelerator):
        WAITS[name](x)


def test_a_copy_to_the_device_is_seen(accelerator):
    with pytest.raises((AssertionError, RuntimeError)), no_waits(accelerator, uploads=False):
        torch.tensor([1.0, 2.0], device=accelerator)


def test_computing_waits_for_nothing(accelerator):
    model, x = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout(0.5)).to(accelerator), tensor(accelerator)
    labels = torch.zeros(4, dtype=torch.int64, device=accelerator)
    with no_waits(accelerator, uploads=False):
        nn.functional.cross_entropy(model(x), labels).backward()
        x[x > 0] = 1.0
        x.sort().values.quantile(0.5).clamp_(min=0.0)


def test_global_random_numbers_are_the_devices_own(accelerator):
    rng, of_cpu = torch.get_device_module(accelerator), torch.get_rng_state()
    before = rng.get_rng_state()
    nn.functional.dropout(tensor(accelerator), 0.5)
    torch.rand(3, device=accelerator)
    assert torch.equal(torch.get_rng_state(), of_cpu)
    assert not torch.equal(rng.get_rng_state(), before)


def test_modules_are_moved_copied_and_trained(accelerator):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    moved = copy.deepcopy(copy.deepcopy(model).to(accelerator))
    for net, device in ((model, "cpu"), (moved, accelerator)):
        optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
        for _ in range(3):
            with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
                loss = nn.functional.cross_entropy(net(tensor(device)), torch.ones(4, dtype=torch.int64, device=device))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    for parameter, on_device in zip(model.parameters(), moved.parameters(), strict=True):
        assert isinstance(on_device, nn.Parameter)
        torch.testing.assert_close(on_device.cpu(), parameter, rtol=1e-2, atol=1e-2)
