"""Attention on arrays: torch's numbers where nothing is lost, for every way to call it."""

import copy

import pytest
import torch
from support.for_each import for_each
from support.models import fill
from torch import Tensor, nn

from aimc_robust import ADC, DAC, Crossbar, program
from aimc_robust.errors import InputError

EXACT = Crossbar("ideal", window=(0.2, 1.0), mapping="two-sided", rows=5, dac=DAC(kind="ideal"))
IMAGES, HEADS, WIDTH, QUERIES, KEYS = 3, 2, 8, 5, 7


def inputs(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def attention(**options: object) -> nn.MultiheadAttention:
    return fill(nn.MultiheadAttention(WIDTH, HEADS, **options)).double().eval()


def assert_same(layer: nn.MultiheadAttention, *tensors: Tensor, **options: object) -> None:
    want, want_weights = layer(*tensors, **options)
    got, weights = program(nn.ModuleDict({"mix": layer}), EXACT)["mix"](*tensors, **options)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-10)
    assert (weights is None) == (want_weights is None)
    if weights is not None:
        torch.testing.assert_close(weights, want_weights, rtol=0, atol=1e-10)


NEEDS = pytest.mark.parametrize(
    "need", [{"need_weights": False}, {}, {"average_attn_weights": False}], ids=["no weights", "mean", "each head"]
)
LAYERS = {
    "plain": {},
    "without bias": {"bias": False},
    "bias_kv": {"add_bias_kv": True},
    "zero_attn": {"add_zero_attn": True},
    "both": {"add_bias_kv": True, "add_zero_attn": True},
    "widths": {"kdim": 6, "vdim": 4},
    "widths without bias": {"kdim": 6, "vdim": 4, "bias": False, "add_bias_kv": True},
}


def memory(options: dict) -> tuple[Tensor, Tensor]:
    return (
        inputs(IMAGES, KEYS, options.get("kdim", WIDTH), seed=1),
        inputs(IMAGES, KEYS, options.get("vdim", WIDTH), seed=2),
    )


@NEEDS
@for_each("batch_first", [True, False])
@for_each("name", LAYERS)
def test_cross_attention_is_torchs(name, batch_first, need):
    tensors = (inputs(IMAGES, QUERIES, WIDTH), *memory(LAYERS[name]))
    if not batch_first:
        tensors = tuple(x.transpose(0, 1) for x in tensors)
    assert_same(attention(batch_first=batch_first, **LAYERS[name]), *tensors, **need)


@NEEDS
@pytest.mark.parametrize("name", [name for name in LAYERS if "widths" not in name])
def test_self_attention_is_torchs_and_reads_its_arrays_once(name, need):
    layer, x = attention(batch_first=True, **LAYERS[name]), inputs(IMAGES, QUERIES, WIDTH)
    assert_same(layer, x, x, x, **need)
    analog = program(nn.ModuleDict({"mix": layer}), EXACT)["mix"]
    calls = []
    analog.projections[0].register_forward_hook(lambda *_: calls.append(1))
    analog(x, x, x)
    assert len(calls) == 1
    analog(x, x + 1.0, x)
    assert len(calls) == 3


def masks() -> dict[str, dict[str, Tensor]]:
    """Masks that leave every query something to attend to; True is masked."""
    generator = torch.Generator().manual_seed(3)
    padding = torch.rand(IMAGES, KEYS, generator=generator) < 0.4
    pairs = torch.rand(QUERIES, KEYS, generator=generator) < 0.4
    heads = torch.rand(IMAGES * HEADS, QUERIES, KEYS, generator=generator) < 0.4
    for mask in (padding, pairs, heads):
        mask[..., 0] = False
    added = inputs(QUERIES, KEYS, seed=4)
    return {
        "padding": {"key_padding_mask": padding},
        "padding added": {"key_padding_mask": inputs(IMAGES, KEYS, seed=5)},
        "pairs": {"attn_mask": pairs},
        "pairs added": {"attn_mask": added},
        "each head": {"attn_mask": heads},
        "each head added": {"attn_mask": inputs(IMAGES * HEADS, QUERIES, KEYS, seed=6)},
        "pairs and padding": {"attn_mask": pairs, "key_padding_mask": padding},
        "added and padding": {"attn_mask": added, "key_padding_mask": torch.zeros(IMAGES, KEYS, dtype=torch.float64)},
    }


@NEEDS
@for_each("extended", [False, True])
@for_each("name", masks())
def test_masks_are_torchs(name, extended, need):
    layer = attention(batch_first=True, add_bias_kv=extended, add_zero_attn=extended)
    assert_same(layer, inputs(IMAGES, QUERIES, WIDTH), *memory({}), **masks()[name], **need)


def test_the_mask_makes_a_difference():
    layer = attention(batch_first=True)
    tensors = (inputs(IMAGES, QUERIES, WIDTH), *memory({}))
    free, masked = layer(*tensors)[0], layer(*tensors, **masks()["pairs"])[0]
    assert float((free - masked).detach().abs().max()) > 1e-2


@NEEDS
@for_each("padded", [False, True])
@for_each("name", ["plain", "bias_kv", "zero_attn", "both"])
def test_a_causal_hint_with_its_mask_is_torchs(name, padded, need):
    """Without padding and weights, torch reads the hint instead of the mask, which has no column for an added key."""
    layer, x = attention(batch_first=True, **LAYERS[name]), inputs(IMAGES, QUERIES, WIDTH)
    mask = nn.Transformer.generate_square_subsequent_mask(QUERIES, dtype=torch.float64)
    padding = {"key_padding_mask": torch.zeros(IMAGES, QUERIES, dtype=torch.float64)} if padded else {}
    assert_same(layer, x, x, x, attn_mask=mask, is_causal=True, **padding, **need)


def test_a_causal_hint_without_a_mask_is_refused():
    x = inputs(IMAGES, QUERIES, WIDTH)
    analog = program(nn.ModuleDict({"mix": attention(batch_first=True)}), EXACT)["mix"]
    with pytest.raises(InputError, match="attn_mask"):
        analog(x, x, x, is_causal=True)


@NEEDS
@for_each("batch_first", [True, False])
@for_each("mask", ["none", "padding", "pairs", "each head"])
def test_unbatched_inputs_are_torchs(mask, batch_first, need):
    full = {
        "none": {},
        "padding": {"key_padding_mask": masks()["padding"]["key_padding_mask"][0]},
        "pairs": masks()["pairs"],
        "each head": {"attn_mask": masks()["each head"]["attn_mask"][:HEADS]},
    }[mask]
    tensors = (inputs(QUERIES, WIDTH), *(x[0] for x in memory({})))
    assert_same(attention(batch_first=batch_first), *tensors, **full, **need)


def test_projections_and_output_are_perturbed_in_arrays_as_in_the_weight_path():
    model = nn.ModuleDict({"mix": attention(batch_first=True, kdim=6, vdim=4)})
    tensors = (inputs(IMAGES, QUERIES, WIDTH), *memory({"kdim": 6, "vdim": 4}))
    weights = program(model, Crossbar("rram-milo2021"), chip=2)["mix"](*tensors)[0]
    arrays = program(model, Crossbar("rram-milo2021", dac=DAC(kind="ideal")), chip=2)["mix"](*tensors)[0]
    torch.testing.assert_close(arrays, weights, rtol=0, atol=1e-10)
    assert float((weights - model["mix"](*tensors)[0]).detach().abs().max()) > 1e-2


def test_converters_act_on_every_projection():
    model, x = nn.ModuleDict({"mix": attention(batch_first=True)}), inputs(IMAGES, QUERIES, WIDTH)
    coarse = Crossbar("ideal", dac=DAC(kind="ideal", full_scale=1.0), adc=ADC(bits=3, range=(-4.0, 3.0)))
    analog = program(model, coarse)["mix"]
    joint, out = analog.projections[0], analog.out_proj
    for layer, width in ((joint, 3 * WIDTH), (out, WIDTH)):
        values = layer(x) - layer.bias
        assert values.shape[-1] == width
        assert len(torch.unique(values.detach().round(decimals=9))) <= 8
    before = copy.deepcopy(model["mix"].in_proj_weight)
    analog(x, x, x)
    assert torch.equal(before, model["mix"].in_proj_weight)
