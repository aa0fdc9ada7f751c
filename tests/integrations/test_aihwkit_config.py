"""RPUConfigs as crossbars: resolutions, bounds and scales by their definition; what is not simulated is named."""

import dataclasses
import warnings
from enum import Enum
from types import SimpleNamespace as Settings

import pytest
from support.for_each import for_each

from aimc_robust import ADC, DAC, ConverterRanges, Crossbar, Deployment, LayerRanges, Periphery, import_rpu_config
from aimc_robust.errors import InputError, UnknownNameError


class NoiseManagementType(Enum):
    """As aihwkit's."""

    NONE = "None"
    ABS_MAX = "AbsMax"
    CONSTANT = "Constant"


RANGE = {"input_range": {"enable": True}}
NOT_NAMED = object()


def translated(device="ideal", **sections) -> tuple[Crossbar, Deployment]:
    """The crossbar of a dict with these sections, none of which may lead to a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return import_rpu_config(sections, device=device)


def periphery(**sections) -> tuple[DAC | None, ADC | None]:
    converters = translated(**sections)[0].periphery
    return converters.dac, converters.adc


def not_simulated(device="ideal", **sections) -> str:
    with pytest.warns(UserWarning, match="^not simulated as in aihwkit: ") as warned:
        import_rpu_config(sections, device=device)
    assert len(warned) == 1
    return str(warned[0].message)


# Converters -----------------------------------------------------------------------------------------------------------


@for_each("bits", [2, 5, 8, 12, 16])
@for_each("inverse", [False, True])
def test_a_resolution_in_steps_or_their_reciprocal_is_that_many_bits(bits, inverse):
    steps = 2**bits - 2
    resolution = 1 / steps if inverse else steps
    dac, adc = periphery(forward={"inp_res": resolution, "out_res": resolution, "out_bound": 2.0}, pre_post=RANGE)
    assert dac == DAC(bits=bits, kind="sign-magnitude")
    assert adc == ADC(bits=bits, kind="sign-magnitude", range=(-2.0, 2.0))
    assert adc.steps == steps


@for_each("resolution", [0, -1, -0.1, NOT_NAMED])
def test_a_resolution_of_0_or_below_is_off_and_a_range_or_bound_alone_clips(resolution):
    forward = {} if resolution is NOT_NAMED else {"inp_res": resolution, "out_res": resolution}
    assert periphery(forward=forward) == (None, None)
    assert periphery(forward=forward, pre_post=RANGE) == (DAC(bits=16, kind="sign-magnitude"), None)
    bounded = {**forward, "inp_bound": 3.0, "out_bound": 4.0}
    dac, adc = periphery(forward=bounded)
    assert dac == DAC(bits=16, kind="sign-magnitude", full_scale=3.0)
    assert adc == ADC(bits=0, kind="sign-magnitude", range=(-4.0, 4.0))


@pytest.mark.parametrize(
    ("forward", "match"),
    [
        ({"inp_res": 255, "inp_bound": 1.0}, "forward.inp_res = 255"),
        ({"out_res": 1 / 127, "out_bound": 1.0}, "forward.out_res.*127 steps"),
        ({"inp_res": 1.0, "inp_bound": 1.0}, "forward.inp_res = 1 "),
        ({"inp_res": 2.0**17 - 2, "inp_bound": 1.0}, "forward.inp_res.*16"),
        ({"inp_res": 254}, "forward.inp_res needs a forward.inp_bound"),
        ({"out_res": 254}, "forward.out_res needs a forward.out_bound"),
        ({"inp_res": "8 bits"}, "forward.inp_res must be a finite number.*8 bits"),
        ({"out_bound": float("inf")}, "forward.out_bound must be a finite number"),
        ({"out_scale": 2.0}, "forward.out_scale = 2"),
    ],
)
def test_a_setting_of_the_converters_that_has_no_counterpart_is_refused_by_name(forward, match):
    with pytest.raises(InputError, match=match):
        import_rpu_config({"forward": forward}, device="ideal")


@pytest.mark.parametrize(
    ("sections", "match"),
    [
        ({"forward": 3}, "forward must hold settings.*got 3"),
        ({"forward": {"is_perfect": "no"}}, "forward.is_perfect must be true or false.*no"),
        ({"pre_post": {"input_range": {"enable": "no"}}}, "pre_post.input_range.enable must be true or false"),
        ({"mapping": {"weight_scaling_omega": "1"}, "forward": {"out_bound": 1.0}}, "mapping.weight_scaling_omega"),
        ({"drift_compensation": 7}, "drift_compensation must be an object.*7"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(sections, match):
    with pytest.raises(InputError, match=match):
        import_rpu_config(sections, device="ideal")


def test_an_input_range_needs_an_input_bound_of_1():
    assert periphery(forward={"inp_res": 30, "inp_bound": 1.0}, pre_post=RANGE)[0] == DAC(bits=5, kind="sign-magnitude")
    with pytest.raises(InputError, match=r"forward.inp_bound must be 1.*got 2"):
        import_rpu_config({"forward": {"inp_res": 30, "inp_bound": 2.0}, "pre_post": RANGE}, device="ideal")


@for_each("word", [NoiseManagementType.CONSTANT, "Constant", "CONSTANT"])
def test_a_constant_noise_management_scales_the_input_bound(word):
    forward = {"inp_res": 30, "inp_bound": 2.0, "noise_management": word}
    assert periphery(forward=forward)[0].full_scale == 2.0
    assert periphery(forward={**forward, "nm_thres": 1.5})[0].full_scale == 3.0


@for_each("word", [NoiseManagementType.ABS_MAX, "AbsMax", "abs_max"])
def test_a_scale_for_each_vector_is_named_and_becomes_a_calibrated_one(word):
    forward = {"inp_res": 30, "inp_bound": 2.0, "noise_management": word}
    assert "forward.noise_management" in not_simulated(forward=forward)
    dynamic = {"input_range": {"enable": True, "dynamic": True}}
    assert "pre_post.input_range.dynamic" in not_simulated(forward={"inp_res": 30}, pre_post=dynamic)
    with pytest.warns(UserWarning, match="noise_management"):
        crossbar, _ = import_rpu_config({"forward": forward}, device="ideal")
    assert crossbar.periphery.dac == DAC(bits=5, kind="sign-magnitude")


def test_a_scale_for_each_vector_without_a_resolution_changes_nothing_and_a_range_still_clips():
    forward = {"noise_management": "AbsMax", "inp_bound": 1.0}
    assert periphery(forward=forward) == (None, None)
    assert periphery(forward=forward, pre_post=RANGE)[0] == DAC(bits=16, kind="sign-magnitude")


def test_a_perfect_forward_pass_has_no_converters_and_no_noise():
    for perfect in ({"is_perfect": True}, {"mv_type": "Ideal"}):
        assert periphery(forward={"inp_res": 30, "inp_bound": 1.0, "out_noise": 0.1, **perfect}) == (None, None)


# Weights --------------------------------------------------------------------------------------------------------------


@for_each("sections", [{"mapping": {"weight_scaling_omega": 0.5}}, {"remap": {"type": "X", "remapped_wmax": 0.5}}])
def test_the_bound_of_outputs_is_in_units_of_the_weight_at_the_end_of_the_window(sections):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if "mapping" in sections else "error")
        crossbar, _ = import_rpu_config({"forward": {"out_bound": 3.0}, **sections}, device="ideal")
        assert crossbar.periphery.adc.range == (-6.0, 6.0)
        window, _ = import_rpu_config({"forward": {"out_bound": 3.0}, **sections}, device="rram-milo2021")  # 50 to 225
    assert window.periphery.adc.range == pytest.approx((-6.0 * 175 / 225, 6.0 * 175 / 225))


def test_a_scale_that_training_moves_is_named_unless_weights_are_remapped():
    mapping, forward = {"weight_scaling_omega": 1.0}, {"out_bound": 3.0}
    assert "mapping.weight_scaling_omega" in not_simulated(mapping=mapping, forward=forward)
    translated(mapping=mapping, forward=forward, remap={"type": "LayerwiseSymmetric"})


def test_a_bound_in_units_of_weights_without_scale_is_named_and_the_adc_is_to_be_calibrated():
    sections = {"forward": {"out_res": 254, "out_bound": 3.0}, "mapping": {"weight_scaling_omega": 0.0}}
    assert "mapping.weight_scaling_omega = 0" in not_simulated(**sections)
    with pytest.warns(UserWarning, match="omega"):
        assert import_rpu_config(sections, device="ideal")[0].periphery.adc == ADC(bits=8)
    sections["forward"] = {"out_noise": 0.1}
    assert "forward.out_noise, which has no unit" in not_simulated(**sections)


def test_noise_of_outputs_has_the_unit_of_their_bound_and_that_of_inputs_the_unit_of_full_scale():
    forward = {"out_noise": 0.04, "out_bound": 10.0, "inp_noise": 0.01, "inp_bound": 2.0, "inp_res": 254}
    remap = {"type": "LayerwiseSymmetric", "remapped_wmax": 0.5}
    crossbar, _ = translated("rram-milo2021", forward=forward, remap=remap)  # 50 to 225 uS
    assert crossbar.periphery.output_noise == pytest.approx(0.04 / 0.5 * 175 / 225)
    assert crossbar.periphery.adc.range[1] / crossbar.periphery.output_noise == pytest.approx(10.0 / 0.04)
    assert crossbar.periphery.dac == DAC(bits=8, kind="sign-magnitude", full_scale=2.0, noise=0.005)


def test_noise_without_bounds_of_the_inputs_is_in_units_of_an_input_of_1():
    crossbar, _ = translated(forward={"inp_noise": 0.02, "out_noise": 0.06})
    assert crossbar.periphery == Periphery(dac=DAC(kind="ideal", full_scale=1.0, noise=0.02), output_noise=0.06)
    assert not crossbar.periphery.needs_calibration
    assert "noise_management" in not_simulated(forward={"inp_noise": 0.02, "noise_management": "AbsMax"})


def test_what_differs_in_the_noise_of_lightning_is_named():
    def told(**options):
        clip = {"type": "LayerGaussianPerChannel"}
        return not_simulated(forward={"out_noise": 0.1, **options}, mapping={"max_input_size": 64}, clip=clip)

    assert "divides by the root of the number of arrays" in told(out_noise_per_channel=True)
    assert "out_noise_per_channel = False" in told(out_noise_per_channel=False)
    assert "out_noise_per_channel" not in told(out_noise_per_channel=True)
    assert "forward.out_noise_std" in not_simulated(forward={"out_noise": 0.1, "out_noise_std": 0.3})


@pytest.mark.parametrize(
    ("sections", "scaling"),
    [
        ({"mapping": {"weight_scaling_columnwise": True, "weight_scaling_omega": 1.0}}, "column"),
        ({"mapping": {"weight_scaling_columnwise": True, "weight_scaling_omega": 0.0}}, "layer"),
        ({"mapping": {"weight_scaling_columnwise": False, "weight_scaling_omega": 1.0}}, "layer"),
        ({"remap": {"type": "ChannelwiseSymmetric"}}, "column"),
        ({"remap": {"type": "LayerwiseSymmetric"}}, "layer"),
        ({"clip": {"type": "LayerGaussianPerChannel"}}, "column"),
        ({"clip": {"type": "LayerGaussian"}}, "layer"),
    ],
)
def test_a_scale_for_each_output(sections, scaling):
    assert translated(**sections)[0].weights.scaling == scaling


@for_each("size", ["512", 0.5, -2, True])
def test_a_size_that_is_none_is_refused_by_name(size):
    with pytest.raises(InputError, match=r"mapping\.max_input_size must be a whole number"):
        import_rpu_config({"mapping": {"max_input_size": size}}, device="ideal")


@pytest.mark.parametrize(("size", "rows"), [(512, 512), (0, 0), (-1, 0)])
def test_array_sizes_and_analog_biases(size, rows):
    crossbar, _ = translated(mapping={"max_input_size": size, "max_output_size": size, "digital_bias": False})
    assert (crossbar.arrays.rows, crossbar.arrays.columns, crossbar.arrays.bias_rows) == (rows, rows, 1)


# What is not simulated ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sections", "name"),
    [
        *[
            ({"forward": {key: 0.1}}, f"forward.{key} = 0.1")
            for key in ("inp_asymmetry", "out_nonlinearity", "ir_drop", "r_series")
        ],
        ({"forward": {"w_noise": 0.1, "w_noise_type": "PCMRead"}}, "forward.w_noise"),
        ({"forward": {"mv_type": "BitWise"}}, "forward.mv_type = BitWise"),
        ({"forward": {"out_sto_round": True}}, "forward.out_sto_round"),
        ({"forward": {"out_bound": 1.0, "bound_management": "Iterative"}}, "forward.bound_management"),
        ({"modifier": {"type": "AddNormal"}}, "modifier.type = addnormal"),
        ({"modifier": {"noise_type": "AddNormalPerChannel"}}, "modifier.noise_type"),
        ({"modifier": {"quantization_type": "Discretize"}}, "modifier.quantization_type"),
        ({"act_quant_config": Settings(n_bits=8), "forward": {}}, "act_quant_config"),
        ({"pre_post": {"periph_quant": {"n_bits": 8}}}, "pre_post.periph_quant"),
    ],
)
def test_what_is_not_simulated_is_named(sections, name):
    assert name in not_simulated(**sections)


def test_values_that_are_off_need_no_words():
    off = {
        "forward": {"out_noise": 0.0, "w_noise": 0.0175, "w_noise_type": "None", "ir_drop": 0, "mv_type": "OnePass"},
        "modifier": {"type": "None", "std_dev": 0.1, "noise_type": None},
        "runtime": {"offload_input": True},
    }
    assert translated(**off) == translated(forward={})
    assert translated(**off, mapping={"max_input_size": 64}) != translated(forward={})


def test_a_misspelt_setting_of_a_dict_is_refused_with_the_nearest_one():
    with pytest.raises(UnknownNameError, match=r"'forward.inp_rez'.*'forward.inp_res'"):
        import_rpu_config({"forward": {"inp_rez": 254}}, device="ideal")
    with pytest.raises(UnknownNameError, match=r"'foward'.*'forward'"):
        import_rpu_config({"foward": {}, "mapping": {}}, device="ideal")
    with pytest.raises(UnknownNameError, match=r"'pre_post.input_range.enabel'.*'pre_post.input_range.enable'"):
        import_rpu_config({"pre_post": {"input_range": {"enabel": True}}}, device="ideal")


@pytest.mark.filterwarnings("ignore:not simulated")
def test_a_window_outside_the_cards_limits_is_warned_of_once():
    noise_model = {"class": "ReRamCMONoiseModel", "g_max": 100.0}
    with pytest.warns(UserWarning, match="outside the limits") as warned:
        import_rpu_config({"noise_model": noise_model, "forward": {"out_bound": 3.0}})
    assert sum("outside the limits" in str(w.message) for w in warned) == 1


def test_an_unknown_setting_of_an_object_is_named():
    config = Settings(forward=Settings(inp_res=30, inp_bound=1.0, of_a_later_version=3))
    with pytest.warns(UserWarning, match="forward.of_a_later_version, which is not known"):
        crossbar, _ = import_rpu_config(config, device="ideal")
    assert crossbar.periphery.dac.bits == 5


@for_each("config", [3, None, {}, {"weights": 1}, Settings(a=1)])
def test_something_else_is_refused(config):
    with pytest.raises(InputError, match="expected an RPUConfig"):
        import_rpu_config(config, device="ideal")


# Device and deployment ------------------------------------------------------------------------------------------------


def test_a_configuration_without_a_noise_model_needs_a_device():
    with pytest.raises(InputError, match=r"no noise_model.*device="):
        import_rpu_config({"forward": {}})
    assert import_rpu_config({"noise_model": "PCMLikeNoiseModel"})[0].device.cell.name == "pcm-nandakumar2019"
    given, _ = import_rpu_config({"noise_model": "PCMLikeNoiseModel"}, device="rram-wan2022")
    assert given.device.cell.name == "rram-wan2022"


def test_the_deployment_has_the_compensation_and_the_ranges():
    compensation = type("GlobalDriftCompensation", (), {})()
    ranges = ConverterRanges({"fc": LayerRanges(inputs=(-1.0, 1.0))})
    for value in (compensation, "GlobalDriftCompensation", {"class": "GlobalDriftCompensation"}):
        _, deployment = import_rpu_config({"drift_compensation": value}, device="ideal", ranges=ranges)
        assert deployment == Deployment(ranges=ranges, compensation=("drift",))
    assert translated(forward={}, drift_compensation=None)[1].compensation == ()
    with pytest.raises(InputError, match="drift_compensation: PerColumnDriftCompensation"):
        import_rpu_config({"drift_compensation": "PerColumnDriftCompensation"}, device="ideal")


# aihwkit-lightning, live ----------------------------------------------------------------------------------------------


def test_an_rpu_config_of_lightning_as_an_object_and_as_its_dict():
    configs = pytest.importorskip(
        "aihwkit_lightning.simulator.configs", reason="aihwkit-lightning (torch==2.13.0) is not installed"
    )
    config = configs.TorchInferenceRPUConfig()
    config.forward.inp_res, config.forward.out_res, config.forward.out_bound = 254, 1 / 510, 8.0
    config.mapping.max_input_size, config.pre_post.input_range.enable = 512, True
    config.clip.type = configs.WeightClipType.LAYER_GAUSSIAN_PER_CHANNEL
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        crossbar, deployment = import_rpu_config(config, device="pcm-nandakumar2019")
        assert import_rpu_config(dataclasses.asdict(config), device="pcm-nandakumar2019")[0] == crossbar
    expected = Crossbar(
        "pcm-nandakumar2019",
        rows=512,
        scaling="column",
        dac=DAC(bits=8, kind="sign-magnitude"),
        adc=ADC(bits=9, kind="sign-magnitude", range=(-8.0, 8.0)),
    )
    assert (crossbar, deployment) == (expected, Deployment())
