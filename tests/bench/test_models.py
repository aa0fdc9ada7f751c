"""Networks by name, initialised from their seed and checked against the images before any training."""

import pytest
import torch

from aimc_robust.bench.data import load_data
from aimc_robust.bench.models import build_model
from aimc_robust.bench.spec import DataSpec, ModelSpec
from aimc_robust.errors import InputError, UnknownNameError


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return load_data(DataSpec(name="digits"), seed=0, folder=tmp_path_factory.mktemp("none"))


@pytest.fixture(autouse=True)
def _zoo_is_importable(monkeypatch):
    monkeypatch.syspath_prepend(__file__.rpartition("/")[0])


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
    assert build(digits, "zoo:tiny", width=7)[1].out_features == 7


def test_torchvision_models_can_be_named(tmp_path):
    pytest.importorskip("torchvision")
    import numpy as np

    x = np.random.default_rng(0).integers(0, 255, (20, 32, 32, 3), dtype=np.uint8)
    y = np.arange(20) % 5
    np.savez(tmp_path / "rgb.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    data = load_data(DataSpec(name="npz:rgb.npz"), seed=0, folder=tmp_path)
    assert build(data, "torchvision:squeezenet1_1")(data.test[0][:2]).shape == (2, 5)
    with pytest.raises(UnknownNameError, match="did you mean 'resnet18'"):
        build(data, "torchvision:resnt18")


FAULTS = {
    "small_cnn": "small-cnn",
    "zoo:nothing": "no function nothing",
    "zoo:constant": "no function constant",
    "no_such_module:build": "cannot be imported",
    "zoo:not_a_module": r"expected a torch\.nn\.Module",
    "zoo:wrong_output": r"returns \(2, 3\).*expected \(2, 10\)",
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_model_that_cannot_serve_is_refused(name, digits):
    with pytest.raises((InputError, UnknownNameError), match=FAULTS[name]):
        build(digits, name)


def test_unknown_options_and_images_that_do_not_fit_are_refused(digits):
    with pytest.raises(InputError, match=r"cannot be built with the options.*depth"):
        build(digits, "small-cnn", depth=3)
    with pytest.raises(InputError, match="does not take images of shape"):
        build(digits, "small-cnn", stages=6)
