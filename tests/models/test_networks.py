"""Networks for small images: the literature's sizes, other codes' outputs, and what of them a crossbar holds."""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import pytest
import torch
from support.for_each import for_each
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from aimc_robust import DAC, Crossbar, coverage, program
from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.models.networks.pyramidnet import PyramidalUnit, PyramidNet
from aimc_robust.models.networks.vgg import VGG16
from aimc_robust.models.networks.vit import ViT
from aimc_robust.models.networks.wide_resnet import PreActivationBlock
from aimc_robust.models.registry import NETWORKS, ModelSpec, build_model, construct
from aimc_robust.noise.analog_weights import analog_weights


@dataclass(frozen=True)
class Images:
    """What a network is built for, without a data set."""

    shape: tuple[int, ...] = (3, 32, 32)
    outputs: int = 10

    @property
    def example_batch(self) -> tuple[Tensor, Tensor]:
        return torch.zeros(2, *self.shape), torch.tensor([0, self.outputs - 1])


def built(name: str, images: Images = Images(), seed: int = 0, **options: object) -> nn.Module:
    return build_model(ModelSpec(name=name, options=options), images, seed=seed)


def weights(name: str, classes: int, **options: object) -> int:
    """Parameters of a network as large as the literature's, counted without memory for them."""
    with torch.device("meta"):
        model = construct(ModelSpec(name=name, options=options), Images(outputs=classes))
    return sum(p.numel() for p in model.parameters())


# Of every network a form that runs in milliseconds.
SMALL = {
    "small-cnn": {"channels": 2},
    "resnet": {"channels": 2, "blocks": [1, 2], "stem_stride": 2},
    "resnet9": {"channels": 2},
    "resnet18": {"channels": 2},
    "resnet34": {"channels": 2},
    "resnet50": {"channels": 2},
    "wrn": {"depth": 10, "widen": 2, "channels": 2},
    "wrn-16-2": {"channels": 2},
    "pyramidnet": {"depth": 14, "channels": 3, "alpha": 7},
    "pyramidnet50": {"channels": 2, "alpha": 24},
    "vgg16-bn": {"channels": 2, "hidden": 1, "dropout": 0.0},
    "mlp": {"hidden": [6, 5]},
    "vit-s": {"dim": 16, "depth": 2, "heads": 2, "mlp_dim": 24, "patch": 8, "dropout": 0.0},
}


def test_every_network_is_tested_in_a_small_form():
    assert set(SMALL) - {"wrn-16-2"} == set(NETWORKS)


EXACT = {
    # The counts that the public CIFAR codes of these networks print, 10 classes.
    ("resnet9", 10): 4_903_242,  # there ResNet-10, after its linear layer
    ("resnet18", 10): 11_173_962,
    ("resnet34", 10): 21_282_122,
    ("vgg16-bn", 10): 15_253_578,  # github.com/nblt/mARWP
    ("wrn-28-10", 10): 36_479_194,
    ("wrn-28-10", 100): 36_536_884,
    ("wrn-16-8", 10): 10_961_370,
    ("wrn-16-10", 10): 17_116_634,
    # torchvision's own documentation.
    ("torchvision:resnet18", 1000): 11_689_512,
    ("torchvision:resnet50", 1000): 25_557_032,
    ("timm:resnet50", 1000): 25_557_032,
}


@pytest.mark.parametrize(("name", "classes"), EXACT)
def test_networks_have_the_weights_of_other_codes(name, classes):
    pytest.importorskip(name.partition(":")[0] if ":" in name else "torch")
    assert weights(name, classes) == EXACT[name, classes]


# Zagoruyko and Komodakis, Tables 3 to 5: millions of weights, 10 classes.
WRN_MILLIONS = {"40-1": 0.6, "40-2": 2.2, "40-4": 8.9, "16-8": 11.0, "16-10": 17.1, "22-8": 17.2, "28-10": 36.5}
# PyramidNet-110 as in the authors' PyTorch code, counted for 10 classes in osmr/imgclsmob.
PYRAMIDNET_110 = {48: 1_772_706, 84: 3_904_446, 270: 28_485_477}


@for_each("size", WRN_MILLIONS)
def test_wide_residual_networks_have_the_weights_of_their_papers_tables(size):
    assert round(weights(f"wrn-{size}", 10) / 1e6, 1) == WRN_MILLIONS[size]


@pytest.mark.parametrize("alpha", PYRAMIDNET_110)
def test_pyramidnets_have_the_weights_of_the_authors_code(alpha):
    assert weights("pyramidnet", 10, depth=110, alpha=alpha) == PYRAMIDNET_110[alpha]


def wrn_count(depth: int, widen: int, classes: int) -> int:
    """Layer by layer: stem; each stage's first block with its 1x1 shortcut, its n - 1 others; BatchNorm; linear."""
    n, total, width = (depth - 4) // 6, 3 * 9 * 16, 16
    for out in (16 * widen, 32 * widen, 64 * widen):
        total += 2 * width + 9 * width * out + 2 * out + 9 * out * out + width * out
        total += (n - 1) * (2 * out + 9 * out * out) * 2
        width = out
    return total + 2 * width + width * classes + classes


def pyramid_count(depth: int, alpha: int, classes: int) -> int:
    units = (depth - 2) // 2
    widths = [16] + [int(16 + alpha * k / units + 0.5) for k in range(1, units + 1)]
    total = 3 * 9 * 16 + 2 * 16
    for width, out in pairwise(widths):
        total += 2 * width + 9 * width * out + 2 * out + 9 * out * out + 2 * out
    return total + 2 * widths[-1] + widths[-1] * classes + classes


def resnet_count(blocks: list[int], classes: int) -> int:
    total, width = 3 * 9 * 64 + 2 * 64, 64
    for stage, count in enumerate(blocks):
        out = 64 * 2**stage
        total += count * (18 * out * out + 4 * out)
        total += 0 if out == width else width * out + 2 * out - 9 * out * (out - width)
        width = out
    return total + width * classes + classes


def vit_count(classes: int, *, dim: int, depth: int, mlp: int, tokens: int) -> int:
    block = 4 * dim * dim + 4 * dim + 2 * dim * mlp + mlp + dim + 4 * dim
    return dim + tokens * dim + 48 * dim + dim + depth * block + 2 * dim + dim * classes + classes


def test_networks_without_a_published_count_have_that_of_their_closed_form():
    for name, depth, widen in (("wrn-16-5", 16, 5), ("wrn-16-10", 16, 10), ("wrn-16-15", 16, 15)):
        assert weights(name, 100) == wrn_count(depth, widen, 100)
    assert weights("pyramidnet50", 100) == pyramid_count(50, 270, 100)
    assert weights("resnet18", 100) == resnet_count([2, 2, 2, 2], 100)
    assert weights("resnet50", 100) == resnet_count([5, 6, 9, 4], 100)
    assert weights("vit-s", 100) == vit_count(100, dim=512, depth=6, mlp=512, tokens=65)
    assert weights("vgg16-bn", 10, hidden=0) == EXACT["vgg16-bn", 10] - 2 * (512 * 512 + 512) == 14_728_266


DEPTHS = {"resnet18": 18, "resnet34": 34, "resnet50": 50, "pyramidnet50": 50, "wrn-16-5": 16, "wrn-28-10": 28}


@pytest.mark.parametrize("name", DEPTHS)
def test_the_depth_in_a_name_is_the_number_of_layers(name):
    with torch.device("meta"):
        model = construct(ModelSpec(name=name), Images())
    main = sum(isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) for module in model.modules())
    extra = 3 if name.startswith("wrn") else 1  # WRN counts its three shortcuts, the others the linear layer
    assert main + extra == DEPTHS[name]


@pytest.mark.parametrize("name", SMALL)
def test_any_small_image_gives_a_score_for_each_class(name):
    for shape, classes in (((3, 32, 32), 10), ((1, 40, 48), 7)):
        model = built(name, Images(shape, classes), **SMALL[name])
        assert model(torch.randn(3, *shape)).shape == (3, classes)


@pytest.mark.parametrize("name", SMALL)
def test_a_training_step_reaches_every_parameter_and_lowers_the_loss(name):
    model, images, labels = built(name, **SMALL[name]), torch.randn(8, 3, 32, 32), torch.arange(8)
    before = nn.functional.cross_entropy(model(images), labels)
    before.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    # A bias that a BatchNorm takes out again moves nothing, a key's bias moves no softmax.
    idle = [n for n, p in model.named_parameters() if float(p.grad.abs().max()) < 1e-12 and "bias" not in n]
    assert idle == []
    length = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
    with torch.no_grad():
        for p in model.parameters():
            p -= 1e-2 * p.grad / length
        assert float(nn.functional.cross_entropy(model(images), labels)) < float(before)


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed_gives_the_same_weights(name):
    one, same, other = (built(name, seed=seed, **SMALL[name]).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


RECORDED = {
    # The classifier's first weights for seed 0 and images of 1 x 8 x 8, and the sum of all tensors of the state.
    "small-cnn": ([0.0246657059, 0.0372158773, 0.1177825481], 108.954484),
    "resnet": ([0.0368428826, -0.0250742733, 0.0277178586], 666.511004),
}


@pytest.mark.parametrize("name", RECORDED)
def test_networks_of_earlier_results_start_from_the_weights_that_they_had(name):
    first, total = RECORDED[name]
    state = built(name, Images((1, 8, 8))).state_dict()
    torch.testing.assert_close(state["classifier.weight"].flatten()[:3], torch.tensor(first), rtol=0, atol=1e-8)
    assert sum(float(value.double().sum()) for value in state.values()) == pytest.approx(total, abs=1e-3)


def trained_like(name: str) -> nn.Module:
    """The small form in float64, with BatchNorms at nothing neutral."""
    model = built(name, **SMALL[name])
    for norm in (module for module in model.modules() if isinstance(module, _BatchNorm)):
        norm.running_mean.normal_(std=0.1)
        norm.running_var.uniform_(0.5, 2.0)
        nn.init.normal_(norm.weight, mean=1.0, std=0.3)
        nn.init.normal_(norm.bias, std=0.3)
    return model.double().eval()


# BatchNorms that follow a sum, or stand before a convolution, cannot be folded: pre-activation keeps those.
KEPT = {
    "wrn": 3,  # each block's first but the very first (stem -> bn1 -> ReLU), and the last of all
    "wrn-16-2": 6,
    "pyramidnet": 6 + 1,
    "pyramidnet50": 24 + 1,
}


@pytest.mark.parametrize("name", SMALL)
def test_every_matrix_is_analog_and_every_foldable_batchnorm_folded(name):
    model = trained_like(name)
    found = coverage(model, torch.randn(2, 3, 32, 32, dtype=torch.float64))
    found.require_all_analog()
    assert found.digital_matrices == ()
    wanted = sum(isinstance(module, nn.Conv2d | nn.Linear) for module in model.modules())
    wanted += sum(isinstance(module, nn.MultiheadAttention) for module in model.modules())  # besides its out_proj
    assert len(found.layers) == wanted
    assert len(found.folding.not_folded) == KEPT.get(name, 0)
    assert all(reason == "its input is not one layer's output alone" for reason in found.folding.not_folded.values())
    norms = sum(isinstance(module, _BatchNorm) for module in model.modules())
    assert len(found.folding.folded) == norms - KEPT.get(name, 0)
    digital = {type(model.get_submodule(layer)) for layer in found.digital_parameters if layer}
    assert digital <= {nn.BatchNorm2d, nn.LayerNorm}
    # Arrays do every multiply but those of attention's scores.
    assert [layer for layer in found.macs.digital if not layer.endswith("attention")] == []


@pytest.mark.parametrize("name", SMALL)
def test_on_ideal_memory_every_network_computes_the_same(name):
    model = trained_like(name)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        expected = model(images)
        torch.testing.assert_close(program(model, Crossbar("ideal"))(images), expected, rtol=1e-9, atol=1e-9)
        in_arrays = program(model, Crossbar("ideal", dac=DAC(kind="ideal")))
        torch.testing.assert_close(in_arrays(images), expected, rtol=1e-6, atol=1e-6)


def test_on_real_memory_a_network_computes_something_else():
    model, images = trained_like("resnet9"), torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        expected, noisy = model(images), program(model, Crossbar("rram-milo2021"))(images)
    assert float((noisy - expected).abs().max()) > 1e-3 * float(expected.abs().max())


def test_vggs_features_are_torchvisions():
    vgg = pytest.importorskip("torchvision.models.vgg")
    theirs = vgg.make_layers(vgg.cfgs["D"], batch_norm=True).eval()
    ours = VGG16(in_channels=3, classes=10).eval()
    ours.features.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours.features(images), theirs(images), rtol=0, atol=0)


def test_with_torchvisions_weights_vits_outputs_are_torchvisions():
    vision = pytest.importorskip("torchvision.models.vision_transformer")
    sizes = {"patch": 4, "dim": 24, "depth": 2, "heads": 3, "mlp_dim": 40}
    theirs = vision.VisionTransformer(
        image_size=8, patch_size=4, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=40, num_classes=5,
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
    ).double().eval()  # fmt: skip
    for p in theirs.parameters():
        nn.init.normal_(p, std=0.3)
    ours = ViT(in_channels=3, classes=5, image_size=(8, 8), **sizes).double().eval()
    state = dict(theirs.state_dict())
    first = ["class_token", "encoder.pos_embedding"]  # torch lists a module's own parameters before its parts'
    order = [*first, *(name for name in state if name not in first)]
    ours.load_state_dict(dict(zip(ours.state_dict(), (state[name] for name in order), strict=True)))
    images = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-9, atol=1e-9)


def test_a_pyramidal_units_shortcut_is_the_mean_of_its_pixels_and_zeros():
    unit = PyramidalUnit(2, 5, 2).eval()
    nn.init.zeros_(unit.bn3.weight)
    x = torch.randn(1, 2, 4, 7)
    found = unit(x)
    assert found.shape == (1, 5, 2, 4)
    torch.testing.assert_close(found[0, 1, 1, 0], x[0, 1, 2:, :2].mean())
    torch.testing.assert_close(found[0, 0, 0, 3], x[0, 0, :2, 6].mean())  # an odd last column alone
    assert torch.equal(found[:, 2:], torch.zeros(1, 3, 2, 4))


def test_pyramidnets_channels_grow_evenly_to_alpha_more():
    model = PyramidNet(in_channels=3, classes=10, depth=50, alpha=270)
    widths = [unit.conv1.out_channels for unit in model.units]
    assert (len(widths), widths[-1]) == (24, 16 + 270)
    assert {after - before for before, after in pairwise(widths)} == {11, 12}  # 270 / 24 = 11.25
    assert [k for k, unit in enumerate(model.units) if unit.stride == 2] == [8, 16]


def test_a_pre_activation_block_passes_its_input_on_or_projects_the_activated_one():
    same, wider = PreActivationBlock(3, 3, 1, 0.0).eval(), PreActivationBlock(3, 4, 2, 0.0).eval()
    for block in (same, wider):
        nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(same(x), x)
    active = torch.relu(wider.bn1(x))[:, :, ::2, ::2]
    expected = torch.einsum("oi,nihw->nohw", wider.shortcut.weight[:, :, 0, 0], active)
    torch.testing.assert_close(wider(x), expected, rtol=1e-5, atol=1e-6)


def test_residual_convolutions_start_with_hes_variance():
    model = built("wrn-16-2", channels=16)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 4000:
            expected = (2 / (module.kernel_size[0] ** 2 * module.out_channels)) ** 0.5
            assert float(module.weight.detach().std()) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("name", ["wrn-16-2", "vgg16-bn", "vit-s"])
def test_dropout_acts_in_training_alone(name):
    model, images = built(name, **SMALL[name] | {"dropout": 0.5}), torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        for norm in (module for module in model.modules() if isinstance(module, _BatchNorm)):
            norm.momentum = 0.0
        assert not torch.equal(model.train()(images), model(images))
        assert torch.equal(model.eval()(images), model(images))


def test_rwps_scope_covers_the_transformers_projections():
    names = set(analog_weights(built("vit-s", **SMALL["vit-s"])))
    block = {f"blocks.0.{part}" for part in ("attention.in_proj_weight", "attention.out_proj.weight", "mlp.0.weight")}
    assert block <= names
    assert {"patches.weight", "classifier.weight"} <= names
    assert not {"class_token", "position"} & names


FAULTS = {
    ("wrn-17-5",): r"wrn-17-5 cannot be built.*depth of wrn must be 6 n \+ 4 .*got 17",
    ("wrn-16-0",): "widen of wrn must be a whole number from 1 to 100, got 0",
    ("wrn", "widen", 2): "depth",
    ("wrn-16-2", "depth", 22): "multiple values for keyword argument 'depth'",
    ("wrn-16-2", "dropout", 1.0): "dropout of wrn must be a finite number within 0 and 0.99, got 1.0",
    ("resnet18", "blocks", 1): "blocks",
    ("resnet9", "stem_stride", 0): "stem_stride of resnet must be a whole number from 1 to 16, got 0",
    ("pyramidnet", "depth", 51): r"depth of pyramidnet must be 6 n \+ 2 .*got 51",
    ("pyramidnet50", "alpha", 4.5): "alpha of pyramidnet must be a whole number.*got 4.5",
    ("vgg16-bn", "hidden", -1): "hidden of vgg16-bn must be a whole number from 0 to 10, got -1",
    ("vit-s", "patch", 5): "patch of vit-s must divide the image's 32 x 32 pixels, got 5",
    ("vit-s", "heads", 7): "dim of vit-s must be a multiple of its 7 heads, got 512",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_options_that_cannot_be_right_are_refused(fault):
    name, *option = fault
    with pytest.raises(InputError, match=FAULTS[fault]):
        built(name, **dict([option] if option else []))


def test_images_too_small_for_five_poolings_are_refused():
    with pytest.raises(InputError, match=r"vgg16-bn.*1.*8.*8"):
        built("vgg16-bn", Images((1, 8, 8)), channels=2)


@pytest.mark.parametrize("name", ["resnet-18", "wrn-16", "wrn-16-5-2", "timm:", "vgg"])
def test_a_miss_lists_the_names(name):
    with pytest.raises(UnknownNameError) as caught:
        built(name)
    for known in (*NETWORKS, "wrn-DEPTH-WIDEN", "torchvision:NAME", "timm:NAME", "package.module:function"):
        assert known in str(caught.value)
