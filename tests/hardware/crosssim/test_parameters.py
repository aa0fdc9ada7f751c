"""A crossbar's parameters for CrossSim are those that the recorded cases ran with. Needs no CrossSim."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.for_each import for_each

from aimc_robust import Crossbar, Deployment, Parasitics, load_card
from aimc_robust.errors import InputError, MissingDependencyError, UnknownNameError
from aimc_robust.hardware.config.converters import ADC, DAC
from aimc_robust.hardware.config.mapping import WeightMapping
from aimc_robust.hardware.config.ranges import LayerRanges
from aimc_robust.hardware.config.standard_mappings import BitSliced
from aimc_robust.hardware.crosssim.parameters import crosssim_parameters
from aimc_robust.hardware.program import program

DATA = Path(__file__).parents[2] / "golden" / "crosssim_parameters.json"
TABLES = json.loads(DATA.read_text(encoding="utf-8"))
CARDS = {
    "RRAMMilo": "rram-milo2021",
    "RRAMWan": "rram-wan2022",
    "PCMJoshi": "pcm-joshi2020",
    "SONOS": "sonos-agrawal2022",
    None: "rram-milo2021",
}
DAY_S = 86400.0


def recorded(section: str) -> Callable[[Callable], Callable]:
    table = TABLES[section]
    cases = [table["always"] | dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    return for_each("case", cases)


def crossbar_of(case: dict, **more) -> Crossbar:
    """The crossbar that a recorded case describes."""
    mapping: str | WeightMapping = {"OFFSET": "offset", "BALANCED": "one-sided"}.get(case["style"], "one-sided")
    if case["balanced_style"] == "TWO_SIDED":
        mapping = "two-sided"
    if case["style"] == "BITSLICED":
        mapping = BitSliced(weight_bits=case["weight_bits"], slices=case["num_slices"])
    device = case.get("device")
    unit = 100.0 if device == "SONOS" else 1.0  # nA at 0.1 V, per uS
    return Crossbar(
        CARDS[device],
        window=(case["g_min_uS"] * unit, case["g_max_uS"] * unit),
        mapping=mapping,
        cell_bits=case["cell_bits"],
        weight_percentile=case["weight_percentile_fraction"],
        rows=case["rows_max"],
        error_scale=0.0 if device is None else 1.0,
        read_noise=False,
        **more,
    )


def check_mapping(tree: dict, case: dict) -> None:
    core, device = tree["core"], tree["xbar"]["device"]
    assert core["style"] == case["style"]
    assert (core["rows_max"], core["cols_max"]) == (case["rows_max"], 0)
    if case["style"] == "BALANCED":
        assert core["balanced"] == {"style": case["balanced_style"]}
    if case["style"] == "OFFSET":
        assert core["offset"] == {"style": case["offset_style"]}
    if case["style"] == "BITSLICED":
        assert core["weight_bits"] == case["weight_bits"]
        assert core["bit_sliced"] == {"style": "BALANCED", "num_slices": case["num_slices"]}
        assert core["balanced"] == {"style": "ONE_SIDED"}
    percentile = case["weight_percentile_fraction"]
    assert core["mapping"]["weights"] == {"clipping": True, "min": None, "max": None, "percentile": percentile}
    assert device["cell_bits"] == case["cell_bits"]
    assert device["Rmin"] == pytest.approx(1e6 / case["g_max_uS"], rel=1e-12)
    assert device["infinite_on_off_ratio"] is (case["g_min_uS"] == 0)
    if case["g_min_uS"] > 0:
        assert device["Rmax"] == pytest.approx(1e6 / case["g_min_uS"], rel=1e-12)
    assert device["clip_conductance"] is case.get("clip_to_range", False)


def check_device(tree: dict, case: dict) -> None:
    device, model, days = tree["xbar"]["device"], case["device"], case["time_days"] or 0.0
    assert device["time"] == pytest.approx(days, rel=1e-12)
    assert device["programming_error"]["enable"] is (model is not None)
    assert device["programming_error"]["model"] == (model or "IdealDevice")
    assert device["drift_error"]["enable"] is (days > 0)
    assert device["drift_error"]["model"] == (model if days > 0 else "IdealDevice")
    assert device["read_noise"]["enable"] is False
    if model == "SONOS":
        assert device["Vread"] == 0.1


def converters_of(case: dict) -> dict:
    kind = {"IdealDAC": "ideal", "SignMagnitudeDAC": "sign-magnitude"}.get(case["dac"])
    kind = kind or ("signed" if case["signed"] else "unsigned")
    dac = DAC(bits=case["dac_bits"], kind=kind, full_scale=case["x_max"], slice_bits=case["slice_bits"] or 0)
    if case["adc"] == "IdealADC":
        return {"dac": dac}
    kind = "sign-magnitude" if case["adc"] == "SignMagnitudeADC" else "uniform"
    output_range = (case["adc_min"], case["adc_max"])
    adc = ADC(bits=case["adc_bits"], kind=kind, range=output_range, per_slice=bool(case["adc_per_slice"]))
    return {"dac": dac, "adc": adc}


def check_converters(tree: dict, case: dict) -> None:
    dac, adc = tree["xbar"]["dac"]["mvm"], tree["xbar"]["adc"]["mvm"]
    inputs = tree["core"]["mapping"]["inputs"]["mvm"]
    assert (dac["model"], dac["bits"]) == (case["dac"], case["dac_bits"])
    assert inputs["max"] == case["x_max"]
    if case["dac"] == "IdealDAC":  # CrossSim's scale is k / (max - min), k = 2 if signed else 1: 1 / max either way
        assert (2 if dac["signed"] else 1) / (inputs["max"] - inputs["min"]) == pytest.approx(1 / case["x_max"])
    else:
        assert (dac["signed"], inputs["min"]) == (case["signed"], case["x_min"])
    assert dac["input_bitslicing"] is (case["slice_bits"] is not None)
    assert dac.get("slice_size") == case["slice_bits"]
    assert (adc["model"], adc["bits"]) == (case["adc"], case["adc_bits"])
    if case["adc"] != "IdealADC":
        assert adc["adc_range_option"] == "CALIBRATED"
        assert adc["calibrated_range"] == [case["adc_min"], case["adc_max"]]
        assert adc["adc_per_ibit"] is bool(case["adc_per_slice"])
    for pair in (tree["xbar"]["dac"], tree["xbar"]["adc"], tree["core"]["mapping"]["inputs"]):
        assert pair["vmm"] == pair["mvm"]


@pytest.mark.filterwarnings("ignore:.*outside the limits")  # errors are off in these cases: any window will do
@recorded("mapping")
def test_mapping_levels_and_weight_limit_are_those_of_the_case(case):
    check_mapping(crosssim_parameters(crossbar_of(case)), case)


@recorded("programming")
def test_device_window_and_time_are_those_of_the_case(case):
    tree = crosssim_parameters(crossbar_of(case), time_s=case["time_days"] * DAY_S)
    check_mapping(tree, case)
    check_device(tree, case)


@recorded("mvm_converters")
def test_converters_and_input_slices_are_those_of_the_case(case):
    tree = crosssim_parameters(crossbar_of(case, **converters_of(case)))
    check_mapping(tree, case)
    check_converters(tree, case)


@recorded("layers")
@pytest.mark.parametrize("calibrated", [False, True], ids=["given", "calibrated"])
def test_a_layer_has_its_own_ranges_given_or_calibrated(case, calibrated):
    converters, ranges = converters_of(case), None
    if calibrated:
        low, high = case["adc_min"], case["adc_max"]
        ranges = LayerRanges(inputs=(case["x_min"], case["x_max"]), outputs=((low, high),))
        converters = {
            "dac": DAC(bits=case["dac_bits"]),  # unsigned or sign-magnitude, as the inputs say
            "adc": ADC(bits=case["adc_bits"], kind=converters["adc"].kind),
        }
    time_s = (case["time_days"] or 0.0) * DAY_S
    tree = crosssim_parameters(crossbar_of(case, **converters), layer=ranges, time_s=time_s)
    check_mapping(tree, case)
    check_device(tree, case)
    check_converters(tree, case)


def test_the_recorded_cases_cover_every_model_mapping_and_converter():
    columns = {section: TABLES[section]["columns"] for section in TABLES if section != "about"}

    def values(section: str, column: str) -> set:
        return {row[columns[section].index(column)] for row in TABLES[section]["rows"]}

    assert values("mapping", "style") == {"BALANCED", "OFFSET", "BITSLICED"}
    assert values("mapping", "balanced_style") == {"ONE_SIDED", "TWO_SIDED", None}
    assert values("programming", "device") == set(CARDS) - {None}
    assert values("mvm_converters", "dac") == {"QuantizerDAC", "SignMagnitudeDAC", "IdealDAC"}
    assert values("mvm_converters", "adc") == {"QuantizerADC", "SignMagnitudeADC", "IdealADC"}
    assert values("mvm_converters", "slice_bits") == {None, 1, 2}


# Devices --------------------------------------------------------------------------------------------------------------


def changed(library: str, **tables) -> Crossbar:
    """A crossbar of the library's card with other tables; None drops one."""
    card = load_card(library).model_dump(exclude_none=True)
    for key, value in tables.items():
        if value is None:
            del card[key]
        else:
            card[key] = {**card[key], **value} if isinstance(value, dict) else value
    return Crossbar(load_card(card))


def test_a_card_is_known_by_its_numbers_whatever_its_name():
    tree = crosssim_parameters(changed("rram-milo2021", name="ours-2031"))
    assert tree["xbar"]["device"]["programming_error"]["model"] == "RRAMMilo"


@pytest.mark.parametrize(
    ("crossbar", "law"),
    [
        (lambda: changed("rram-milo2021", programming={"coefficients": [4.782321, -0.0091]}), "programming"),
        (lambda: changed("rram-milo2021", programming={"distribution": "uniform"}), "programming"),
        (lambda: changed("rram-milo2021", programming={"clip": "window"}), "programming"),
        (lambda: changed("sonos-agrawal2022", read={"amplitude": 12.0}), "read"),
        (lambda: changed("sonos-agrawal2022", drift=None), "drift"),
    ],
)
def test_a_shipped_card_with_other_numbers_is_refused_by_what_differs(crossbar, law):
    with pytest.raises(InputError, match=rf"card's {law}"):
        crosssim_parameters(crossbar())


@pytest.mark.parametrize(
    "name", ["pcm-nandakumar2019", "rram-wan2022-drift", "reram-cmo-falcone2025", "reram-cmo-falcone2025-2pct"]
)
def test_a_card_that_crosssim_lacks_is_refused_by_name(name):
    with pytest.raises(InputError, match=f"no model of the card '{name}'.*native backend"):
        crosssim_parameters(Crossbar(name))


@pytest.mark.parametrize(
    ("name", "model", "magnitude"),
    [
        ("ideal", "IdealDevice", 0.0),
        ("independent-gaussian", "NormalIndependentDevice", 0.05),
        ("independent-uniform", "UniformIndependentDevice", 0.05 * math.sqrt(12)),
        ("proportional-gaussian", "NormalProportionalDevice", 0.05),
        ("proportional-uniform", "UniformProportionalDevice", 0.05 * math.sqrt(12)),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_a_generic_card_has_the_magnitude_of_its_error_and_scale(name, model, magnitude, scale):
    error = crosssim_parameters(Crossbar(name, error_scale=scale))["xbar"]["device"]["programming_error"]
    assert (error["model"], error["magnitude"]) == (model, pytest.approx(magnitude * scale))


def test_a_users_card_of_constant_error_in_microsiemens_is_generic_in_units_of_its_full_scale():
    card = changed("rram-milo2021", name="ours", programming={"coefficients": [3.0], "clip": "window"}).device.cell
    device = crosssim_parameters(Crossbar(card, window=(60.0, 150.0)))["xbar"]["device"]
    assert device["programming_error"]["model"] == "NormalIndependentDevice"
    assert device["programming_error"]["magnitude"] == pytest.approx(3.0 / 150.0)
    assert device["clip_conductance"] is True
    assert (device["Rmin"], device["Rmax"]) == (pytest.approx(1e6 / 150), pytest.approx(1e6 / 60))


def test_a_proportional_error_is_relative_whatever_reference_the_card_uses():
    law = {"coefficients": [0.0, 2.0], "reference": 100.0}
    card = changed("rram-milo2021", name="ours", programming=law).device.cell
    error = crosssim_parameters(Crossbar(card))["xbar"]["device"]["programming_error"]
    assert (error["model"], error["magnitude"]) == ("NormalProportionalDevice", pytest.approx(0.02))


@pytest.mark.parametrize(("device", "high"), [("rram-wan2022", 39.26), ("pcm-joshi2020", 25.0)])
def test_a_window_at_the_end_of_what_a_model_accepts_does_not_exceed_it_when_computed_back(device, high):
    assert 1.0 / crosssim_parameters(Crossbar(device, window=(1.0, high)))["xbar"]["device"]["Rmin"] * 1e6 <= high


def test_read_noise_is_on_for_sonos_unless_it_is_switched_off():
    device = crosssim_parameters(Crossbar("sonos-agrawal2022"))["xbar"]["device"]
    assert device["read_noise"] == {"enable": True, "model": "SONOS", "magnitude": 0.0}
    device = crosssim_parameters(Crossbar("sonos-agrawal2022", read_noise=False))["xbar"]["device"]
    assert device["read_noise"]["enable"] is False


# What CrossSim cannot express -----------------------------------------------------------------------------------------


OFFSET_UNSIGNED = Crossbar(
    "ideal",
    mapping="offset",
    dac=DAC(bits=4, kind="unsigned", full_scale=1.0),
    adc=ADC(bits=4, kind="sign-magnitude", range="worst-case"),
)
SONOS = "sonos-agrawal2022"


@pytest.mark.filterwarnings("ignore:.*outside the limits")
@pytest.mark.parametrize(
    ("crossbar", "time_s", "match"),
    [
        (lambda: Crossbar("rram-milo2021", scaling="column"), 0, "'column'"),
        (lambda: Crossbar("rram-milo2021", stuck=(0.01, 0.0)), 0, "stuck"),
        (lambda: Crossbar("rram-milo2021", error_scale=2.0), 0, "error_scale.*2"),
        (lambda: Crossbar(SONOS, error_scale=0.0), DAY_S, "error_scale.*0"),
        (lambda: Crossbar("rram-milo2021", window=(40.0, 225.0)), 0, "40.*225.*50.*225"),
        (lambda: Crossbar("rram-wan2022", window=(1.0, 40.0)), 0, "1.*40.*39.26"),
        (lambda: Crossbar(SONOS, window=(0.0, 4000.0)), 0, "0.*4000.*3200"),
        (lambda: Crossbar(SONOS, window=(0.0, 1800.0)), DAY_S, "1800"),
        (lambda: Crossbar("rram-milo2021"), 60.0, "time_s = 60"),
        (lambda: Crossbar(SONOS), -1.0, "time_s"),
        (lambda: Crossbar("ideal", dac=DAC(bits=8)), 0, "ranges"),
        (lambda: Crossbar("ideal", adc=ADC(bits=8)), 0, "ranges"),
        (lambda: OFFSET_UNSIGNED, 0, "mapping"),
        (lambda: Crossbar("ideal", output_noise=0.1), 0, "output_noise.*native backend"),
        (lambda: Crossbar("ideal", dac=DAC(kind="ideal", noise=0.1)), 0, "noise of the DAC"),
        (lambda: Crossbar("ideal", adc=ADC(bits=4, range="worst-case", inl=0.1)), 0, "inl.*native backend"),
        (lambda: Crossbar("ideal", adc=ADC(bits=0, range=(-1.0, 1.0))), 0, "without rounding"),
    ],
)
def test_what_crosssim_lacks_is_refused_by_name(crossbar, time_s, match):
    with pytest.raises(InputError, match=match):
        crosssim_parameters(crossbar(), time_s=time_s)


def test_converter_ranges_that_crosssim_cannot_have_are_refused():
    adc = ADC(bits=6, kind="sign-magnitude")
    lopsided = LayerRanges(inputs=(0.0, 1.0), outputs=((-1.0, 2.0),))
    with pytest.raises(InputError, match=r"0.*got -1.*2"):
        crosssim_parameters(Crossbar("ideal", adc=adc), layer=lopsided)
    with pytest.raises(InputError, match="ranges"):
        crosssim_parameters(Crossbar("ideal", mapping="bit-sliced", adc=ADC(bits=6)), layer=lopsided)


def test_bit_sliced_ranges_are_one_for_each_weight_slice():
    outputs = ((-1.0, 1.0), (-3.0, 2.0))
    layer = LayerRanges(inputs=(-1.0, 1.0), outputs=outputs)
    tree = crosssim_parameters(Crossbar("ideal", mapping="bit-sliced", adc=ADC(bits=6)), layer=layer)
    assert tree["xbar"]["adc"]["mvm"]["calibrated_range"] == [list(output) for output in outputs]
    same = ADC(bits=6, range=(-1.0, 1.0))
    tree = crosssim_parameters(Crossbar("ideal", mapping="bit-sliced", adc=same), layer=layer)
    assert tree["xbar"]["adc"]["mvm"]["calibrated_range"] == [[-1.0, 1.0]] * 2


def test_the_worst_case_is_left_to_crosssim_which_knows_each_arrays_size():
    dac = DAC(bits=8, kind="unsigned", full_scale=2.0)
    adc = ADC(bits=8, range="worst-case", per_slice=True)
    values = crosssim_parameters(Crossbar("ideal", dac=dac, adc=adc))["xbar"]["adc"]["mvm"]
    assert values["adc_range_option"] == "MAX"
    assert values["adc_per_ibit"] is False  # there are no input slices


# Parameters of CrossSim's own -----------------------------------------------------------------------------------------

PARASITIC = {"xbar": {"array": {"parasitics": {"enable": True, "Rp_row": 0.5}}}}
CURVED = {"xbar": {"device": {"nonlinear_IV": {"enable": True, "model": "RRAMMilo"}, "Vread": 0.2}}}


def test_parameters_of_crosssims_own_are_merged_last_and_the_rest_stays():
    plain = crosssim_parameters(Crossbar("rram-milo2021"))
    tree = crosssim_parameters(Crossbar("rram-milo2021", crosssim=PARASITIC), extra=CURVED)
    assert tree["xbar"]["array"] == PARASITIC["xbar"]["array"]
    assert tree["xbar"]["device"].pop("nonlinear_IV") == CURVED["xbar"]["device"]["nonlinear_IV"]
    assert tree["xbar"]["device"] == plain["xbar"]["device"] | {"Vread": 0.2}
    assert tree["core"] == plain["core"]


def test_the_parameters_are_plain_values_of_their_own():
    crossbar = Crossbar(
        SONOS, mapping="bit-sliced", adc=ADC(bits=6, range=(-1.0, 1.0)), dac=DAC(bits=6, full_scale=1.0)
    )
    layer = LayerRanges(inputs=(-1.0, 1.0), outputs=((-1.0, 1.0), (-1.0, 1.0)))
    tree = crosssim_parameters(crossbar, layer=layer, extra={"simulation": {"Niters_max_parasitics": 50}})
    assert json.loads(json.dumps(tree)) == tree
    tree["xbar"]["adc"]["mvm"]["calibrated_range"].clear()
    assert crosssim_parameters(crossbar, layer=layer)["xbar"]["adc"]["mvm"]["calibrated_range"]


@pytest.mark.parametrize(
    ("crossbar", "extra", "match"),
    [
        (Crossbar("rram-milo2021"), {"simulation": {"useGPU": True}}, "simulation.useGPU.*CPU"),
        (Crossbar("rram-milo2021"), {"xbar": {"adc": {"vmm": {"bits": 3}}}}, "xbar.adc.vmm.*set mvm"),
        (Crossbar("rram-milo2021"), {"xbar": {"adc": {"_match": False}}}, "_match"),
        (Crossbar("rram-milo2021"), {"xbar": 3}, "xbar.* is a table"),
        (Crossbar("rram-milo2021"), {"core": {"rows_max": {"a": 1}}}, "rows_max"),
        (Crossbar("rram-milo2021", mapping="bit-sliced"), PARASITIC, "bit-sliced"),
        (Crossbar("ideal"), PARASITIC, "ohms"),
        (Crossbar("rram-milo2021"), {"xbar": {"device": {"nonlinear_IV": {"enable": True}}}}, "without a model"),
    ],
)
def test_what_would_fail_or_be_passed_over_in_crosssim_is_refused(crossbar, extra, match):
    with pytest.raises(InputError, match=match):
        crosssim_parameters(crossbar, extra=extra)


def test_a_relative_card_takes_parasitics_with_resistances_of_its_own():
    extra = {"xbar": {"array": PARASITIC["xbar"]["array"], "device": {"Rmin": 5000.0, "Rmax": 50000.0}}}
    assert crosssim_parameters(Crossbar("ideal"), extra=extra)["xbar"]["device"]["Rmin"] == 5000.0


def test_parasitic_resistances_are_crosssims_in_ohm():
    wires = Parasitics(row_ohm=2.0, column_ohm=1.0, column_terminal_ohm=30.0, interleaved=True)
    tree = crosssim_parameters(Crossbar("rram-milo2021", parasitics=wires))
    assert tree["xbar"]["array"]["parasitics"] == pytest.approx(
        {"enable": True, "Rp_row": 2.0, "Rp_col": 1.0, "Rp_col_terminal": 30.0}
    )
    assert tree["core"]["balanced"]["interleaved_posneg"] is True
    relative = crosssim_parameters(Crossbar("ideal", parasitics=Parasitics(row_ohm=2.0, device_ohm=1e4)))
    assert relative["xbar"]["array"]["parasitics"]["Rp_row"] / relative["xbar"]["device"]["Rmin"] == pytest.approx(2e-4)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"parasitics": Parasitics(row_terminal_ohm=2.0)}, "row_terminal_ohm"),
        ({"parasitics": Parasitics(row_ohm=2.0), "mapping": "bit-sliced"}, "bit-sliced"),
    ],
)
def test_parasitic_resistances_that_crosssim_gets_wrong_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        crosssim_parameters(Crossbar("rram-milo2021", **options))


def test_an_unknown_key_is_refused_with_the_nearest_one():
    pytest.importorskip("simulator", reason="CrossSim 3.2 is not installed; it knows its own parameters")
    misspelt = {"xbar": {"array": {"parasitics": {"Rp_roww": 1.0}}}}
    with pytest.raises(UnknownNameError, match=r"'xbar.array.parasitics.Rp_row'"):
        crosssim_parameters(Crossbar("rram-milo2021"), extra=misspelt)
    ramp = {"xbar": {"adc": {"mvm": {"model": "RampADC", "bits": 8, "sigma_comparator": 0.1}}}}
    assert crosssim_parameters(Crossbar("ideal"), extra=ramp)["xbar"]["adc"]["vmm"]["sigma_comparator"] == 0.1


def test_without_crosssim_the_backend_says_how_to_install_it(monkeypatch):
    from torch import nn

    monkeypatch.setitem(sys.modules, "simulator", None)
    with pytest.raises(MissingDependencyError, match=r"v3\.2\.0"):
        program(nn.Linear(3, 2), Crossbar("ideal"), deployment=Deployment(backend="crosssim"))
    assert crosssim_parameters(Crossbar("ideal"), extra={"core": {"later_version": 1}})["core"]["later_version"] == 1


def test_a_mapping_of_ones_own_is_refused():
    class Upside(WeightMapping):
        signs = (1.0,)

        def to_states(self, u, g_min, cell_bits):
            yield u.abs()

        def factors(self, g_min, cell_bits):
            return (1.0,), 0.0

    with pytest.raises(InputError, match="mapping"):
        crosssim_parameters(Crossbar("ideal", mapping=Upside()))
