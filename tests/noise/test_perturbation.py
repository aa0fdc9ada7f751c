"""perturbed(): which weights it touches, by how much, from which random numbers; and that it puts them back."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils import weight_norm as old_weight_norm

from aimc_robust import (
    RWP,
    SAM,
    AdaptiveSAM,
    Axes,
    Crossbar,
    Gaussian,
    WeightNoise,
    coverage,
    evaluate,
    perturbed,
    program,
)
from aimc_robust.errors import InputError, UnknownNameError

NOISE = Gaussian(0.1)


def small_model() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4))
    nn.init.normal_(model[1].weight)
    nn.init.normal_(model[1].bias)  # relative noise leaves the zeros of a fresh BatchNorm alone
    return model


def bits(model: nn.Module) -> dict[str, bytes]:
    """Every parameter and buffer, byte for byte: == would take NaN for changed and -0.0 for unchanged."""
    return {name: tensor.detach().numpy().tobytes() for name, tensor in model.state_dict().items()}


def changed(model: nn.Module, before: dict[str, bytes]) -> set[str]:
    return {name for name, value in bits(model).items() if value != before[name]}


class Recorder(WeightNoise):
    """Adds 1 to each weight and remembers which were asked for; raises at the layer `fail_at`."""

    def __init__(self, fail_at: str = "") -> None:
        self.names: list[str] = []
        self.fail_at = fail_at

    def perturb(self, name: str, weight: Tensor, generator: torch.Generator) -> Tensor:
        self.names.append(name)
        if name == self.fail_at:
            raise RuntimeError("the noise failed")
        return weight + 1.0


def test_weights_come_back_bit_for_bit_at_the_same_address():
    model = small_model()
    with torch.no_grad():
        model[0].weight.view(-1)[:3] = torch.tensor([float("nan"), -0.0, 1e-42])
    before, addresses = bits(model), [p.data_ptr() for p in model.parameters()]
    with perturbed(model, Gaussian(0.1, "absolute"), generator=Axes(0)):
        assert changed(model, before) == {"0.weight", "4.weight"}
        assert [p.data_ptr() for p in model.parameters()] == addresses
    assert bits(model) == before
    assert [p.data_ptr() for p in model.parameters()] == addresses


def test_weights_come_back_after_an_exception_in_the_block():
    model = small_model()
    before = bits(model)

    def fail_when_perturbed() -> None:
        with perturbed(model, NOISE, generator=Axes(0)):
            assert bits(model) != before
            raise RuntimeError("in the block")

    with pytest.raises(RuntimeError, match="block"):
        fail_when_perturbed()
    assert bits(model) == before


def test_weights_come_back_when_the_noise_itself_raises_at_the_second_layer():
    model, noise = small_model(), Recorder(fail_at="4")
    before = bits(model)
    with pytest.raises(InputError, match="the noise failed"), perturbed(model, noise, generator=Axes(0)):
        pytest.fail("the block must not run")
    assert noise.names == ["0", "4"]  # the first layer had been perturbed
    assert bits(model) == before


def test_gradients_taken_inside_belong_to_the_perturbed_weights():
    layer = nn.Linear(3, 1, bias=False)
    with perturbed(layer, Recorder(), generator=Axes(0)):
        layer.weight.square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, 2.0 * (layer.weight.detach() + 1.0))


@pytest.mark.parametrize(
    ("scope", "touched"),
    [
        ("weights", {"0.weight", "4.weight"}),
        ("all", {"0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"}),
        (lambda name, p: p.ndim == 1, {"0.bias", "1.weight", "1.bias", "4.bias"}),
    ],
    ids=["weights", "all", "predicate"],
)
def test_the_scope_says_which_parameters_are_touched(scope, touched):
    model = small_model()
    before = bits(model)
    with perturbed(model, NOISE, generator=Axes(0), scope=scope):
        assert changed(model, before) == touched
    assert bits(model) == before


def test_an_unknown_scope_is_named_with_the_nearest_known_one():
    with (
        pytest.raises(UnknownNameError, match=r"'weight'.*'weights'"),
        perturbed(small_model(), NOISE, generator=Axes(0), scope="weight"),
    ):
        pass


@pytest.mark.parametrize(("model", "scope"), [(nn.BatchNorm2d(3), "weights"), (nn.Linear(2, 2), lambda name, p: False)])
def test_nothing_in_scope_is_refused(model, scope):
    with (
        pytest.raises(InputError, match="scope"),
        perturbed(model, NOISE, generator=Axes(0), scope=scope),
    ):
        pass


def test_frozen_parameters_are_perturbed_and_stay_frozen():
    model = small_model().requires_grad_(False)
    before = bits(model)
    with perturbed(model, NOISE, generator=Axes(0)):
        assert changed(model, before) == {"0.weight", "4.weight"}
    assert not any(p.requires_grad for p in model.parameters())


def test_tied_weights_are_perturbed_once():
    model, noise = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), Recorder()
    model[1].weight = model[0].weight
    clean = model[0].weight.detach().clone()
    with perturbed(model, noise, generator=Axes(0)):
        assert torch.equal(model[1].weight, clean + 1.0)
    assert noise.names == ["0"]


def noise_of(model: nn.Module, layer: str, generator: Axes | torch.Generator) -> Tensor:
    with perturbed(model, Gaussian(0.1, "absolute"), generator=generator):
        return model.get_submodule(layer).weight.detach().clone()


def test_with_axes_a_layers_draw_does_not_depend_on_other_layers_or_their_order():
    a, b = nn.Linear(3, 4), nn.Linear(4, 3)
    alone = noise_of(nn.ModuleDict({"a": a}), "a", Axes(0))
    first = noise_of(nn.ModuleDict({"a": a, "b": b}), "a", Axes(0))
    last = noise_of(nn.ModuleDict({"b": b, "a": a}), "a", Axes(0))
    assert torch.equal(alone, first)
    assert torch.equal(alone, last)
    assert not torch.equal(alone, noise_of(nn.ModuleDict({"other_name": a}), "other_name", Axes(0)))


def test_a_torch_generator_is_drawn_from_in_the_order_of_the_parameters():
    model, noise = nn.ModuleDict({"b": nn.Linear(4, 3), "a": nn.Linear(3, 4)}), Gaussian(0.1, "absolute")
    generator = torch.Generator().manual_seed(0)
    expected = [noise.perturb(name, model[name].weight.detach(), generator) for name in ("b", "a")]
    with perturbed(model, noise, generator=torch.Generator().manual_seed(0)):
        assert torch.equal(model["b"].weight, expected[0])
        assert torch.equal(model["a"].weight, expected[1])


def test_strength_0_leaves_and_1_gives_the_noise_whole_and_half_lies_between():
    model = small_model()
    clean = model[0].weight.detach().clone()

    def at(**strength: float) -> Tensor:
        with perturbed(model, NOISE, generator=Axes(0), **strength):
            return model[0].weight.detach().clone()

    assert torch.equal(at(strength=0.0), clean)
    assert torch.equal(at(strength=1.0), at())
    assert not torch.equal(at(strength=1.0), clean)
    torch.testing.assert_close(at(strength=0.5), (clean + at()) / 2.0)


@st.composite
def layers(draw: st.DrawFn) -> nn.Module:
    """Conv1d to Conv3d with groups, and Linear."""
    dims = draw(st.integers(0, 3))
    groups = draw(st.integers(1, 3))
    inputs, outputs = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    bias = draw(st.booleans())
    if dims == 0:
        return nn.Linear(inputs, outputs, bias=bias)
    kernel = draw(st.lists(st.integers(1, 3), min_size=dims, max_size=dims))
    return (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](inputs, outputs, tuple(kernel), groups=groups, bias=bias)


@given(layer=layers(), scale=st.sampled_from(["filter_max", "filter_norm", "layer_max", "absolute"]))
def test_any_layer_shape_is_perturbed_as_by_hand_and_restored(layer, scale):
    model, noise = nn.Sequential(nn.Identity(), layer), Gaussian(0.1, scale)
    before = bits(model)
    expected = noise.perturb("1", layer.weight.detach(), Axes(0).at(layer="1"))
    with perturbed(model, noise, generator=Axes(0)):
        assert torch.equal(layer.weight, expected)
        assert changed(model, before) == {"1.weight"}
    assert bits(model) == before


@pytest.mark.parametrize("wrong", [lambda w: w[:1].clone(), lambda w: w.sum(), lambda w: None])
def test_a_noise_that_returns_another_shape_is_refused_by_name(wrong):
    class Broadcast(WeightNoise):
        def perturb(self, name, weight, generator):
            return wrong(weight)

    model = torch.nn.Linear(3, 2)
    before = model.weight.detach().clone()
    with pytest.raises(InputError, match="Broadcast"), perturbed(model, Broadcast(), generator=Axes(0)):
        pass
    assert torch.equal(model.weight, before)


# Weights that are no parameters of their own -------------------------------------------------------------------------


def computed(way: str, layer: nn.Module) -> nn.Module:
    if way == "pruned":
        return prune.l1_unstructured(layer, "weight", amount=0.3)
    return {"weight_norm": parametrizations.weight_norm, "old weight_norm": old_weight_norm}[way](layer)


WAYS = pytest.mark.parametrize("way", ["weight_norm", "old weight_norm", "pruned"])


def computed_and_plain(way: str) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    model = nn.Sequential(computed(way, nn.Conv2d(2, 3, 3)), nn.Flatten(), computed(way, nn.Linear(12, 4)))
    plain = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 4))
    model(torch.randn(1, 2, 4, 4))
    for index in (0, 2):
        plain[index].weight.data = model[index].weight.detach().clone()
        plain[index].bias.data = model[index].bias.detach().clone()
    return model, plain


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@WAYS
@pytest.mark.parametrize("strength", [1.0, 0.3])
def test_noise_acts_on_a_computed_weight_as_on_the_same_plain_one(way, strength):
    (model, plain), x = computed_and_plain(way), torch.randn(5, 2, 4, 4)
    before, clean = bits(model), model(x)
    options = {"generator": Axes(3), "strength": strength}
    with perturbed(model, NOISE, **options), perturbed(plain, NOISE, **options):
        torch.testing.assert_close(model(x), plain(x), rtol=0, atol=1e-5)
        assert not torch.allclose(model(x), clean, atol=1e-3)
        model(x).sum().backward()
    assert bits(model) == before
    assert torch.equal(model(x), clean)
    source = next(p for name, p in model.named_parameters() if "bias" not in name)
    assert source.grad.abs().sum() > 0


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@WAYS
def test_an_evaluation_under_noise_is_that_of_the_same_plain_network(way):
    model, plain = computed_and_plain(way)
    x = torch.randn(200, 2, 4, 4)
    data = [(x, plain(x).argmax(1))]
    tables = [evaluate(m, data, Gaussian(0.3), chips=3).table for m in (model, plain)]
    assert tables[0]["accuracy"].tolist() == tables[1]["accuracy"].tolist()
    assert tables[0]["accuracy"].max() < 100.0


class Tied(nn.Module):
    """A language model whose head shares the embedding's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embedding(tokens))


def test_a_weight_that_an_embedding_shares_is_perturbed_in_the_layer_alone():
    torch.manual_seed(0)
    model, tokens = Tied(), torch.arange(9)
    weight = model.embedding.weight
    with perturbed(model, NOISE, generator=Axes(0)):
        assert torch.equal(model.embedding.weight, weight)
        assert not torch.equal(model.head.weight, weight)
        model(tokens).square().sum().backward()
    assert model.head.weight is weight is model.embedding.weight
    gradient, weight.grad = weight.grad, None
    model(tokens).square().sum().backward()
    assert gradient.abs().min(dim=1).values.max() > 0
    assert not torch.equal(gradient, weight.grad)


def test_rwp_trains_a_model_with_computed_and_shared_weights():
    torch.manual_seed(0)
    for model, x in ((computed_and_plain("weight_norm")[0], torch.randn(8, 2, 4, 4)), (Tied(), torch.arange(8))):
        names = [name for name, _ in model.named_parameters()]
        labels = torch.arange(8) % 4
        RWP(sigma=0.1).backward(model, nn.functional.cross_entropy, [(x, labels)], step=1)
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        assert sorted(name for name, _ in model.named_parameters()) == sorted(names)


def test_a_recurrent_layer_that_computes_its_weights_is_refused():
    layer = nn.GRU(3, 4)
    parametrizations.weight_norm(layer, "weight_ih_l0")
    with (
        pytest.raises(InputError, match="'memory' computes its weights"),
        perturbed(nn.ModuleDict({"memory": layer}), NOISE, generator=Axes(0)),
    ):
        pass


def test_layers_that_share_one_parameter_share_its_noise():
    model = nn.ModuleDict({"embedding": nn.Embedding(9, 4), "a": nn.Linear(4, 9), "b": nn.Linear(4, 9)})
    model["a"].weight = model["b"].weight = model["embedding"].weight
    with perturbed(model, NOISE, generator=Axes(0)):
        assert torch.equal(model["a"].weight, model["b"].weight)
        assert not torch.equal(model["a"].weight, model["embedding"].weight)


def test_a_shared_parameter_keeps_its_node_of_the_graph():
    """Data-parallel training has its hooks there."""
    model = Tied()
    node = model.head.weight.expand_as(model.head.weight).grad_fn.next_functions[0][0]
    with perturbed(model, NOISE, generator=Axes(0)):
        model(torch.arange(9)).sum().backward()
        twin = copy.deepcopy(model)
    assert model.head.weight.expand_as(model.head.weight).grad_fn.next_functions[0][0] is node
    assert twin(torch.arange(9)).shape == (9, 9)


@pytest.mark.parametrize("strength", [float("nan"), float("inf"), None])
def test_a_strength_that_is_no_number_is_refused(strength):
    with (
        pytest.raises(InputError, match="strength"),
        perturbed(small_model(), NOISE, generator=Axes(0), strength=strength),
    ):
        pass


def test_blocks_can_be_nested():
    torch.manual_seed(0)
    model, clean = Tied(), []
    weight = model.head.weight.detach().clone()
    with perturbed(model, NOISE, generator=Axes(0)):
        once = model.head.weight.detach().clone()
        with perturbed(model, NOISE, generator=Axes(1)):
            clean.append(model.head.weight.detach() - once)
        assert torch.equal(model.head.weight, once)
    assert clean[0].abs().max() > 0
    assert torch.equal(model.head.weight, weight)
    assert type(model.head) is nn.Linear


@pytest.mark.parametrize("method", [SAM(rho=0.1), AdaptiveSAM(rho=0.1)])
def test_ascent_refuses_layers_that_compute_their_weight_unless_all_parameters_are_in_scope(method):
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 3))
    batch = [(torch.randn(8, 4), torch.arange(8) % 3)]
    with pytest.raises(InputError, match="layer '0' computes its weight"):
        method.backward(model, nn.functional.cross_entropy, batch, step=1)
    replace(method, scope="all").backward(model, nn.functional.cross_entropy, batch, step=1)
    assert all(p.grad is not None for p in model.parameters())


def frozen_as(way: str) -> nn.Module:
    """A layer whose weight is a buffer, or a plain tensor, instead of a parameter."""
    layer = nn.Linear(4, 3)
    weight = layer.weight.detach().clone()
    del layer.weight
    if way == "buffer":
        layer.register_buffer("weight", weight)
    else:
        layer.weight = weight
    return nn.Sequential(layer, nn.Linear(3, 3))


@pytest.mark.parametrize("way", ["buffer", "plain tensor"])
def test_a_weight_that_is_no_parameter_is_a_weight_all_the_same(way):
    torch.manual_seed(0)
    model, x = frozen_as(way).eval(), torch.randn(5, 4)
    plain = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3)).eval()
    for layer, twin in zip(model, plain, strict=True):
        twin.weight.data, twin.bias.data = layer.weight.detach().clone(), layer.bias.detach().clone()
    model[0].register_forward_pre_hook(lambda module, args: args[0].shape and None)  # a user's own hook stays theirs
    weight = model[0].weight.clone()
    with perturbed(model, NOISE, generator=Axes(0)), perturbed(plain, NOISE, generator=Axes(0)):
        for _ in range(2):  # every call has the same noise
            torch.testing.assert_close(model(x), plain(x))
    assert torch.equal(model[0].weight, weight)
    crossbar = Crossbar("rram-milo2021")
    assert coverage(model).layers == ("0", "1")
    torch.testing.assert_close(program(model, crossbar)(x), program(plain, crossbar)(x))
