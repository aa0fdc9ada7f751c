"""A noise, a mapping or a cell model that raises in the middle of a run is named, with the layer and the error."""

from dataclasses import dataclass

import pytest
import torch
from support.nets import batches, net
from torch.nn import functional as F

import aimc_robust as ar
from aimc_robust.errors import InputError

# That converters are left out in training is meant here.
pytestmark = pytest.mark.filterwarnings("ignore:training meets this crossbar's programming errors")
LARGE = 1000  # weights of the layer "4", and of no other: trials of a mapping are smaller


class Failing(ar.WeightNoise):
    def perturb(self, name, weight, generator):
        if weight.numel() > LARGE:
            raise ZeroDivisionError("the noise is\n  out of luck")
        return weight + 0.01


@dataclass(frozen=True)
class FailingStates(ar.WeightMapping):
    signs = (1.0,)

    def to_states(self, u, g_min, cell_bits):
        if u.numel() > LARGE:
            raise KeyError("no such level")
        yield u.add(1.0).mul_((1.0 - g_min) / 2.0).add_(g_min)

    def factors(self, g_min, cell_bits):
        return (2.0 / (1.0 - g_min),), -2.0 * g_min / (1.0 - g_min) - 1.0


class FailingFactors(FailingStates):
    """Raises when it is read back for the first time after its trial."""

    calls = 0

    def to_states(self, u, g_min, cell_bits):
        yield u.add(1.0).mul_((1.0 - g_min) / 2.0).add_(g_min)

    def factors(self, g_min, cell_bits):
        type(self).calls += 1
        if type(self).calls > 1:
            raise ValueError("no factor left")
        return super().factors(g_min, cell_bits)


class FailingCell(ar.CellModel):
    name, unit, window, limits = "odd-cell", "uS", (1.0, 20.0), (0.0, 25.0)

    def programming_std(self, target):
        if target.numel() > LARGE:
            raise TypeError("cells of this size are not made")
        return torch.full_like(target, 0.2)


def mapped(kind):
    def crossbar(**options):
        kind.calls = 0
        return ar.Crossbar("rram-milo2021", mapping=kind(), **options)

    return crossbar


CODE = {
    "noise": (lambda: Failing(), r"Failing\.perturb raised ZeroDivisionError on the layer '4': the noise is out of"),
    "states": (mapped(FailingStates), r"mapping FailingStates raised KeyError on the layer '4': 'no such level'"),
    "factors": (
        mapped(FailingFactors),
        r"mapping FailingFactors raised ValueError on the layer '[04]': no factor left",
    ),
    "cell": (
        lambda **options: ar.Crossbar(FailingCell(), **options),
        r"the layer '4'.*odd-cell: programming_std.*made",
    ),
}
CONVERTERS = {"dac": ar.DAC(bits=8, kind="signed", full_scale=3.0), "adc": ar.ADC(bits=8, range=(-9.0, 9.0))}


def trained(model, noise):
    ar.RWP(noise=noise).backward(model, F.cross_entropy, batches()[:1], step=1)


RUNS = {
    "evaluate": lambda model, noise: ar.evaluate(model, batches(), noise, chips=2),
    "grid": lambda model, noise: ar.evaluate_grid(model, batches(), {"mine": noise}, chips=2),
    "two processes": lambda model, noise: ar.evaluate(model, batches(), noise, chips=2, jobs=2),
    "training": trained,
    "program": ar.program,
    "prediction": lambda model, noise: ar.predict_loss(model, batches(), {"mine": noise}),
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("code", CODE)
def test_what_raises_is_named_with_its_layer_and_its_error(code, run):
    make, message = CODE[code]
    if (code, run) in (("noise", "program"), ("cell", "prediction"), ("factors", "two processes")):
        pytest.skip(
            "a noise is not programmed; moments of a cell are found without layers; a counter is of one process"
        )
    model = net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match=message) as caught:
        RUNS[run](model, make())
    assert "\n" not in str(caught.value)
    if run != "two processes":
        assert caught.value.__cause__ is not None
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("run", ["evaluate", "program"])
@pytest.mark.parametrize("code", ["states", "factors", "cell"])
def test_the_same_holds_for_layers_that_compute_in_arrays(code, run):
    make, message = CODE[code]
    with pytest.raises(InputError, match=message):
        RUNS[run](net(), make(**CONVERTERS))


def test_a_mapping_that_raises_in_its_trial_is_refused_by_name():
    class AtOnce(FailingStates):
        def to_states(self, u, g_min, cell_bits):
            raise KeyError("no level at all")

    with pytest.raises(InputError, match=r"AtOnce\.to_states raised KeyError: 'no level at all'"):
        ar.Crossbar("rram-milo2021", mapping=AtOnce())


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")]
)
def test_exhausted_memory_is_not_told_as_a_mistake(error):
    class Greedy(ar.WeightNoise):
        def perturb(self, name, weight, generator):
            raise error

    with pytest.raises(type(error)) as caught:
        ar.evaluate(net(), batches(), Greedy(), chips=1)
    assert caught.value is error
