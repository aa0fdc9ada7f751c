"""Updates of every method on an accelerator: the weights of the CPU, and no wait for the device."""

import functools

import pytest
import torch
from support.small_net import data, net
from support.waits import no_waits, waits
from torch import nn

from aimc_robust import (
    ADC,
    DAC,
    RWP,
    SAM,
    SGD,
    AdaptiveSAM,
    ArrayAware,
    Augmentation,
    CellModel,
    Crossbar,
    Distillation,
    FaultMap,
    Gaussian,
    Images,
    Laplace,
    MixedRWP,
    Parasitics,
    Ramp,
    RobustOptimizer,
    TrainingConfig,
    WeightClipping,
    calibrate,
)
from aimc_robust.noise import perturbation
from aimc_robust.noise.base import own_source
from aimc_robust.tasks.registry import as_task
from aimc_robust.training.epoch import train_epoch

pytestmark = pytest.mark.gpu

LOSS = nn.CrossEntropyLoss()
RAMP = Ramp(shape="linear", updates=9)
PCM = Crossbar("pcm-nandakumar2019", read_noise=False)
GIVEN = DAC(bits=6, full_scale=4.0, kind="sign-magnitude")
ARRAYS = PCM.replace(dac=DAC(bits=6), adc=ADC(bits=8, gain_error=0.02, inl=0.01), rows=20)
STUCK = Crossbar("rram-wan2022", read_noise=False, stuck=FaultMap({"4": torch.full((2, 3, 64), torch.nan).fill_(5.0)}))


@functools.cache
def ranges():
    return calibrate(net(), ARRAYS, [data()[0]])


METHODS = {
    "sgd": lambda: SGD(),
    "sam": lambda: SAM(rho=0.05, ramp=RAMP),
    "m-sharpness": lambda: SAM(rho=0.05, m=20, batches="different"),
    "asam": lambda: AdaptiveSAM(rho=0.5),
    "rwp": lambda: RWP(sigma=0.05, ramp=RAMP, draws=2),
    "laplace": lambda: RWP(noise=Laplace(0.05), scope="weights"),
    "rwp of all parameters": lambda: RWP(sigma=0.05, scope="all"),
    "m-rwp": lambda: MixedRWP(sigma=0.05),
    "device-matched": lambda: RWP(noise=PCM, ramp=RAMP),
    "device-matched, column scaling": lambda: MixedRWP(noise=Crossbar("rram-wan2022", scaling="column", cell_bits=4)),
    "known faults": lambda: SAM(rho=0.05, faults=STUCK),
    "array-aware": lambda: ArrayAware(
        ARRAYS, ranges=ranges(), time_s=(1.0, 1e5), drift_compensation=True, noise=Gaussian(0.02), ramp=RAMP
    ),
    "array-aware, learned output scales": lambda: ArrayAware(ARRAYS, ranges=ranges(), lam=0.5, output_scales="column"),
}


class OwnCell(CellModel):
    name, unit, window, limits = "own-cell", "uS", (1.0, 10.0), (0.0, 20.0)

    def programming_std(self, states):
        return 0.1 * states


# Values that an update reads on the host, at most, in two layers, and why.
WAITING = {
    # Converter ranges are numbers of the host: one transfer for the inputs and one for the currents of each layer.
    "array-aware, ranges of each batch": (lambda: ArrayAware(ARRAYS), 4),
    # Found like this at first, then changed after one transfer for all layers.
    "array-aware, learned ranges": (lambda: ArrayAware(PCM.replace(dac=DAC(bits=6)), ranges="learned"), 5),
    # The offset of this mapping is a number of the host, which the factor of the compensation changes.
    "array-aware, drift compensation of the offset mapping": (
        lambda: ArrayAware(PCM.replace(mapping="offset", dac=GIVEN), time_s=100.0, drift_compensation=True),
        2,
    ),
    # A percentile that is 0 is refused: it would clip all weights to 0.
    "device-matched, weight percentile": (lambda: RWP(noise=PCM.replace(weight_percentile=0.99)), 2),
    # IR drop beyond what is computed to 1 % is warned of or refused.
    "array-aware, IR drop": (lambda: ArrayAware(PCM.replace(parasitics=Parasitics(row_ohm=1.0), dac=GIVEN)), 4),
    # What a user's cell model returns is checked.
    "device-matched, a cell model in Python": (lambda: RWP(noise=Crossbar(OwnCell())), 8),
}


@pytest.fixture(autouse=True)
def perturbations_of_the_generator(monkeypatch):
    """The CPU, too, draws perturbations of training from its generator: the simulated device has the same one."""

    def source(noise, axes):
        return axes.generator() if noise.supports_any_device else own_source(noise, axes)

    monkeypatch.setattr(perturbation, "own_source", source)


def updated(method, device, *, dtype=None, count=2, inside=no_waits):
    """The weights and statistics of a net after some updates."""
    model, (inputs, labels) = net().train().to(device), data(80)
    batches = [(x.to(device), y.to(device)) for x, y in zip(inputs.split(40), labels.split(40), strict=True)]
    batches = batches[: method.batches_per_update]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(1, count + 1):
        with inside(device) if device.type != "cpu" else waits(torch.device("cuda")):
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                loss = method.backward(model, LOSS, batches, step=step)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            WeightClipping(std=2.5).apply(model, method=method)
            optimizer.zero_grad()
    return {"loss": loss} | {name: value.cpu() for name, value in model.state_dict().items()}


def assert_same(found, expected, device, name):
    """A GPU draws other perturbations than the CPU, the simulated one the same."""
    draws = name != "sgd" and "sam" not in name
    for key, value in found.items():
        if device.type == "simulated" or not draws:
            torch.testing.assert_close(value.cpu(), expected[key], rtol=1e-5, atol=1e-6, msg=key)
        else:
            assert torch.isfinite(value.float()).all()


QUICK = ("sgd", "sam", "m-rwp", "device-matched")


CASES = [pytest.param(name, None, id=name) for name in METHODS]
CASES += [
    pytest.param(name, torch.bfloat16, id=f"{name}, autocast", marks=() if name in QUICK else pytest.mark.slow)
    for name in METHODS
]


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_an_update_gives_the_weights_of_the_cpu_without_a_wait(name, dtype, accelerator):
    method = METHODS[name]()
    expected = updated(method, torch.device("cpu"), dtype=dtype)
    assert_same(updated(method, accelerator, dtype=dtype), expected, accelerator, name)


@pytest.mark.parametrize("name", WAITING)
def test_the_waits_that_are_left_are_known(name, accelerator):
    build, most = WAITING[name]
    with waits(accelerator) as transfers:
        found = updated(build(), accelerator, count=1, inside=waits)
    assert len(transfers.to_host) - len(found) <= most  # the test reads each tensor too
    assert_same(found, updated(build(), torch.device("cpu"), count=1), accelerator, name)


def test_an_epoch_is_read_as_often_whatever_the_number_of_its_updates(accelerator):
    """Once for whether its losses are finite and once for their mean; its images are drawn on the CPU at its start."""
    pixels, labels = torch.arange(64 * 36).reshape(64, 1, 6, 6).remainder(251).to(torch.uint8), torch.arange(64) % 3
    images = Images(pixels, labels, mean=[0.5], std=[0.2], augmentation=Augmentation(crop=1, flip=True, cutout=2))
    images, model, seen = images.to(accelerator), net().train().to(accelerator), []
    for batch_size in (32, 8):
        config = TrainingConfig(epochs=1, batch_size=batch_size, clip_norm=1.0, weight_clipping=WeightClipping(std=2.5))
        with waits(accelerator) as transfers:
            train_epoch(
                model,
                MixedRWP(sigma=0.05),
                config,
                config.base_optimizer(model),
                images,
                as_task(None),
                train_seed=0,
                epoch=1,
                autocast=lambda: torch.autocast(accelerator.type, dtype=torch.bfloat16),
            )
        seen.append(transfers)
    assert len(seen[1].to_host) == len(seen[0].to_host) <= 2
    assert len(seen[1].to_device) == len(seen[0].to_device)


def test_a_method_that_reads_a_value_is_found(accelerator):
    class Reading(SGD):
        def gradient(self, *args, **options):
            loss = super().gradient(*args, **options)
            return loss * float(loss.item() > 0)

    with pytest.raises((AssertionError, RuntimeError), match=r"_local_scalar_dense|synchron"):
        updated(Reading(), accelerator)


def test_distillation_and_the_optimizer_of_a_closure_wait_for_nothing(accelerator):
    expected = {}
    for device in (torch.device("cpu"), accelerator):
        model, teacher = net().train().to(device), net(seed=1).eval().to(device)
        inputs, labels = (part.to(device) for part in data(40))
        loss = Distillation(teacher, temperature=2.0)
        optimizer = RobustOptimizer(torch.optim.SGD(model.parameters(), lr=0.1), model, SAM(rho=0.05), clip_norm=1.0)

        def closure(model=model, inputs=inputs, labels=labels, loss=loss, optimizer=optimizer):
            optimizer.zero_grad()
            value = loss.loss(model, (inputs, labels))
            value.backward()
            return value

        with no_waits(device) if device.type != "cpu" else waits(torch.device("cuda")):
            optimizer.step(closure)
            optimizer.step(closure)
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value.cpu(), expected.setdefault(name, value.cpu()), rtol=1e-5, atol=1e-6)
