"""Models whose weights are out of reach: every function refuses them by name, and no errors are left out."""

import functools

import pytest
import torch
from torch import nn
from torch.ao.quantization import quantize_dynamic

import aimc_robust as ar
from aimc_robust.errors import InputError
from aimc_robust.noise.model_kinds import check_model
from aimc_robust.noise.scales import SCALES

INPUTS, LABELS = torch.randn(6, 16, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
BATCHES, NOISE, CROSSBAR = [(INPUTS, LABELS)], ar.Gaussian(0.1), ar.Crossbar("rram-wan2022")
LOSS = nn.CrossEntropyLoss()

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*quantize")


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


class Mixed(nn.Module):
    """A model of which a part is out of reach, and a layer is not."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.head = inner, nn.Linear(3, 3)

    def forward(self, x):
        return self.head(self.inner(x))


class Integers(nn.Linear):
    """A linear layer that stores integers, as bitsandbytes does."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.weight = nn.Parameter((self.weight * 50).to(torch.int8), requires_grad=False)

    def forward(self, x):
        return nn.functional.linear(x, self.weight.float() / 50, self.bias)


class Packed(nn.Module):
    """A layer with integers in a buffer, as GPTQ's."""

    def __init__(self):
        super().__init__()
        self.register_buffer("qweight", torch.ones(3, 16, dtype=torch.int32))

    def forward(self, x):
        return nn.functional.linear(x, self.qweight.float())


class Sharded(torch.Tensor):
    """A tensor with a dispatch of its own, as DTensor and torchao's."""

    _is_param = True

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise NotImplementedError(f"{func} of Sharded")


class FSDPModule(nn.Module):
    """Stands for torch's class of this name."""


def sharded_weight():
    model = net()
    model[2]._parameters["weight"] = torch.Tensor._make_wrapper_subclass(Sharded, (3, 8))
    return model


@functools.cache  # an older torch exports the same code eight times in a process only
def exported():
    return torch.export.export(net(), (INPUTS,))


KINDS = {  # what the message must name -> model
    "torch.jit": lambda: torch.jit.script(net()),
    "'inner' of Mixed (": lambda: Mixed(torch.jit.trace(net(), INPUTS)),
    "torch.export": lambda: exported().module(),
    "'inner' of Mixed (GraphModule)": lambda: Mixed(exported().run_decompositions().module()),
    "'0' of Sequential (Linear) has no values": lambda: net().to("meta"),
    "'0' of Sequential (LazyLinear) has no values for 'weight' before its first batch; run one batch": lambda: (
        nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 3))
    ),
    "'0' of Sequential (LazyBatchNorm1d) has no values for 'weight' before its first batch; run one batch": lambda: (
        nn.Sequential(nn.LazyBatchNorm1d(), nn.Linear(16, 3))
    ),
    "quantized": lambda: quantize_dynamic(net()),
    "'inner.0' of Mixed (Linear) holds quantized weights": lambda: Mixed(quantize_dynamic(net())),
    "torch.int8": lambda: nn.Sequential(Integers(16, 8), nn.Linear(8, 3)),
    "'qweight', torch.int32": lambda: nn.Sequential(Packed(), nn.Linear(3, 3)),
    "Sharded": sharded_weight,
    "FSDP": lambda: nn.Sequential(FSDPModule(), nn.Linear(16, 3)),
    "ExportedProgram": exported,
}


def train(model):
    config = ar.TrainingConfig(epochs=1, batch_size=6)
    ar.train(model, ar.SGD(), config, training_set=(INPUTS, LABELS), validation_set=(INPUTS, LABELS))


def perturb(model):
    with ar.perturbed(model, NOISE, generator=ar.Axes(0)):
        pass


FUNCTIONS = {
    "program": lambda model: ar.program(model, CROSSBAR),
    "coverage": ar.coverage,
    "evaluate": lambda model: ar.evaluate(model, BATCHES, CROSSBAR, chips=1),
    "evaluate, noise": lambda model: ar.evaluate(model, BATCHES, NOISE, chips=1),
    "evaluate_grid": lambda model: ar.evaluate_grid(model, BATCHES, {"rram": CROSSBAR}, chips=1),
    "attribute": lambda model: ar.attribute(model, BATCHES, CROSSBAR, chips=1),
    "predict_loss": lambda model: ar.predict_loss(model, BATCHES, {"noise": NOISE}),
    "predict_accuracy": lambda model: ar.predict_accuracy(model, BATCHES, {"noise": NOISE}, passes=2),
    "check_prediction": lambda model: ar.check_prediction(model, BATCHES, {"noise": NOISE}, chips=2),
    "equivalent_sigma": lambda model: ar.equivalent_sigma(model, BATCHES, NOISE, chips=2),
    "layer_errors": lambda model: ar.layer_errors(model, NOISE),
    "calibrate": lambda model: ar.calibrate(model, CROSSBAR.replace(adc=ar.ADC(bits=8)), [INPUTS]),
    "average_sharpness": lambda model: ar.average_sharpness(model, LOSS, BATCHES, NOISE),
    "ascent_sharpness": lambda model: ar.ascent_sharpness(model, LOSS, BATCHES, rho=0.1),
    "gradient_sharpness": lambda model: ar.gradient_sharpness(model, LOSS, BATCHES, ar.SAM(rho=0.1)),
    "hessian_spectrum": lambda model: ar.hessian_spectrum(model, LOSS, BATCHES),
    "perturbed": perturb,
    "RWP": lambda model: ar.RWP(sigma=0.1).backward(model, LOSS, BATCHES, step=1),
    "RWP, all": lambda model: ar.RWP(sigma=0.1, scope="all").backward(model, LOSS, BATCHES, step=1),
    "SAM": lambda model: ar.SAM(rho=0.1).backward(model, LOSS, BATCHES, step=1),
    "train": train,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_it_is_refused_by_name(function, kind):
    with pytest.raises(ar.AimcError) as refusal:
        FUNCTIONS[function](KINDS[kind]())
    assert "\n" not in str(refusal.value)
    if "model takes other inputs" not in str(refusal.value):  # a function that runs the model first
        assert kind in str(refusal.value)
    else:
        assert kind in ("'0' of Sequential (Linear) has no values", "Sharded", "FSDP")


@pytest.mark.parametrize("kind", ["torch.jit", "torch.export", "quantized", "torch.int8", "'qweight', torch.int32"])
def test_digital_evaluation_only_runs_the_model(kind):
    model = KINDS[kind]()
    with torch.no_grad():
        expected = LOSS(model(INPUTS), LABELS)
    assert ar.evaluate(model, BATCHES, None).table["loss"][0] == pytest.approx(float(expected), rel=1e-6)


def test_digital_evaluation_of_a_lazy_model_is_refused_until_it_has_seen_a_batch():
    model = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(InputError, match="run one batch through the model first"):
        ar.evaluate(model, BATCHES, None)
    model(INPUTS)
    assert ar.evaluate(model, BATCHES, CROSSBAR, chips=2).chips == 2


EMPTY = (r"^the layer '1' has no weights, .*\(3, 0\)", lambda: nn.Sequential(nn.Identity(), nn.Linear(0, 3)))
COMPLEX = (
    r"^the layer '0' has complex weights \(torch\.complex64\), .*real numbers",
    lambda: nn.Sequential(nn.Linear(16, 3, dtype=torch.complex64)),
)


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
@pytest.mark.parametrize(("reason", "make"), [EMPTY, COMPLEX], ids=["empty", "complex"])
@pytest.mark.parametrize("function", ["program", "evaluate", "evaluate, noise", "perturbed", "RWP"])
def test_weights_that_are_no_real_numbers_are_refused_by_name(function, reason, make):
    with pytest.raises(InputError, match=reason):
        FUNCTIONS[function](make())


@pytest.mark.parametrize("noise", [ar.Gaussian(0.1, scale) for scale in SCALES] + [ar.Laplace(0.1)], ids=repr)
def test_no_scale_of_noise_takes_them(noise):
    with pytest.raises(InputError, match=COMPLEX[0]), ar.perturbed(COMPLEX[1](), noise, generator=ar.Axes(0)):
        pass


def test_a_complex_layer_may_stay_digital():
    model = nn.ModuleDict({"0": nn.Linear(4, 3, dtype=torch.complex64), "1": nn.Linear(4, 3)})
    programmed = ar.program(model, CROSSBAR, layers={"0": "digital"})
    assert torch.equal(programmed["0"].weight, model["0"].weight)
    assert not torch.equal(programmed["1"].weight, model["1"].weight)


class Embedded(nn.Module):
    """A model with matrices of its own that nothing is multiplied with."""

    def __init__(self):
        super().__init__()
        self.positions, self.layer = nn.Parameter(torch.ones(6, 16)), nn.Linear(16, 3)

    def forward(self, x):
        return self.layer(x + self.positions)


@pytest.mark.parametrize("make", [net, Embedded])
def test_a_traced_graph_of_layers_is_the_model(make):
    model = make().eval()
    graph = torch.fx.symbolic_trace(model)
    check_model(graph)
    assert ar.evaluate(graph, BATCHES, CROSSBAR, chips=2).table.equals(
        ar.evaluate(model, BATCHES, CROSSBAR, chips=2).table
    )
