"""coverage(): counts and names of what a crossbar holds and what stays digital."""

import copy
import warnings

import pytest
import torch
from support.models import MILO
from torch import nn
from torch.nn.utils import prune, spectral_norm, weight_norm

from aimc_robust import Crossbar, coverage, program
from aimc_robust.errors import InputError


def test_a_small_network_is_counted_and_told_in_one_line():
    model = nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 4))
    found = coverage(model)
    # After folding the convolution has a bias of 3 and the BatchNorm is gone.
    assert (found.analog_parameters, found.bias_parameters, found.total_parameters) == (27 + 192, 3 + 4, 226)
    assert found.layers == ("0", "3")
    assert found.digital_parameters == {}
    assert found.summary() == (
        "219 of 226 parameters (96.9 %) are analog, in 2 layers; digital: biases (7); "
        "1 BatchNorm folded into the weights."
    )


def test_a_batchnorm_that_stays_is_counted_as_digital():
    found = coverage(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.BatchNorm1d(5)))
    assert found.digital_parameters == {"2": 10}
    assert found.total_parameters == 20 + 5 + 10
    assert "in 1 layer; digital: biases (5), 2 (10)" in found.summary()
    assert "BatchNorm not folded: 2 (" in found.summary()


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.mix(x, x, x, need_weights=False)[0])


def test_the_projections_of_attention_are_analog_and_only_its_biases_digital():
    model = Attention()
    found = coverage(model, torch.randn(2, 4, 8))
    assert found.layers == ("mix.in_proj_weight", "mix.out_proj", "head")
    assert found.analog_parameters == 3 * 8 * 8 + 8 * 8 + 8 * 3
    assert (found.bias_parameters, found.digital_parameters) == (24 + 8 + 3, {})
    analog = program(model, MILO)
    assert not torch.equal(analog.mix.in_proj_weight, model.mix.in_proj_weight)
    assert not torch.equal(analog.mix.out_proj.weight, model.mix.out_proj.weight)
    assert torch.equal(analog.mix.in_proj_bias, model.mix.in_proj_bias)


def test_attention_computes_with_the_programmed_weights_on_its_fast_path_too():
    # Without gradients torch takes a fused path past out_proj's own forward; it must see the same weights.
    model = Attention().eval()
    analog, x = program(model, MILO), torch.randn(2, 4, 8)
    slow = analog(x).detach()
    with torch.no_grad():
        torch.testing.assert_close(analog(x), slow)
        assert not torch.allclose(model(x), slow, atol=1e-3)


def test_a_transposed_convolution_is_analog():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ConvTranspose2d(2, 3, 3))
    found = coverage(model)
    assert found.layers == ("0", "1")
    assert (found.analog_parameters, found.bias_parameters, found.digital_parameters) == (18 + 54, 2 + 3, {})
    assert not torch.equal(program(model, MILO)[1].weight, model[1].weight)


def test_tied_weights_are_counted_once():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    found = coverage(model)
    assert (found.analog_parameters, found.total_parameters) == (16, 20)


PARAMETRISED = {
    "weight_norm": nn.utils.parametrizations.weight_norm,
    "spectral_norm": nn.utils.parametrizations.spectral_norm,
    "orthogonal": nn.utils.parametrizations.orthogonal,
}


@pytest.mark.parametrize("wrap", PARAMETRISED.values(), ids=PARAMETRISED)
def test_a_computed_weight_is_programmed_as_it_is_used(wrap):
    model = nn.Sequential(wrap(nn.Linear(4, 3)), nn.Linear(3, 2)).eval()
    found = coverage(model)
    assert found.layers == ("0", "1")
    assert (found.analog_parameters, found.bias_parameters, found.digital_parameters) == (12 + 6, 5, {})
    x = torch.randn(5, 4)
    before = copy.deepcopy(model.state_dict())
    torch.testing.assert_close(program(model, Crossbar("ideal"))(x), model(x))
    assert not torch.allclose(program(model, MILO)(x), model(x), atol=1e-3)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("wrap", PARAMETRISED.values(), ids=PARAMETRISED)
def test_programming_a_computed_weight_leaves_the_users_model_working(wrap):
    model, x = nn.Sequential(wrap(nn.Linear(4, 3))).eval(), torch.randn(5, 4)
    want = model(x)
    program(model, MILO)
    assert torch.equal(model(x), want)
    coverage(model)  # and again


class MatrixOfItsOwn(nn.Module):
    """A weight that no known layer holds."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 3)
        self.mixing = nn.Parameter(torch.randn(3, 3))
        self.offset = nn.Parameter(torch.randn(1, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(x) @ self.mixing + self.offset


def test_strict_refuses_a_weight_that_would_stay_digital_by_name():
    with pytest.raises(InputError, match=r"strict: weights .* would stay digital: .*12 parameters"):
        program(MatrixOfItsOwn(), MILO, strict=True)
    found = coverage(MatrixOfItsOwn())
    assert found.digital_matrices == ("",)
    assert found.digital_parameters == {"": 12}


def test_weights_that_stay_digital_are_warned_of_by_name_and_share():
    with pytest.warns(UserWarning, match=r"stay digital and exact.*the model itself \(12 parameters, 44.4 %\)"):
        program(MatrixOfItsOwn(), MILO)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program(MatrixOfItsOwn(), MILO, strict=False)

    class Added(MatrixOfItsOwn):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.first(x) + self.mixing[0]

    with pytest.warns(UserWarning, match="stay digital"):
        program(Added(), MILO)  # shapes alone cannot tell
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program(Added(), MILO, example=torch.randn(2, 4))


def test_layers_of_transformers_gpt2_are_analog():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=64, n_positions=32, n_embd=64, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0
    )
    model, tokens = transformers.GPT2LMHeadModel(config).eval(), torch.arange(8)[None]
    found = coverage(model, tokens)
    assert len(found.layers) == 2 * 4 + 1
    assert found.total_parameters == sum(p.numel() for p in model.parameters())  # the head's is the embedding's
    assert "transformer.wte" not in found.digital_parameters
    assert set(found.macs.digital) == {"transformer.h.0.attn", "transformer.h.1.attn"}
    arrays = Crossbar("ideal", window=(0.2, 1.0), mapping="two-sided", rows=16, bias_rows=1)
    for crossbar in (Crossbar("ideal"), arrays):
        chip = program(model, crossbar)
        torch.testing.assert_close(chip(tokens).logits, model(tokens).logits, rtol=0, atol=1e-5)
    noisy = program(model, MILO).state_dict()
    changed = {name for name, values in model.state_dict().items() if not torch.equal(values, noisy[name])}
    assert changed == {f"{layer}.weight" for layer in found.layers}


LEGACY = {
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", amount=0.5),
    "weight_norm": lambda layer: weight_norm(layer),
    "spectral_norm": lambda layer: spectral_norm(layer),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("after_a_pass", [False, True])
@pytest.mark.parametrize("way", LEGACY)
def test_a_weight_that_a_hook_computes_is_programmed(way, after_a_pass):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval(), torch.randn(5, 4)
    LEGACY[way](model[0])
    if after_a_pass:
        with torch.no_grad():
            model(x)
    assert coverage(model).layers == ("0", "2")
    torch.testing.assert_close(program(model, Crossbar("ideal"))(x), model(x))
    assert not torch.equal(program(model, MILO)[0].weight, program(model, Crossbar("ideal"))[0].weight)
    assert isinstance(model[0].weight_orig if way != "weight_norm" else model[0].weight_g, nn.Parameter)


def test_strict_lets_normalisations_lookups_and_added_parameters_pass():
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lookup, self.norm, self.head = nn.Embedding(7, 4), nn.LayerNorm(4), nn.Linear(4, 2)
            self.position = nn.Parameter(torch.zeros(1, 5, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.norm(self.lookup(x) + self.position))

    assert coverage(Tokens()).digital_parameters == {"": 20, "lookup": 28, "norm": 8}
    program(Tokens(), MILO, strict=True)


def test_a_model_without_a_layer_for_a_crossbar_is_refused():
    with pytest.raises(InputError, match="BatchNorm1d"):
        coverage(nn.BatchNorm1d(3))


class Spectrum(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(3, 2, dtype=torch.complex64)

    def forward(self, x):
        return self.second(self.first(x).to(torch.complex64)).abs()


def test_complex_weights_are_refused_as_program_does_or_kept_digital():
    x = torch.rand(5, 4)
    for count in (lambda: coverage(Spectrum(), x), lambda: program(Spectrum(), Crossbar("ideal"))):
        with pytest.raises(InputError, match=r"'second' has complex weights .* leave it digital"):
            count()
    kept = coverage(Spectrum(), x, layers={"second": "digital"}, crossbar=Crossbar("ideal"))
    assert kept.layers == ("first",)
    assert kept.kept_digital == {"second": 8}
