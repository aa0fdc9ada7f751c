"""Networks by name, initialised from their seed and checked against the images before any training."""

import sys

import pytest
import torch
from support import user_models

from aimc_robust import coverage
from aimc_robust.data.loading import load_data
from aimc_robust.errors import InputError, MissingDependencyError, UnknownNameError
from aimc_robust.experiments.spec.comparison import DataSpec
from aimc_robust.models.registry import ModelSpec, build_model


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return load_data(DataSpec(name="digits"), data_seed=0, folder=tmp_path_factory.mktemp("none"))


@pytest.fixture(autouse=True)
def _zoo_is_importable(monkeypatch):
    monkeypatch.syspath_prepend(user_models.__file__.rpartition("/")[0])


def build(digits, name, seed=0, **options):
    return build_model(ModelSpec(name=name, options=options), digits, seed=seed)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator(digits):
    before = torch.get_rng_state()
    one, same, other = (build(digits, "small-cnn", seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.classifier.weight, same.classifier.weight)
    assert not torch.equal(one.classifier.weight, other.classifier.weight)


@pytest.mark.parametrize(("channels", "stages"), [(1, 1), (2, 2), (8, 3)])
def test_small_cnn_has_the_widths_it_is_asked_for(digits, channels, stages):
    model = build(digits, "small-cnn", channels=channels, stages=stages)
    assert model.classifier.in_features == channels * 2 ** (stages - 1)
    assert model(digits.test[0][:3]).shape == (3, 10)


def test_a_function_of_any_module_can_be_named(digits):
    assert build(digits, "user_models:tiny", width=7)[1].out_features == 7


def test_torchvision_models_can_be_named(tmp_path):
    pytest.importorskip("torchvision")
    import numpy as np

    x = np.random.default_rng(0).integers(0, 255, (20, 32, 32, 3), dtype=np.uint8)
    y = np.arange(20) % 5
    np.savez(tmp_path / "rgb.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    data = load_data(DataSpec(name="npz:rgb.npz"), data_seed=0, folder=tmp_path)
    assert build(data, "torchvision:squeezenet1_1")(data.test[0][:2]).shape == (2, 5)
    with pytest.raises(UnknownNameError, match="'resnet18'"):
        build(data, "torchvision:resnt18")


def test_timm_models_can_be_named_with_their_own_options(digits):
    pytest.importorskip("timm")
    with pytest.raises(InputError, match="'pretrained'"):
        build(digits, "timm:resnet10t", pretrained=True)
    model = build(digits, "timm:resnet10t", stem_width=8, block_args={"attn_layer": None})
    assert model(digits.test[0][:3]).shape == (3, 10)
    assert coverage(model, digits.test[0][:1]).digital_matrices == ()


def test_a_transformer_of_timm_is_all_analog():
    pytest.importorskip("timm")
    from timm.models.vision_transformer import VisionTransformer

    model = VisionTransformer(img_size=8, patch_size=4, embed_dim=12, depth=2, num_heads=2, num_classes=5).eval()
    found = coverage(model, torch.zeros(1, 3, 8, 8))
    found.require_all_analog()
    assert len(found.layers) == 1 + 2 * 4 + 1


def test_a_miss_among_timms_models_lists_the_nearest_few(digits):
    pytest.importorskip("timm")
    with pytest.raises(UnknownNameError, match=r"'resnet_18'.*'resnet18'") as caught:
        build(digits, "timm:resnet_18")
    assert 5 < str(caught.value).count(",") < 20
    assert "timm.list_models() has all" in str(caught.value)


@pytest.mark.parametrize(("package", "extra"), [("torchvision", "vision"), ("timm", "timm")])
def test_an_absent_package_is_named_with_its_command(package, extra, digits, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"needs {package} .*pip install 'aimc-robust\[{extra}\]'"):
        build(digits, f"{package}:resnet18")


FAULTS = {
    "small_cnn": "small-cnn",
    "user_models:nothing": "no function nothing",
    "user_models:constant": "no function constant",
    "no_such_module:build": "there is no module no_such_module",
    "user_models:not_a_module": r"expected a torch\.nn\.Module",
    "user_models:wrong_output": "labels run from 0 to 9, but the model has 3 outputs",
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_model_that_cannot_serve_is_refused(name, digits):
    with pytest.raises((InputError, UnknownNameError), match=FAULTS[name]):
        build(digits, name)


def test_unknown_options_and_images_that_do_not_fit_are_refused(digits):
    with pytest.raises(InputError, match=r"cannot be built with the options.*depth"):
        build(digits, "small-cnn", depth=3)
    with pytest.raises(InputError, match=r"small-cnn .*\(1, 8, 8\)"):
        build(digits, "small-cnn", stages=6)
