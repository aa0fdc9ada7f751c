"""Models on several crossbars: every layer is what it is when the whole model is on its crossbar."""

import copy
import itertools

import pytest
import torch
from support.models import digest
from support.nets import images, net
from torch import nn

from aimc_robust import (
    ADC,
    DAC,
    RWP,
    ArrayAware,
    Axes,
    Crossbar,
    Deployment,
    Placement,
    calibrate,
    coverage,
    layer_errors,
    perturbed,
    program,
)
from aimc_robust.errors import InputError
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.layers.array_layer import ArrayLayer

pytestmark = pytest.mark.filterwarnings("ignore:.*the device has no drift")
DAY_S = 86400.0
RRAM = Crossbar("rram-milo2021")
OFFSET = Crossbar("sonos-agrawal2022", mapping="offset", cell_bits=4, bias_rows=2)
PCM = Crossbar("pcm-nandakumar2019", rows=16)  # with read noise
CONVERTERS = Crossbar("rram-wan2022", rows=10, dac=DAC(bits=6), adc=ADC(bits=6), mapping="two-sided")
CHIP = {"chip": 3, "chip_seed": 5, "time_s": DAY_S}


def pieced_together(model: nn.Module, places: dict[str, Crossbar | None], **chip) -> nn.Module:
    """A model with each layer taken from the chip that holds the whole model on the layer's crossbar."""
    pieces, _ = prepare(model)
    for name, crossbar in places.items():
        if crossbar is not None:
            pieces.set_submodule(name, program(model, crossbar, **chip).get_submodule(name))
    return pieces


@pytest.mark.parametrize("first", [None, OFFSET])
@pytest.mark.parametrize("time_s", [0.0, DAY_S])
def test_weight_errors_are_those_of_each_layers_own_crossbar(first, time_s):
    places = {"0": first, "4": RRAM, "6": OFFSET}
    layers = {"0": first or "digital", "4": RRAM, "6": OFFSET}
    chip = CHIP | {"time_s": time_s}
    placed = program(net(), Placement(layers), **chip)
    assert digest(placed) == digest(pieced_together(net(), places, **chip))
    digital, _ = prepare(net())
    assert (first is None) == torch.equal(placed[0].weight, digital[0].weight)
    assert not torch.equal(placed[6].bias, digital[6].bias)  # it is in rows


@pytest.mark.parametrize(
    "places",
    [
        {"0": None, "4": PCM, "6": PCM},
        {"0": RRAM, "4": PCM, "6": None},
        {"0": PCM, "4": RRAM, "6": PCM.replace(rows=5, read_noise=False, mapping="offset")},
    ],
)
def test_arrays_beside_weight_errors_and_digital_layers(places):
    layers = {name: crossbar or "digital" for name, crossbar in places.items()}
    placed, pieces = program(net(), Placement(layers), **CHIP), pieced_together(net(), places, **CHIP)
    for name, crossbar in places.items():
        in_arrays = crossbar is not None and crossbar.computes_in_arrays
        assert isinstance(placed.get_submodule(name), ArrayLayer) == in_arrays
    assert torch.equal(placed(images(9)), pieces(images(9)))


@pytest.mark.slow
def test_every_layer_is_the_same_whatever_is_around_it():
    """All 26 ways to place three layers digitally, with weight errors, or in arrays with read noise."""
    for first, second, third in itertools.product((None, RRAM, PCM), repeat=3):
        places = {"0": first, "4": second, "6": third}
        if any(places.values()):
            placement = Placement({name: crossbar or "digital" for name, crossbar in places.items()})
            placed, pieces = program(net(), placement, **CHIP), pieced_together(net(), places, **CHIP)
            assert torch.equal(placed(images(3)), pieces(images(3))), places


def test_one_crossbar_for_all_is_a_crossbar():
    for crossbar in (RRAM, PCM):
        placement = Placement({"0": crossbar, "*": crossbar})
        assert torch.equal(program(net(), placement, **CHIP)(images(5)), program(net(), crossbar, **CHIP)(images(5)))


def test_layers_of_program_are_placed_before_the_crossbar():
    placed = program(net(), RRAM, layers={"0": "digital"}, **CHIP)
    assert digest(placed) == digest(program(net(), Placement({"0": "digital", "*": RRAM}), **CHIP))


def test_a_digital_layer_has_no_ranges_and_the_others_their_own():
    layers = {"0": "digital", "4": CONVERTERS, "6": RRAM}
    ranges = calibrate(net(), Placement(layers), [images(50)])
    assert set(ranges) == {"4", "6"}
    assert ranges["4"].outputs
    assert not ranges["6"].outputs  # it has no ADC
    placed = program(net(), Placement(layers), deployment=Deployment(ranges=ranges), **CHIP)
    alone = program(net(), CONVERTERS, deployment=Deployment(ranges=calibrate(net(), CONVERTERS, [images(50)])), **CHIP)
    x = torch.rand(5, 64, generator=torch.Generator().manual_seed(0))
    assert isinstance(placed[4], ArrayLayer)
    assert torch.equal(placed[4].weight, alone[4].weight)
    placed[4].calibrated = alone[4].calibrated
    assert torch.equal(placed[4](x), alone[4](x))


def test_ranges_of_digital_layers_are_the_digital_models():
    """A digital layer in front has no converter, so that the range behind it is that of the exact inputs."""
    model, x = net(), images(50)
    ranges = calibrate(model, CONVERTERS, [x], layers={"0": "digital"}, percentile=1.0)
    exact = model[:4](x)
    assert ranges["4"].inputs == (0.0, pytest.approx(float(exact.max().detach()), rel=1e-6))


def test_ranges_belong_to_the_crossbar_of_each_layer():
    ranges = calibrate(net(), CONVERTERS, [images(50)])
    deployment = Deployment(ranges=ranges)
    program(net(), CONVERTERS, layers={"0": "digital", "4": RRAM}, deployment=deployment)
    other = CONVERTERS.replace(rows=5)
    with pytest.raises(InputError, match=r"of the layer '4' were found for .* rows 10, but this one has 5"):
        program(net(), CONVERTERS, layers={"4": other}, deployment=deployment)
    on_digital = Deployment(ranges=calibrate(net(), CONVERTERS, [images(50)], layers={"0": "digital"}))
    with pytest.raises(InputError, match="no converter ranges for the layer '0'"):
        program(net(), CONVERTERS, deployment=on_digital)(images(2))


def test_coverage_counts_a_layer_that_is_kept_digital_as_such():
    found = coverage(net(), images(1), layers={"0": "digital"})
    whole = coverage(net(), images(1))
    assert found.kept_digital == {"0": 40}  # 36 weights and the bias of the folded BatchNorm
    assert found.layers == ("4", "6")
    assert found.analog_parameters == whole.analog_parameters - 36
    assert found.bias_parameters == whole.bias_parameters - 4
    assert found.total_parameters == whole.total_parameters
    assert found.macs.total == whole.macs.total
    assert found.macs.analog == whole.macs.analog - 36 * 16
    assert found.macs.digital == {"0": 36 * 16}
    assert "kept digital by choice: 0 (40)" in found.summary()
    found.require_all_analog()  # a choice is no gap
    assert whole.kept_digital == {}


def test_strict_does_not_object_to_a_choice(recwarn):
    program(net(), RRAM, layers={"0": "digital"}, strict=True)
    program(net(), RRAM, layers={"0": "digital"})
    assert not recwarn.list


def test_a_digital_layer_has_no_error():
    errors = layer_errors(net(), Placement({"4": "digital", "6": OFFSET, "*": RRAM})).set_index("layer")
    assert errors.loc["4", "rms_filter_max"] == 0.0
    for name, crossbar in (("0", RRAM), ("6", OFFSET)):
        alone = layer_errors(net(), crossbar).set_index("layer")
        assert errors.loc[name].equals(alone.loc[name])


# Attention and recurrent layers ---------------------------------------------------------------------------------------


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.attention(x, x, x, need_weights=False)[0])


EXACT = Crossbar("ideal", dac=DAC(kind="ideal"), adc=ADC(bits=16, range=(-40.0, 40.0))).replace(
    dac=DAC(kind="ideal", full_scale=10.0)
)


@pytest.mark.parametrize("placed", ["attention.in_proj_weight", "attention.out_proj", "attention", "head"])
@pytest.mark.parametrize("other", ["digital", Crossbar("ideal")])
def test_matrices_of_attention_may_be_on_different_crossbars(placed, other):
    torch.manual_seed(0)
    model, x = Attention().eval(), torch.randn(4, 5, 8)
    layers = {placed: EXACT, "*": other}
    on_chip = program(model, Placement(layers))
    assert any(isinstance(module, ArrayLayer) for module in on_chip.modules())
    assert torch.allclose(on_chip(x), model(x), atol=2e-2)
    assert not torch.equal(on_chip(x), model(x))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_matrices_of_recurrent_layers_may_be_on_different_crossbars(kind):
    torch.manual_seed(0)
    model, x = kind(4, 6, num_layers=2, batch_first=True).eval(), torch.randn(3, 5, 4)
    layers = {"weight_ih_l0": EXACT, "weight_hh_*": "digital", "*": Crossbar("ideal")}
    on_chip = program(model, Placement(layers))
    assert len([module for module in on_chip.modules() if isinstance(module, ArrayLayer)]) == 1
    assert torch.allclose(on_chip(x)[0], model(x)[0], atol=1e-2)
    kept = program(model, Crossbar("ideal"), layers={"weight_ih_l0": "digital"})
    assert torch.allclose(kept(x)[0], model(x)[0], atol=1e-6)


def test_the_fast_path_of_an_encoder_does_not_bypass_arrays():
    torch.manual_seed(0)
    model, x = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), torch.randn(4, 5, 8)
    pcm = PCM.replace(programming=False, drift=False)
    for place in ("linear1", "self_attn.out_proj"):
        on_chip = program(model, pcm, layers=dict.fromkeys(others(model, place), "digital"))
        with torch.inference_mode():
            first, second = on_chip(x), on_chip(x)
        assert not torch.equal(first, second)  # read noise acts


def others(model: nn.Module, place: str) -> list[str]:
    return [name for name in coverage(model).layers if name != place]


# Training -------------------------------------------------------------------------------------------------------------


def test_noise_of_a_placement_leaves_digital_layers_alone():
    model, before = net(), copy.deepcopy(net())
    with perturbed(model, Placement({"0": "digital", "*": RRAM}), generator=Axes(7)):
        assert torch.equal(model[0].weight, before[0].weight)
        noisy = model[4].weight.detach().clone()
    with perturbed(model, RRAM, generator=Axes(7)):
        assert torch.equal(model[4].weight, noisy)
    with (
        pytest.raises(LookupError, match="no layer of the model matches"),
        perturbed(model, Placement({"one": "digital", "*": RRAM}), generator=Axes(7)),
    ):
        pass


def gradients(method, model, x, y):
    method.backward(model, nn.functional.cross_entropy, [(x, y)], step=3)
    return [parameter.grad.clone() for parameter in model.parameters()]


def test_rwp_trains_with_a_placement():
    x, y = images(20), torch.arange(20) % 7
    placed = gradients(RWP(noise=Placement({"0": "digital", "*": RRAM})), net(), x, y)
    whole = gradients(RWP(noise=RRAM), net(), x, y)
    assert all(gradient.isfinite().all() for gradient in placed)
    assert not torch.equal(placed[-1], whole[-1])


def test_array_aware_training_leaves_digital_layers_to_torch():
    """With exact arrays, gradients are torch's own, wherever layers are."""
    x, y = images(20), torch.arange(20) % 7
    expected = gradients(ArrayAware(Crossbar("ideal"), fold=False), net(), x, y)
    model = net()
    layers = {"0": "digital", "4": Crossbar("ideal", rows=7), "*": Crossbar("ideal")}
    found = gradients(ArrayAware(Placement(layers), fold=False), model, x, y)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert type(model[0]) is nn.Conv2d
    with pytest.raises(LookupError, match="no layer of the model matches"):
        gradients(ArrayAware(Placement({"one": "digital", "*": RRAM})), net(), x, y)


@pytest.mark.parametrize("digital", ["attention.in_proj_weight", "attention.out_proj"])
def test_array_aware_training_of_half_an_attention(digital):
    torch.manual_seed(0)
    model, x, y = Attention(), torch.randn(4, 8), torch.arange(4) % 3
    expected = copy.deepcopy(model)
    nn.functional.cross_entropy(expected(x[None])[0], y).backward()
    method = ArrayAware(Placement({digital: "digital", "*": Crossbar("ideal")}))
    method.backward(model, lambda out, target: nn.functional.cross_entropy(out[0], target), [(x[None], y)], step=1)
    for parameter, other in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.allclose(parameter.grad, other.grad, atol=1e-5)


# Real models ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_patterns_of_resnet18():
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=10).eval()
    layers = {"conv1": "digital", "*.downsample.*": "digital", "layer[12]": OFFSET.replace(bias_rows=0), "fc": RRAM}
    placed = program(model, Crossbar("rram-wan2022", read_noise=False), layers=layers, chip=1)
    whole = {
        None: prepare(model)[0],
        "offset": program(model, OFFSET.replace(bias_rows=0), chip=1),
        "milo": program(model, RRAM, chip=1),
        "wan": program(model, Crossbar("rram-wan2022", read_noise=False), chip=1),
    }
    expected = {
        "conv1": None,
        "layer2.0.downsample.0": None,
        "layer4.0.downsample.0": None,
        "layer1.0.conv1": "offset",
        "layer2.1.conv2": "offset",
        "layer3.0.conv1": "wan",
        "layer4.1.conv2": "wan",
        "fc": "milo",
    }
    for name, source in expected.items():
        assert torch.equal(placed.get_submodule(name).weight, whole[source].get_submodule(name).weight), name
    found = coverage(model, layers=layers)
    assert set(found.kept_digital) == {"conv1", *(f"layer{n}.0.downsample.0" for n in (2, 3, 4))}


def test_patterns_of_a_vision_transformer():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=5, depth=2).eval()
    layers = {"patch_embed": "digital", "*.attn.*": PCM.replace(rows=64), "head": "digital"}
    on_chip = program(model, RRAM, layers=layers, **CHIP)
    kinds = {name: isinstance(module, ArrayLayer) for name, module in on_chip.named_modules()}
    assert kinds["blocks.0.attn.qkv"]
    assert kinds["blocks.1.attn.proj"]
    assert not kinds["blocks.0.mlp.fc1"]
    x = torch.randn(2, 3, 32, 32)
    pieces = pieced_together(
        model,
        {f"blocks.{n}.attn.{part}": PCM.replace(rows=64) for n in (0, 1) for part in ("qkv", "proj")}
        | {f"blocks.{n}.mlp.fc{part}": RRAM for n in (0, 1) for part in (1, 2)},
        **CHIP,
    )
    with torch.inference_mode():
        assert torch.equal(on_chip(x), pieces(x))


def test_patterns_of_gpt2():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=50, n_positions=16)
    model = transformers.GPT2LMHeadModel(config).eval()
    layers = {"lm_head": "digital", "*.attn.c_attn": OFFSET, "*": PCM.replace(read_noise=False)}
    on_chip = program(model, Placement(layers), **CHIP)
    digital, _ = prepare(model)
    whole = program(model, OFFSET.replace(bias_rows=2), layers={"lm_head": "digital"}, **CHIP)
    assert torch.equal(on_chip.lm_head.weight, digital.lm_head.weight)
    name = "transformer.h.1.attn.c_attn"
    assert torch.equal(on_chip.get_submodule(name).weight, whole.get_submodule(name).weight)
    tokens = torch.arange(8)[None]
    assert on_chip(tokens).logits.isfinite().all()
    found = coverage(model, {"input_ids": tokens}, layers={"lm_head": "digital"})
    assert found.kept_digital == {"lm_head": 50 * 16}
    assert not found.digital_layers()
