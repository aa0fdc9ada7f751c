"""State_dicts of aihwkit and aihwkit-lightning: recorded ones, and those of models made here where the peer installs.

aihwkit-lightning 2.1.0 is a pure wheel that pins torch 2.13.0; its code runs with later versions:
`pip install --no-deps aihwkit-lightning`.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch
from support.for_each import for_each
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust import Deployment, LayerRanges, evaluate, import_aihwkit, import_rpu_config, load_checkpoint, program
from aimc_robust.errors import CheckpointError, InputError
from aimc_robust.models.torch_file import read_torch_file

GOLDEN = Path(__file__).parent.parent / "golden"
# What the recorded models of `-converters` were made with, as far as it acts in inference.
RANGE = {"input_range": {"enable": True}}
CONVERTERS = {"inp_res": 62, "out_res": 1 / 126, "out_bound": 4.0}
RECORDED = {
    "aihwkit-converters": {
        "forward": {**CONVERTERS, "inp_bound": 1.0},
        "mapping": {"weight_scaling_omega": 0.8, "weight_scaling_columnwise": True},
        "remap": {"type": "ChannelwiseSymmetric", "remapped_wmax": 1.0},
        "pre_post": RANGE,
    },
    "aihwkit-lightning-converters": {"forward": CONVERTERS, "pre_post": RANGE},
}


def network(*, batchnorm: bool = True) -> nn.Module:
    """The plain network of the recorded models, with other weights.

    Behind converters it has no BatchNorm, which the peers keep digital and `program` folds.
    """
    torch.manual_seed(1)
    norm = nn.BatchNorm2d(3) if batchnorm else nn.Identity()
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(12, 5, bias=False), nn.Linear(5, 4)
    ).eval()


def recorded(name: str) -> tuple[Path, dict]:
    path = GOLDEN / f"{name}.pt"
    return path, read_torch_file(path, path.read_bytes())


@contextmanager
def noted(*matches: str) -> Iterator[None]:
    """Expect a warning for each pattern, and no other."""
    with pytest.warns(UserWarning) as warned:  # noqa: PT030, matched below
        yield
    assert len(warned) == len(matches), [str(w.message) for w in warned]
    for match in matches:
        assert any(match in str(w.message) for w in warned), match


# Recorded -------------------------------------------------------------------------------------------------------------


@for_each("name", ["aihwkit-tiled", "aihwkit-lightning-tiled"])
@torch.no_grad()
def test_the_joined_arrays_of_a_file_compute_what_the_peer_computed(name):
    path, content = recorded(name)
    own = (
        ["'5' have input ranges"] if name == "aihwkit-tiled" else []
    )  # arrays of the same inputs have ranges of their own
    with noted("under 'state_dict'", "'0' have input ranges", "'4' have input ranges", *own):
        model, ranges = import_aihwkit(network(), path)
    torch.testing.assert_close(model(content["inputs"]), content["outputs"], rtol=1e-5, atol=1e-6)
    assert sorted(ranges) == ["0", "4", "5"]
    state = content["state_dict"]
    start = {"aihwkit-tiled": "4.analog_module.array.{}.{}.input_range"}.get(name, "4.input_range")
    bounds = [float(state[start.format(*divmod(i, 2))]) for i in range(4)] if "{" in start else state[start].tolist()
    assert len(set(bounds)) > 1
    assert ranges["4"] == LayerRanges(inputs=(-max(bounds), max(bounds)))


@for_each("name", list(RECORDED))
@torch.no_grad()
def test_weights_ranges_and_converters_together_compute_what_the_peer_computed(name):
    path, content = recorded(name)
    with noted("under 'state_dict'"):
        model, ranges = import_aihwkit(network(batchnorm=False), path)
    crossbar, deployment = import_rpu_config(RECORDED[name], device="ideal", ranges=ranges)
    outputs = program(model, crossbar, deployment=deployment)(content["inputs"])
    torch.testing.assert_close(outputs, content["outputs"], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(model(content["inputs"]), content["outputs"], atol=1e-2)  # the converters matter
    finer, _ = import_rpu_config(
        {**RECORDED[name], "forward": {**RECORDED[name]["forward"], "inp_res": 126}}, device="ideal"
    )
    other = program(model, finer, deployment=Deployment(ranges=ranges))(content["inputs"])
    assert not torch.allclose(other, content["outputs"], atol=1e-3)  # and their resolution


def test_an_imported_model_is_evaluated_on_a_device_of_the_peer():
    path, content = recorded("aihwkit-converters")
    with noted("under 'state_dict'"):
        model, ranges = import_aihwkit(network(batchnorm=False), path)
    crossbar, deployment = import_rpu_config(
        {**RECORDED["aihwkit-converters"], "noise_model": "PCMLikeNoiseModel"}, ranges=ranges
    )
    labels = content["outputs"].argmax(dim=1)
    estimate = evaluate(model, [(content["inputs"], labels)], crossbar, chips=3, deployment=deployment)
    assert 25.0 < estimate.mean <= 100.0


@for_each("name", ["aihwkit-tiled", "aihwkit-lightning-tiled"])
def test_load_checkpoint_names_the_function_for_weights_of_the_peer(name):
    with pytest.raises(CheckpointError, match="import_aihwkit"):
        load_checkpoint(network(), recorded(name)[0])


# Written by hand, after the sources of aihwkit 1.2.0 ------------------------------------------------------------------


def tile(matrix: Tensor, **fields: Tensor) -> dict:
    """What an array of C++ has in a state_dict: weights in its state, and in memory shared with torch."""
    state = {
        "analog_tile_weights": matrix,
        "analog_tile_hidden_parameters": torch.zeros(0),
        "rpu_config": object(),
        "analog_tile_class": "InferenceTile",
    }
    own = {"analog_tile_state": state, "shared_weights": matrix.clone(), "analog_ctx": torch.zeros(1), **fields}
    return own | {"alpha": torch.ones(1)} | fields


def under(start: str, fields: dict) -> dict:
    return {f"{start}.{name}": value for name, value in fields.items()}


WEIGHT, BIAS = torch.arange(12.0).view(3, 4) / 12, torch.tensor([1.0, -2.0, 3.0])


@for_each("scale", [torch.tensor([2.0]), torch.tensor([1.0, 2.0, 4.0])])
@for_each("learned", [torch.tensor([0.5]), torch.tensor([0.5, 1.0, 2.0])])
def test_both_output_scales_multiply_the_weights_and_a_digital_bias_stays(scale, learned):
    fields = tile(WEIGHT, mapping_scales=scale, out_scaling_alpha=learned, bias=BIAS)
    model, ranges = import_aihwkit(nn.Linear(4, 3), under("analog_module", fields))
    assert torch.equal(model.weight, WEIGHT * (scale * learned).view(-1, 1))
    assert torch.equal(model.bias, BIAS)
    assert not ranges


def test_output_scales_may_be_in_the_arrays_state():
    fields = tile(WEIGHT)
    fields["analog_tile_state"] |= {"mapping_scales": torch.tensor([2.0]), "out_scaling_alpha": None}
    model, _ = import_aihwkit(nn.Linear(4, 3, bias=False), under("analog_module", fields))
    assert torch.equal(model.weight, 2 * WEIGHT)
    fields["analog_tile_state"]["programmed_weights"] = WEIGHT
    with pytest.raises(CheckpointError, match=r"analog_tile_state\.programmed_weights is not known"):
        import_aihwkit(nn.Linear(4, 3, bias=False), under("analog_module", fields))


def test_an_analog_bias_is_the_last_column_and_is_scaled():
    fields = tile(torch.cat([WEIGHT, BIAS[:, None]], dim=1), mapping_scales=torch.tensor([2.0]))
    model, _ = import_aihwkit(nn.Sequential(nn.Conv1d(2, 3, 2)), under("0.analog_module", fields))
    assert torch.equal(model[0].weight, 2 * WEIGHT.view(3, 2, 2))
    assert torch.equal(model[0].bias, 2 * BIAS)
    ranged = under("0.analog_module", {**fields, "input_range": torch.tensor([2.0])})
    with pytest.raises(CheckpointError, match=r"'0' has an analog bias.*digital_bias"):
        import_aihwkit(nn.Sequential(nn.Conv1d(2, 3, 2)), ranged)


def test_a_model_of_one_layer_has_its_range_under_the_name_that_program_has():
    model, ranges = import_aihwkit(
        nn.Linear(4, 3), under("analog_module", tile(WEIGHT, bias=BIAS, input_range=BIAS[2:]))
    )
    assert dict(ranges) == {"weight": LayerRanges(inputs=(-3.0, 3.0))}
    crossbar, deployment = import_rpu_config(
        {"forward": {"inp_res": 254}, "pre_post": RANGE}, device="ideal", ranges=ranges
    )
    torch.testing.assert_close(
        program(model, crossbar, deployment=deployment)(torch.full((1, 4), 9.0)), model(torch.full((1, 4), 3.0))
    )


def test_a_mapped_layer_and_wrappers_of_its_names_are_read_and_other_layers_are_left():
    state = {
        **under("model.fc.array.0.0", tile(WEIGHT[:2], input_range=torch.tensor([-2.0]))),
        **under("model.fc.array.0.1", tile(WEIGHT[2:], input_range=torch.tensor([2.0]))),
        "model.fc.bias": BIAS,
        "model.norm.weight": torch.full((3,), 7.0),
        "model.norm.bias": BIAS,
    }
    model = nn.Module()
    model.fc, model.norm = nn.Linear(4, 3), nn.LayerNorm(3)
    with noted("removed the prefix 'model.'"):
        _, ranges = import_aihwkit(model, state)
    assert torch.equal(model.fc.weight, WEIGHT)
    assert torch.equal(model.norm.weight, torch.full((3,), 7.0))
    assert dict(ranges) == {"fc": LayerRanges(inputs=(-2.0, 2.0))}


def test_a_weight_of_a_layer_that_was_not_analog_is_not_taken_for_one_with_a_bias():
    state = {"0.weight": torch.zeros(3, 5), **under("1.analog_module", tile(WEIGHT))}
    with pytest.raises(CheckpointError, match=r"missing 0.bias.*\(3, 5\)"):
        import_aihwkit(nn.Sequential(nn.Linear(4, 3), nn.Linear(4, 3, bias=False)), state)


@pytest.mark.parametrize(
    ("state", "match"),
    [
        (under("0.analog_module", tile(WEIGHT, alpha=torch.tensor([1.1]))), r"0.analog_module.alpha.*1.1"),
        (under("0.analog_module", tile(WEIGHT, scale_quantizer=BIAS)), "0.analog_module.scale_quantizer is not known"),
        (under("0.analog_module.array.1.0", tile(WEIGHT)), "1 of 2 x 1 arrays of '0'"),
        (under("0.analog_module", tile(WEIGHT, input_range=torch.zeros(1))), "input range of '0'.*0"),
        (under("0.analog_module", {"shared_weights": WEIGHT}), "0.analog_module.shared_weights.*whole state_dict"),
        ({"0.analog_tile_state_0": {"analog_tile_weights": WEIGHT}}, "analog_tile_state_0"),
        (under("1.analog_module", tile(WEIGHT)), "missing 0.weight; unexpected 1.weight"),
        (under("0.analog_module", tile(WEIGHT[:2])), r"\(2, 4\)"),
        (under("0.analog_module", tile(WEIGHT / 0)), "NaN or infinity"),
        (under("0.analog_module", tile(WEIGHT[0])), r"analog_tile_weights must be a matrix, got \(4,\)"),
        (under("0.analog_module", tile(WEIGHT, mapping_scales=torch.ones(2))), "mapping_scales must be 1 or 3"),
        (
            {
                **under("0.analog_module.array.0.0", tile(WEIGHT[:, :2])),
                **under("0.analog_module.array.1.0", tile(WEIGHT[:2, 2:])),
            },
            r"2 x 1 arrays of '0' do not fit: \(3, 2\), \(2, 2\)",
        ),
        ({"0.weight": WEIGHT, "0.learnable_weight_clip": torch.ones(2)}, "'0' must have 3 numbers.*got 2"),
        ({"0.weight": WEIGHT, "0.scale": 2.0}, "0.scale of the state_dict must be a tensor"),
        ({0: WEIGHT}, "must have names"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(state, match):
    with pytest.raises((CheckpointError, InputError), match=match):
        import_aihwkit(nn.Sequential(nn.Linear(4, 3, bias=False)), state)


def test_arguments_of_another_type_are_refused():
    with pytest.raises(InputError, match=r"source must be a state_dict.*3"):
        import_aihwkit(nn.Linear(4, 3), 3)
    with pytest.raises(InputError, match="model must be a torch module"):
        import_aihwkit({"weight": WEIGHT}, nn.Linear(4, 3))


# aihwkit-lightning, live ----------------------------------------------------------------------------------------------


def lightning_model(net: nn.Module, **settings: object):
    """Convert a network with the settings of an RPUConfig, by dotted names; also return the RPUConfig."""
    pytest.importorskip("aihwkit_lightning", reason="aihwkit-lightning (torch==2.13.0) is not installed")
    from aihwkit_lightning.nn.conversion import convert_to_analog
    from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig

    config = TorchInferenceRPUConfig()
    for name, value in settings.items():
        *sections, field = name.split("__")
        section = config
        for key in sections:
            section = getattr(section, key)
        current = getattr(section, field)
        setattr(section, field, type(current)[value] if isinstance(value, str) else value)
    return convert_to_analog(net, config), config


def trained(analog: nn.Module, inputs: Tensor) -> nn.Module:
    from aihwkit_lightning.optim import AnalogOptimizer

    labels = torch.arange(len(inputs)) % 4
    optimizer = AnalogOptimizer(torch.optim.SGD, analog.analog_layers, analog.train().parameters(), lr=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        F.cross_entropy(analog(inputs), labels).backward()
        optimizer.step()
    return analog.eval()


CLIPS = ["NONE", "LAYER_GAUSSIAN_PER_CHANNEL", "LEARNABLE_PER_CHANNEL"]


@for_each("clip", CLIPS)
@for_each("size", [-1, 5])
@pytest.mark.filterwarnings("ignore:.*have input ranges from")
def test_a_trained_lightning_model_computes_the_same_without_noise(clip, size, tmp_path):
    settings = {"pre_post__input_range__enable": True, "clip__type": clip, "clip__sigma": 2.0}
    noise = {"modifier__noise_type": "ADD_NORMAL", "modifier__std_dev": 0.05, "mapping__max_input_size": size}
    analog, _ = lightning_model(network().train(), **settings, **noise)
    inputs = torch.randn(32, 2, 4, 4)
    analog = trained(analog, inputs)
    if clip == CLIPS[2]:  # bounds that act; of the first layer all above 1, of which reciprocals act
        for bound, layer in zip((1.5, 0.1, 0.2), analog.analog_layers(), strict=True):
            layer.learnable_weight_clip.data.fill_(bound)
    torch.save(analog.state_dict(), tmp_path / "lightning.pt")
    for source in (tmp_path / "lightning.pt", analog.state_dict()):
        model, ranges = import_aihwkit(network(), source)
        with torch.no_grad():
            torch.testing.assert_close(model(inputs / 5), analog(inputs / 5), rtol=1e-5, atol=1e-6)
        for name, layer in analog.named_analog_layers():
            assert ranges[name].full_scale == pytest.approx(float(layer.input_range.detach().max()))


@for_each("clip", CLIPS)
@for_each(
    "inp_res,out_res,out_bound", [(254, 254, 3.0), (1 / 62, -1, -1), (30, 1 / 62, 1.0), (126, -1, 0.5), (-1, -1, 0)]
)
@torch.no_grad()
def test_a_lightning_model_with_converters_computes_the_same_on_an_ideal_device(clip, inp_res, out_res, out_bound):
    forward = {"forward__inp_res": inp_res, "forward__out_res": out_res, "forward__out_bound": out_bound}
    ranges = {"pre_post__input_range__enable": True, "pre_post__input_range__init_value": 0.7}
    analog, config = lightning_model(network(batchnorm=False), **forward, **ranges, clip__type=clip)
    if clip == CLIPS[2]:  # bounds that act, since they set the ADC's range too
        for layer in analog.analog_layers():
            layer.learnable_weight_clip.copy_(0.7 * layer.weight.flatten(1).abs().amax(dim=1))
    model, input_ranges = import_aihwkit(network(batchnorm=False), analog.eval().state_dict())
    with noted("clip.type") if clip == CLIPS[2] and out_bound > 0 else nullcontext():
        crossbar, deployment = import_rpu_config(config, device="ideal", ranges=input_ranges)
    inputs = torch.randn(32, 2, 4, 4)
    outputs = program(model, crossbar, deployment=deployment)(inputs)
    torch.testing.assert_close(outputs, analog(inputs), rtol=0, atol=2e-5)
    assert not torch.allclose(model(inputs), analog(inputs), atol=1e-3)


@torch.no_grad()
def test_a_lightning_layer_in_training_has_the_output_noise_that_the_crossbar_has():
    options = {"forward__out_noise": 0.1, "forward__out_noise_per_channel": True}
    ranges = {"pre_post__input_range__enable": True, "pre_post__input_range__init_value": 0.7}
    ranges["pre_post__input_range__init_from_data"] = 0  # training does not move the unit of noise
    settings = {**options, **ranges, "clip__type": "LAYER_GAUSSIAN_PER_CHANNEL", "clip__sigma": 2.0}
    analog, config = lightning_model(nn.Sequential(nn.Linear(16, 3)), **settings)
    model, input_ranges = import_aihwkit(nn.Sequential(nn.Linear(16, 3)), analog.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        crossbar, deployment = import_rpu_config(config, device="ideal", ranges=input_ranges)
    x = torch.randn(1, 16).expand(4000, 16)
    exact = analog.eval()(x)
    noise = analog.train()(x) - exact
    assert float(analog[0].input_range) == pytest.approx(0.7)
    ours = program(model, crossbar, deployment=deployment)(x) - exact
    assert (ours.std(dim=0) / noise.std(dim=0) - 1.0).abs().max() < 4.5 / 4000**0.5
    assert (1.1 * ours.std(dim=0) / noise.std(dim=0) - 1.0).abs().min() > 4.5 / 4000**0.5  # control
    assert ours.mean(dim=0).abs().max() < 4.5 * float(noise.std()) / 4000**0.5


def test_lightning_without_ranges_is_a_plain_state_dict_and_conv1d_has_its_shape():
    net = nn.Sequential(nn.Conv1d(2, 3, 3, bias=False))
    analog, _ = lightning_model(net, clip__type="LEARNABLE_PER_CHANNEL", mapping__max_input_size=4)
    analog[0].learnable_weight_clip.data.fill_(0.1)
    model, ranges = import_aihwkit(nn.Sequential(nn.Conv1d(2, 3, 3, bias=False)), analog.state_dict())
    inputs = torch.randn(4, 2, 9)
    torch.testing.assert_close(model(inputs), analog(inputs))
    assert not ranges
