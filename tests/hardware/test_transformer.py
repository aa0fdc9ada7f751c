"""Transformers: torch's fast path must not bypass the arrays, and every projection is analog."""

import warnings

import pytest
import torch
from support.models import MILO, fill
from torch import Tensor, nn

from aimc_robust import ADC, DAC, Crossbar, coverage, program
from aimc_robust.hardware.layers.array_layer import ArrayLayer

COARSE = Crossbar("ideal", dac=DAC(kind="ideal", full_scale=1.0), adc=ADC(bits=4, range=(-3.0, 2.9)))
EXACT = Crossbar("ideal", dac=DAC(kind="ideal"))
IMAGES, LENGTH, WIDTH = 3, 6, 8


def encoder_layer(**options: object) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.0, batch_first=True, **options)


def encoder(**options: object) -> nn.TransformerEncoder:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that norm_first does without nested tensors
        return nn.TransformerEncoder(encoder_layer(**options), 2, norm=nn.LayerNorm(WIDTH))


MODELS = {
    "layer": encoder_layer,
    "layer, norm first": lambda: encoder_layer(norm_first=True),
    "layer, gelu": lambda: encoder_layer(activation="gelu"),
    "encoder": encoder,
    "encoder, norm first": lambda: encoder(norm_first=True),
}


def sequences() -> Tensor:
    return torch.randn(IMAGES, LENGTH, WIDTH, generator=torch.Generator().manual_seed(0))


def padding() -> Tensor:
    mask = torch.zeros(IMAGES, LENGTH, dtype=torch.bool)
    mask[1, 4:], mask[2, 2:] = True, True
    return mask


def run(model: nn.Module, masked: bool) -> Tensor:
    """Outputs where nothing is masked: what torch gives at masked positions depends on its path."""
    y = model(sequences(), src_key_padding_mask=padding() if masked else None)
    return y[~padding()] if masked else y


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_the_fast_path_does_not_bypass_the_arrays(name, masked):
    model = fill(MODELS[name]()).eval()
    analog = program(model, COARSE)
    slow = run(analog, masked).detach()  # with gradients torch takes the slow path
    with torch.no_grad():
        fast = run(analog, masked)
        plain = run(model, masked)
        exact = run(program(model, EXACT), masked)
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-5)
    torch.testing.assert_close(exact, plain, rtol=0, atol=1e-5)
    assert float((fast - plain).abs().max()) > 1e-2


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_in_the_weight_path_fast_and_slow_see_the_same_programmed_weights(name, masked):
    model = fill(MODELS[name]()).eval()
    analog = program(model, MILO)
    slow = run(analog, masked).detach()
    with torch.no_grad():
        torch.testing.assert_close(run(analog, masked), slow, rtol=0, atol=1e-5)
        assert float((run(model, masked) - slow).abs().max()) > 1e-3  # 100 times as much


def test_a_whole_transformer_with_decoder_is_torchs_without_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = fill(nn.Transformer(WIDTH, 2, 1, 2, 16, dropout=0.0, batch_first=True)).double().eval()
    source, target = sequences().double(), sequences().flip(0)[:, :4].double()
    mask = nn.Transformer.generate_square_subsequent_mask(4, dtype=torch.float64)
    # The decoder must not see masked places either: torch's fast path leaves 0 there.
    masks = {"tgt_mask": mask, "src_key_padding_mask": padding(), "memory_key_padding_mask": padding()}
    with torch.no_grad():
        want, got = (part(source, target, **masks) for part in (model, program(model, EXACT)))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-9)
    assert not any(isinstance(module, nn.MultiheadAttention) for module in program(model, EXACT).modules())


def vision_transformer() -> nn.Module:
    vit = pytest.importorskip("torchvision.models.vision_transformer")
    model = vit.VisionTransformer(
        image_size=8, patch_size=4, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5
    )
    return fill(model).eval()


def test_all_matrices_of_a_vision_transformer_are_analog():
    model = vision_transformer()
    found = coverage(model, torch.randn(2, 3, 8, 8))
    blocks = [f"encoder.layers.encoder_layer_{i}" for i in range(2)]
    parts = ["self_attention.in_proj_weight", "self_attention.out_proj", "mlp.0", "mlp.3"]
    assert found.layers == ("conv_proj", *[f"{block}.{part}" for block in blocks for part in parts], "heads.head")
    assert found.digital_matrices == ()
    # Four patches and a class token; a block has 4 hidden^2 + 2 hidden mlp weights.
    per_token = 4 * 16 * 16 + 2 * 16 * 32
    assert found.macs.analog == 2 * (4 * 16 * 48 + 5 * 2 * per_token + 16 * 5)
    assert sum(found.macs.digital.values()) == 2 * 2 * 2 * 5 * 5 * 16


def test_a_vision_transformer_computes_in_arrays():
    model = vision_transformer()
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        want = model(images)
        torch.testing.assert_close(program(model, EXACT)(images), want, rtol=0, atol=1e-4)
        analog = program(model, COARSE)
        assert float((analog(images) - want).abs().max()) > 1e-2
    names = {name for name, module in analog.named_modules() if isinstance(module, ArrayLayer)}
    block = "encoder.layers.encoder_layer_0"
    wanted = {f"{block}.self_attention.projections.0", f"{block}.self_attention.out_proj", f"{block}.mlp.0"}
    assert wanted <= names
    assert not any(isinstance(module, nn.Linear | nn.Conv2d) for module in analog.modules())
