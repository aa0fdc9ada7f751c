"""Residual networks: torchvision's outputs with torchvision's weights, the published sizes, any width and depth."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from aimc_robust import Crossbar, program
from aimc_robust.data.loading import load_data
from aimc_robust.errors import InputError
from aimc_robust.experiments.spec.comparison import DataSpec
from aimc_robust.models.networks.resnet import ResNet
from aimc_robust.models.registry import ModelSpec, build_model

RESNET18 = {"channels": 64, "blocks": (2, 2, 2, 2)}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return load_data(DataSpec(name="digits"), data_seed=0, folder=tmp_path_factory.mktemp("none"))


@pytest.fixture(scope="module")
def theirs():
    """Torchvision's ResNet-18 with a 3x3 stem and no pooling, and BatchNorm that does something."""
    model = pytest.importorskip("torchvision.models").resnet18(num_classes=100)
    model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    with torch.no_grad():
        for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
            for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                values.uniform_(0.5, 1.5)
    return model.double()


def weights(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("training", [False, True])
def test_with_torchvisions_weights_the_outputs_are_torchvisions(theirs, training):
    ours = ResNet(in_channels=3, classes=100, **RESNET18).double()
    given_to = dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True))  # both list layers in order
    ours.load_state_dict(given_to)
    images = torch.randn(2, 3, 12, 16, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours.train(training)(images), theirs.train(training)(images), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "classes", "expected"),
    [
        (RESNET18, 100, 11_220_132),  # ResNet-18, CIFAR form
        ({"channels": 16, "blocks": (3, 3, 3)}, 10, 272_474),  # ResNet-20: 269 722 and two 1x1 shortcuts
        ({"channels": 16, "blocks": [9, 9, 9]}, 10, 855_770),  # ResNet-56: 853 018 and the same shortcuts
    ],
)
def test_the_published_networks_have_their_number_of_weights(options, classes, expected):
    with torch.device("meta"):
        assert weights(ResNet(in_channels=3, classes=classes, **options)) == expected


@given(
    channels=st.integers(1, 5),
    blocks=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    size=st.tuples(st.integers(1, 3), st.integers(1, 17), st.integers(1, 17)),
)
def test_each_stage_after_the_first_halves_the_image_and_doubles_the_channels(channels, blocks, size):
    model = ResNet(in_channels=size[0], classes=7, channels=channels, blocks=blocks).eval()
    seen = []
    for block in model.blocks:
        block.register_forward_hook(lambda module, _, output: seen.append(tuple(output.shape[1:])))
    assert model(torch.randn(3, *size)).shape == (3, 7)
    halved = lambda pixels, stage: -(-pixels // 2**stage)  # noqa: E731
    expected = [
        (channels * 2**stage, halved(size[1], stage), halved(size[2], stage))
        for stage, count in enumerate(blocks)
        for _ in range(count)
    ]
    assert seen == expected
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert sum(conv.kernel_size == (3, 3) for conv in convolutions) == 1 + 2 * sum(blocks)
    assert sum(conv.kernel_size == (1, 1) for conv in convolutions) == len(blocks) - 1


def test_a_strided_stem_halves_the_image_and_changes_no_weight():
    plain, strided = (ResNet(in_channels=3, classes=7, channels=2, stem_stride=stride) for stride in (1, 2))
    strided.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 12, 9)
    with torch.no_grad():
        torch.testing.assert_close(strided.stem(images), plain.stem(images)[:, :, ::2, ::2], rtol=1e-5, atol=1e-6)
        assert strided.blocks(strided.stem(images)).shape == (2, 8, 2, 2)
        assert strided(images).shape == (2, 7)


def test_it_is_built_by_its_name_with_the_specs_options(digits):
    model = build_model(ModelSpec(name="resnet", options={"channels": 4, "blocks": [1, 2]}), digits, seed=0)
    assert isinstance(model, ResNet)
    assert len(model.blocks) == 3
    assert model.stem.in_channels == 1
    assert model(digits.test[0][:3]).shape == (3, 10)


def test_on_ideal_memory_it_computes_the_same():
    model = ResNet(in_channels=3, classes=5, channels=4, blocks=(1, 2)).double()
    images = torch.randn(8, 3, 9, 9, dtype=torch.float64)
    model.train()(images)  # BatchNorm statistics that are not 0 and 1
    programmed = program(model.eval(), Crossbar("ideal"))
    torch.testing.assert_close(programmed(images), model(images), rtol=1e-9, atol=1e-9)


FAULTS = {
    "no stage": ({"blocks": []}, r"blocks of resnet must be 1 to 6 whole numbers.*got \[\]"),
    "too many stages": ({"blocks": [1] * 7}, "blocks of resnet must be 1 to 6"),
    "a number for a list": ({"blocks": 3}, "one for each stage, got 3"),
    "text": ({"blocks": "222"}, "one for each stage, got '222'"),
    "an empty stage": ({"blocks": [1, 0]}, "blocks of resnet must be a whole number from 1 to 100, got 0"),
    "half a block": ({"blocks": [1.5]}, "blocks of resnet.*got 1.5"),
    "no channels": ({"channels": 0}, "channels of resnet must be a whole number from 1 to 4096, got 0"),
    "no stride": ({"stem_stride": 0}, "stem_stride of resnet must be a whole number from 1 to 16, got 0"),
    "text for channels": ({"channels": "64"}, "channels of resnet.*got '64'"),
    "an unknown option": ({"depth": 18}, "depth"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_options_that_cannot_be_right_are_refused(fault, digits):
    options, message = FAULTS[fault]
    with pytest.raises(InputError, match=message):
        build_model(ModelSpec(name="resnet", options=options), digits, seed=0)
    if "depth" not in options:
        with pytest.raises(InputError, match=message):
            ResNet(in_channels=1, classes=10, **options)
