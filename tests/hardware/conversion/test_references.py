"""A model that uses its layers by other references than torch's: the chip's layer computes, or an error names it."""

import copy
import functools
import types
import weakref

import pytest
import torch
from support.for_each import for_each
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust import DAC, Crossbar, Gaussian, evaluate, program
from aimc_robust.errors import InputError

EXACT = Crossbar("ideal", rows=3, dac=DAC(kind="ideal"))
WEIGHTS = Crossbar("rram-milo2021")
ARRAYS = Crossbar("rram-milo2021", dac=DAC(kind="ideal"))
X = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))


class Uses(nn.Module):
    """Calls `self.use`, which `make` creates from the model."""

    def __init__(self, make) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(6, 3)
        self.use = make(self)

    def call(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def forward(self, x: Tensor) -> Tensor:
        use = self.use
        while isinstance(use, (list, tuple, dict)):
            use = use["key"] if isinstance(use, dict) else use[0]
        return use(x)


def functional(layer: nn.Linear, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight, layer.bias)


def patched(method) -> object:
    def make(model: Uses) -> object:
        model.layer.forward = method(model.layer)
        return model.call

    return make


def as_accelerate_does(layer: nn.Linear) -> functools.partial:
    layer._old_forward = layer.forward
    new_forward = functools.partial(lambda layer, *args: layer._old_forward(*args), layer)
    return functools.update_wrapper(new_forward, layer._old_forward)


REBOUND = {
    "forward": lambda model: model.layer.forward,
    "call": lambda model: model.layer.__call__,
    "method of the parent": lambda model: model.call,
    "partial": lambda model: functools.partial(model.layer.forward),
    "partial of a function": lambda model: functools.partial(functional, model.layer),
    "nested": lambda model: {"key": [(model.layer.forward, 1.0)]},
    "list of layers": lambda model: [model.layer],
    "patched forward": patched(lambda layer: types.MethodType(functional, layer)),
    "accelerate": patched(as_accelerate_does),
    "bound by hand": lambda model: types.MethodType(functional, model.layer),
}


@for_each("name", REBOUND)
def test_the_chips_layer_computes(name):
    model = Uses(REBOUND[name]).eval()
    want = model(X)
    torch.testing.assert_close(program(model, EXACT)(X), want, rtol=0, atol=1e-6)
    chip, arrays = program(model, WEIGHTS), program(model, ARRAYS)
    assert float((chip(X) - want).detach().abs().max()) > 1e-3
    torch.testing.assert_close(arrays(X), chip(X), rtol=0, atol=1e-5)
    torch.testing.assert_close(copy.deepcopy(arrays)(X), arrays(X), rtol=0, atol=0)
    assert torch.equal(model(X), want)
    assert isinstance(model.layer, nn.Linear)


def test_a_patched_convolution_computes_in_its_arrays():
    layer, x = nn.Conv2d(2, 3, 3), torch.randn(2, 2, 5, 5)
    layer.forward = types.MethodType(lambda self, x: self._conv_forward(x, self.weight, self.bias), layer)
    model = nn.Sequential(layer)
    torch.testing.assert_close(program(model, ARRAYS)(x), program(model, WEIGHTS)(x), rtol=0, atol=1e-5)
    noisy = program(model, Crossbar("sonos-agrawal2022"))
    assert not torch.equal(noisy(x), noisy(x))


def test_a_folded_batchnorm_in_a_list_is_not_applied_twice():
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Linear(6, 3), nn.BatchNorm1d(3)
            self.norm.running_var.fill_(4.0)
            self.norms = [self.norm]

        def forward(self, x: Tensor) -> Tensor:
            return self.norms[0](self.layer(x))

    model = Listed().eval()
    torch.testing.assert_close(program(model, EXACT)(X), model(X), rtol=0, atol=1e-6)


the_model: nn.Module | None = None


def global_function(model: Uses) -> object:
    global the_model
    the_model = model
    return lambda x: the_model.layer(x)


def with_hook(model: Uses) -> object:
    model.register_forward_hook(lambda module, args, output: model.layer(args[0]))
    return model.call


def wrapped_forward(layer: nn.Linear) -> object:
    old = layer.forward
    return lambda x: old(x)


CAPTURED = {
    "closure": ("'use' of the model", lambda model: lambda x: model.layer(x)),
    "default": ("'use' of the model", lambda model: lambda x, layer=model.layer: layer(x)),
    "weight": ("parameter 'layer.weight'", lambda model: (lambda w: lambda x: x @ w.t())(model.layer.weight)),
    "global": ("'use' of the model", global_function),
    "nested": ("'use' of the model", lambda model: [functools.partial(lambda x: (lambda: model.layer(x))())]),
    "hook": ("'_forward_hooks' of the model", with_hook),
    "patched forward": ("'forward' of the module 'layer'", patched(wrapped_forward)),
    "weak reference": ("'use' of the model", lambda model: weakref.ref(model.layer)),
    "compiled": ("'use' of the model", lambda model: torch.compile(model.layer.forward, backend="eager")),
}


@for_each("crossbar", [WEIGHTS, ARRAYS, Gaussian(0.1)])
@for_each("name", CAPTURED)
def test_a_function_that_would_compute_with_the_original_is_refused(name, crossbar):
    place, make = CAPTURED[name]
    model = Uses(make)
    with pytest.raises(InputError, match=place):
        evaluate(model, [(X, torch.zeros(4, dtype=torch.long))], crossbar, chips=1)


def test_the_forward_of_a_class_may_not_use_the_original_either():
    layer = nn.Linear(6, 3)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return layer(x)

    with pytest.raises(InputError, match=r"class's forward of the model \(Net\) uses the module 'layer'"):
        program(Net(), WEIGHTS)


def test_functions_that_do_not_use_the_model_stay():
    seen, scale, other = [], 2.0, nn.Linear(3, 3)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.scale = nn.Linear(6, 3), lambda x: scale * other(x)

        def forward(self, x: Tensor) -> Tensor:
            return self.scale(self.model(x))

    model = Net().eval()
    model.model.register_forward_hook(lambda module, args, output: seen.append(output))
    chip = program(model, EXACT)
    torch.testing.assert_close(chip(X), model(X), rtol=0, atol=1e-6)
    assert len(seen) == 2


class InDictionary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.held = {"key": self.layer.weight, "all": list(self.parameters())}

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.held["key"].t() + self.layer.bias


def test_a_weight_in_a_dictionary_is_the_chips_and_no_way_around_the_arrays():
    model = InDictionary()
    chip = program(model, WEIGHTS)
    torch.testing.assert_close(chip(X), F.linear(X, chip.layer.weight, chip.layer.bias))
    for arrays in (program(model, ARRAYS), copy.deepcopy(program(model, ARRAYS))):
        with pytest.raises(InputError, match="'layer'"):
            arrays(X)
        assert arrays.held["key"].norm().isfinite()
    torch.testing.assert_close(model(X), model.layer(X))


@for_each("alias", [lambda w: w.data, lambda w: w.detach().t(), lambda w: {"key": [w.detach()[0]]}])
def test_an_alias_of_a_weight_is_refused(alias):
    model = Uses(lambda model: alias(model.layer.weight))
    with pytest.raises(InputError, match=r"'use' of the model .* of the layer 'layer'"):
        program(model, WEIGHTS)
