"""Which parameters hold weight matrices, and how those of each kind of layer are laid out as filters."""

import pytest
import torch
from support.for_each import for_each
from torch import Tensor, nn

from aimc_robust import Crossbar, Gaussian, program
from aimc_robust.noise.analog_weights import TRANSPOSED, analog_weights, weights_in_scope
from aimc_robust.noise.perturbation import perturbed

LAYERS = {
    "linear": nn.Linear(6, 4),
    "conv1d": nn.Conv1d(6, 4, 3),
    "grouped": nn.Conv2d(6, 4, 3, groups=2),
    "depthwise": nn.Conv2d(6, 12, 3, groups=6),
    "conv3d": nn.Conv3d(6, 4, 2),
    "transposed 1d": nn.ConvTranspose1d(6, 4, 3),
    "transposed 2d": nn.ConvTranspose2d(6, 4, 3, groups=2),
    "transposed depthwise": nn.ConvTranspose2d(6, 6, 3, groups=6),
    "transposed 3d": nn.ConvTranspose3d(6, 4, 2, groups=2),
}


def weight_of(layer: nn.Module):
    return analog_weights(layer)["weight"]


@pytest.mark.parametrize("name", LAYERS)
def test_filters_first_has_one_filter_per_output_and_goes_back(name):
    weight = weight_of(LAYERS[name])
    filters = weight.filters_first()
    outputs = LAYERS[name].out_features if name == "linear" else LAYERS[name].out_channels
    assert len(filters) == outputs
    assert filters.numel() == weight.parameter.numel()
    assert torch.equal(weight.to_parameter_layout(filters), weight.parameter)


@pytest.mark.parametrize("name", LAYERS)
def test_a_filter_is_what_its_output_depends_on(name):
    # The gradient of one output with respect to the weight is confined to its filter, and fills it.
    layer = LAYERS[name]
    weight = weight_of(layer)
    shape = (2, 6) if name == "linear" else (2, 6, *[4] * (layer.weight.ndim - 2))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    y = layer(x)
    for output in range(y.shape[1]):
        (gradient,) = torch.autograd.grad(y[:, output].sum(), layer.weight, retain_graph=True)
        touched = weight.filters_first(gradient).flatten(1).abs().gt(0).all(dim=1)
        assert touched.nonzero().flatten().tolist() == [output]
        others = weight.filters_first(gradient).flatten(1).abs().sum(dim=1).gt(0)
        assert others.nonzero().flatten().tolist() == [output]


@for_each("scale", ["filter_max", "filter_norm"])
@for_each("name", LAYERS)
def test_noise_relative_to_a_filter_is_relative_to_its_output(name, scale):
    layer = LAYERS[name]
    weight = weight_of(layer)
    with torch.no_grad():
        sizes = torch.logspace(-3, 3, len(weight.filters_first()))
        shape = [-1, *[1] * (layer.weight.ndim - 1)]
        spread = weight.to_parameter_layout(torch.ones_like(weight.filters_first()) * sizes.reshape(shape))
        layer.weight.copy_(spread)
    before = weight.filters_first().clone()
    draws = []
    for seed in range(40):
        with perturbed(layer, Gaussian(0.1, scale), generator=torch.Generator().manual_seed(seed)):
            draws.append(weight.filters_first() - before)
    spreads = torch.stack(draws, dim=1).flatten(1).std(dim=1)
    reference = before.flatten(1).abs().amax(dim=1) if scale == "filter_max" else before.flatten(1).norm(dim=1)
    # 40 draws of at least 9 weights: standard errors of the standard deviation of at most 4 %
    assert ((spreads / reference / 0.1 - 1.0).abs() < 5 * 0.04).all()
    assert torch.equal(weight.filters_first(), before)


@pytest.mark.parametrize("name", [name for name in LAYERS if isinstance(LAYERS[name], TRANSPOSED)])
def test_column_scaling_of_a_transposed_convolution_is_per_output(name):
    layer = LAYERS[name]
    weight = weight_of(layer)
    with torch.no_grad():
        shape = [-1, *[1] * (layer.weight.ndim - 1)]
        sizes = torch.logspace(-3, 3, len(weight.filters_first())).reshape(shape)
        layer.weight.copy_(weight.to_parameter_layout(torch.ones_like(weight.filters_first()) * sizes))
    analog = program(layer, Crossbar("rram-milo2021", scaling="column"))
    error = (weight_of(analog).filters_first() - weight.filters_first()) / sizes
    assert float(error.flatten(1).std(dim=1).min()) > 0.005
    assert float(error.abs().max()) < 0.3


class Everything(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)
        self.mix = nn.MultiheadAttention(4, 2, kdim=3, vdim=5)
        self.joint = nn.MultiheadAttention(4, 2, bias=False)
        self.memory, self.cell = nn.LSTM(4, 6, proj_size=2), nn.GRUCell(4, 3)
        self.lookup, self.head, self.tied = nn.Embedding(5, 4), nn.Linear(4, 5), nn.Linear(4, 5)
        self.tied.weight = self.head.weight
        self.computed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))
        self.token = nn.Parameter(torch.zeros(1, 4))

    def forward(self, x: Tensor) -> Tensor:
        return x


NAMES = [
    "conv.weight",
    *(f"mix.{part}_proj_weight" for part in "qkv"),
    "mix.out_proj.weight",
    "joint.in_proj_weight",
    "joint.out_proj.weight",
    "memory.weight_ih_l0",
    "memory.weight_hh_l0",
    "memory.weight_hr_l0",
    "cell.weight_ih",
    "cell.weight_hh",
    "head.weight",
]


def test_weights_are_the_matrices_of_every_kind_of_layer_once_each():
    model = Everything()
    assert list(analog_weights(model)) == NAMES
    assert sorted(weights_in_scope(model, "weights")) == sorted(NAMES)
    uses = analog_weights(model, include_shared=True)
    assert set(uses) - set(NAMES) == {"tied.weight"}
    assert uses["tied.weight"].array_owner == "head"
    assert uses["tied.weight"].layer == "tied"


def test_each_matrix_has_its_own_bias():
    weights = analog_weights(Everything())
    model_biases = {name: None if weight.bias is None else len(weight.bias) for name, weight in weights.items()}
    assert model_biases == {
        "conv.weight": 4,
        **{f"mix.{part}_proj_weight": 4 for part in "qkv"},
        "mix.out_proj.weight": 4,
        "joint.in_proj_weight": None,
        "joint.out_proj.weight": None,
        "memory.weight_ih_l0": 24,
        "memory.weight_hh_l0": 24,
        "memory.weight_hr_l0": None,
        "cell.weight_ih": 9,
        "cell.weight_hh": 9,
        "head.weight": 5,
    }


def test_a_bias_is_a_view_of_the_layers_own():
    model = Everything()
    for part, weight in zip("qkv", (analog_weights(model)[f"mix.{p}_proj_weight"] for p in "qkv"), strict=True):
        weight.bias.fill_({"q": 1.0, "k": 2.0, "v": 3.0}[part])
    assert model.mix.in_proj_bias.tolist() == [1.0] * 4 + [2.0] * 4 + [3.0] * 4
