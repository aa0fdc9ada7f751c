"""calibrate(): ranges from data, what they cover, and what is refused."""

import json

import pytest
import torch
from support.for_each import for_each
from support.models import fill, images, small_model
from torch import Tensor, nn

from aimc_robust import (
    ADC,
    DAC,
    BitSliced,
    ConverterRanges,
    Crossbar,
    Deployment,
    FaultMap,
    LayerRanges,
    Parasitics,
    attribute,
    calibrate,
    evaluate,
    program,
)
from aimc_robust.errors import DataError, InputError, UnknownNameError
from aimc_robust.hardware.calibration.observation import MAX_EXACT, SeenValues
from aimc_robust.hardware.config.standard_mappings import OneSided
from aimc_robust.hardware.layers.array_layer import ArrayLayer

OPEN = Crossbar("rram-milo2021", rows=7, dac=DAC(bits=8), adc=ADC(bits=8))


def layers(model: nn.Module) -> dict[str, ArrayLayer]:
    return {module.name: module for module in model.modules() if isinstance(module, ArrayLayer)}


def programmed(model: nn.Module, crossbar: Crossbar, ranges: ConverterRanges) -> nn.Module:
    return program(model, crossbar, deployment=Deployment(ranges=ranges))


def observed(
    model: nn.Module, crossbar: Crossbar, x: Tensor, ranges: ConverterRanges | None = None
) -> dict[tuple[str, str, int], Tensor]:
    """All that the arrays of a chip without errors see: behind DACs where there are ranges, without where not."""
    analog, seen = programmed(model, crossbar.replace(error_scale=0.0), ranges), {}

    def note(name: str):
        def observer(kind: str, bank: int, values: Tensor) -> None:
            seen.setdefault((name, kind, bank), []).append(values.detach().flatten())

        return observer

    for name, layer in layers(analog).items():
        layer.observer = note(name)
    analog(x)
    return {key: torch.cat(parts) for key, parts in seen.items()}


@pytest.mark.parametrize("mapping", ["one-sided", "offset", BitSliced(weight_bits=8, slices=2)], ids=str)
def test_percentile_1_covers_everything_and_no_more(mapping):
    crossbar = Crossbar("rram-milo2021", mapping=mapping, rows=7, dac=DAC(bits=8), adc=ADC(bits=8))
    model, x = small_model(), images(20)
    calibrated = calibrate(model, crossbar, [x[:8], x[8:]], percentile=1.0)
    seen, undisturbed = observed(model, crossbar, x, calibrated), observed(model, crossbar, x)
    for name, ranges in calibrated.items():
        values = undisturbed[name, "input", 0]
        low, high = float(values.min()), float(values.max())
        assert ranges.inputs == pytest.approx((0.0 if low >= 0 else low, high), rel=1e-5)
        assert len(ranges.outputs) == crossbar.weights.mapping.banks
        for bank, output in enumerate(ranges.outputs):
            values = seen[name, "current", bank]
            assert output == pytest.approx((float(values.min()), float(values.max())), rel=1e-4)


def test_a_smaller_percentile_gives_narrower_ranges():
    model, x = small_model(), images(50)
    wide, narrow = (calibrate(model, OPEN, [x], percentile=p) for p in (1.0, 0.95))
    for name, ranges in narrow.items():
        assert ranges.full_scale < wide[name].full_scale
        (low, high), (least, most) = ranges.outputs[0], wide[name].outputs[0]
        assert least < low < high < most


def test_the_ranges_are_used():
    model, x = small_model(), images(20)
    crossbar = Crossbar("ideal", dac=DAC(bits=10), adc=ADC(bits=10))
    calibrated = calibrate(model, crossbar, [x], percentile=1.0)
    with torch.no_grad():
        want = model.eval()(x)
        error = (programmed(model, crossbar, calibrated)(x) - want).abs().max() / want.abs().max()
        assert float(error) < 0.02
        squeezed = {
            name: LayerRanges(inputs=(ranges.inputs[0] / 3, ranges.inputs[1] / 3), outputs=ranges.outputs)
            for name, ranges in calibrated.items()
        }
        assert float((programmed(model, crossbar, squeezed)(x) - want).abs().max() / want.abs().max()) > 0.2


def test_auto_dac_is_unsigned_where_no_input_was_negative_and_sign_magnitude_elsewhere():
    model, x = small_model(), images(20)
    calibrated = calibrate(model, OPEN, [x])
    found = layers(programmed(model, OPEN, calibrated))
    assert {name: layer.dac_kind for name, layer in found.items()} == {"0": "sign-magnitude", "4": "unsigned"}
    positive = layers(programmed(model, OPEN, calibrate(model, OPEN, [x.abs()])))
    assert positive["0"].dac_kind == "unsigned"


def test_a_sign_magnitude_adc_gets_a_symmetric_range():
    crossbar = Crossbar("rram-milo2021", dac=DAC(bits=8), adc=ADC(bits=8, kind="sign-magnitude"))
    for ranges in calibrate(small_model(), crossbar, [images(20)]).values():
        low, high = ranges.outputs[0]
        assert low == -high


def test_a_fixed_dac_and_adc_need_no_calibration_and_a_worst_case_adc_only_its_unit():
    fixed = Crossbar("ideal", dac=DAC(bits=8, kind="signed", full_scale=4.0), adc=ADC(bits=8, range=(-1.0, 1.0)))
    assert not fixed.periphery.needs_calibration
    program(small_model(), fixed)(images(2))
    unit_open = Crossbar("ideal", adc=ADC(bits=8, range="worst-case"))
    assert unit_open.periphery.needs_calibration
    calibrated = calibrate(small_model(), unit_open, [images(5)])
    assert all(ranges.outputs == () for ranges in calibrated.values())
    programmed(small_model(), unit_open, calibrated)(images(2))


@pytest.mark.parametrize("mapping", ["one-sided", "two-sided", "offset", BitSliced(weight_bits=8, slices=2)], ids=str)
@pytest.mark.parametrize("dac", [DAC(bits=8), DAC(bits=8, kind="signed"), DAC(bits=8, slice_bits=2)], ids=str)
def test_a_worst_case_adc_never_clips(mapping, dac):
    # Every input at full scale, every weight at the end of the window: the largest current there can be.
    model = nn.Sequential(nn.Linear(12, 2, bias=False))
    with torch.no_grad():
        model[0].weight[0], model[0].weight[1] = 1.0, -1.0
    for sign in (1.0, -1.0):
        x = torch.full((4, 12), sign)
        data = torch.cat([x, -x]) if dac.kind == "signed" or sign < 0 else x
        crossbar = Crossbar("ideal", mapping=mapping, rows=5, dac=dac, adc=ADC(bits=12, range="worst-case"))
        y = programmed(model, crossbar, calibrate(model, crossbar, [data], percentile=1.0))(x)
        torch.testing.assert_close(y, model(x), rtol=0, atol=0.02)


@pytest.mark.parametrize("batches", [[], [torch.zeros(0, 1, 6, 6)], [torch.zeros(2, 1, 6, 6), torch.zeros(0, 1, 6, 6)]])
def test_no_data_is_refused(batches):
    with pytest.raises(DataError, match="at least one batch of inputs"):
        calibrate(small_model(), OPEN, batches)


def test_a_layer_that_never_runs_gets_no_ranges_and_raises_when_it_is_called():
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    ready = calibrate(Idle(), OPEN, [torch.randn(3, 4)])
    assert list(ready) == ["used"]
    analog = programmed(Idle(), OPEN, ready)
    analog(torch.randn(3, 4))
    with pytest.raises(InputError, match="'spare'"):
        analog.spare(torch.randn(3, 4))


def test_every_column_is_sampled():
    x = torch.randn(4096, 1024, generator=torch.Generator().manual_seed(0))
    x[:, 1::16] *= 20  # outlier channels, as transformers have them
    ready = calibrate(nn.Linear(1024, 2), Crossbar("ideal", dac=DAC(bits=8)), [x])
    exact = float(x.flatten().sort().values[round(0.9999 * (x.numel() - 1))])
    assert ready["weight"].inputs[1] == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize("percentile", [0.9999, 0.5])
def test_ranges_depend_neither_on_the_batches_of_the_inputs_nor_on_their_order(percentile):
    model = fill(nn.Sequential(nn.Linear(6, 600), nn.ReLU(), nn.Linear(600, 3)))
    x = torch.randn(1000, 6, generator=torch.Generator().manual_seed(1))  # 600 000 values at the second layer
    crossbar = Crossbar("rram-milo2021", rows=64, dac=DAC(bits=8), adc=ADC(bits=8))
    batches = [[x], x.split(40), x.split(600), [x[torch.randperm(1000, generator=torch.Generator().manual_seed(2))]]]
    first, *others = (calibrate(model, crossbar, list(part), percentile=percentile) for part in batches)
    for other in others:
        for name, ranges in first.items():
            assert other[name].inputs == pytest.approx(ranges.inputs, rel=1e-5)  # products are rounded
            assert other[name].outputs[0] == pytest.approx(ranges.outputs[0], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
@pytest.mark.parametrize("split", [1, 2, 50])
def test_quantiles_of_many_values_err_by_a_thousandth_at_most_and_those_of_few_are_exact(split, scale):
    generator = torch.Generator().manual_seed(0)
    for count in (2**18, 2**21):
        values = torch.randn(count, generator=generator).exp_().mul_(scale) - 0.5 * scale
        seen = SeenValues()
        for part in values.chunk(split):
            seen.add(part)
        ordered = values.sort().values
        for percentile in (0.5, 0.9, 0.9999, 1.0):
            ranks = [round(share * (count - 1)) for share in (1.0 - percentile, percentile)]
            exact = [float(ordered[rank]) for rank in ranks]
            error = 0.0 if count <= MAX_EXACT or percentile == 1.0 else 1e-3
            assert seen.span(percentile) == pytest.approx(tuple(exact), rel=error, abs=0.0)


def test_quantiles_of_many_values_are_theirs_where_these_have_few_digits():
    seen = SeenValues()
    seen.add(torch.tensor([-0.0, 0.0, 1.0, -0.5, 3.4e38]).repeat(2**18))
    assert seen.span(0.5) == (0.0, 0.0)
    assert seen.span(0.7) == (0.0, 1.0)
    assert seen.span(0.9) == (-0.5, pytest.approx(3.4e38, rel=1e-3))


OTHER_CROSSBARS = {
    "mapping TwoSided": {"mapping": "two-sided"},
    "mapping OneSided.*slices": {"mapping": "bit-sliced"},
    "window": {"window": (60.0, 225.0)},
    "window.*0.0": {"device": "rram-wan2022"},
    "scaling 'layer'": {"scaling": "column"},
    "rows 7": {"rows": 4},
    "bias_rows 0": {"bias_rows": 1},
    "full scale of the DAC 'calibrated'": {"dac": DAC(bits=8, full_scale=3.0)},
    "dac .*bits=8.*bits=6": {"dac": DAC(bits=6)},
    "adc .*uniform.*sign-magnitude": {"adc": ADC(bits=8, kind="sign-magnitude")},
    "weight_percentile 1.0, .* 0.9": {"weight_percentile": 0.9},
    "fault map 'none'": {"stuck": FaultMap({"4": torch.full((2, 4, 48), torch.inf)})},
}


@pytest.mark.parametrize("message", OTHER_CROSSBARS)
def test_ranges_of_another_crossbar_are_refused_by_the_name_of_what_differs(message):
    model, x, options = small_model(), images(9), OTHER_CROSSBARS[message]
    first = OPEN if "TwoSided" not in message else OPEN.replace(**options)
    second = OPEN.replace(**options) if first is OPEN else OPEN
    ranges = calibrate(model, first, [x])
    deployment, batches = Deployment(ranges=ranges), [(x, torch.zeros(9).long())]
    stored = Deployment(ranges=ConverterRanges.from_json(json.loads(json.dumps(ranges.to_json()))))
    for run in (program, lambda *arguments, **named: evaluate(arguments[0], batches, arguments[1], chips=1, **named)):
        for own in (deployment, stored):
            with pytest.raises(InputError, match=f"found for a crossbar with {message}"):
                run(model, second, deployment=own)
            run(model, first, deployment=own)


OFFSET = OPEN.replace(mapping="offset")
MAPS = [OPEN.replace(stuck=FaultMap({"4": torch.full((2, 4, 48), state)})) for state in (-torch.inf, torch.inf)]


@for_each(
    ("found", "used", "message"),
    [
        (OFFSET, OFFSET.replace(cell_bits=2), "cell_bits 0, but this one has 2"),
        (OFFSET.replace(cell_bits=2), OFFSET.replace(cell_bits=3), "cell_bits 2, but this one has 3"),
        (OPEN.replace(weight_percentile=0.9), OPEN, "weight_percentile 0.9, but this one has 1.0"),
        (MAPS[0], MAPS[1], "fault map"),
        (MAPS[0], OPEN, "fault map .*'none'"),
    ],
)
def test_what_moves_currents_is_refused_both_ways(found, used, message):
    model, x = small_model(), images(9)
    ranges = calibrate(model, found, [x])
    with pytest.raises(InputError, match=message):
        programmed(model, used, ranges)
    programmed(model, found, ranges)(x)


def test_sources_are_attributed_with_the_ranges_of_the_whole_crossbar():
    model, x = small_model(), images(9)
    crossbar = OPEN.replace(
        weight_percentile=0.9, mapping="offset", cell_bits=3, parasitics=Parasitics(column_ohm=5.0), stuck=(0.1, 0.1)
    )
    deployment = Deployment(ranges=calibrate(model, crossbar, [x]))
    found = attribute(model, (x, torch.arange(9) % 4), crossbar, chips=2, deployment=deployment, per_layer=False)
    assert {"clipping", "quantisation", "ir-drop", "stuck", "adc"} <= set(found.table["name"])
    changed = crossbar.replace(weight_percentile=1.0)
    with pytest.raises(InputError, match="weight_percentile"):
        attribute(model, (x, torch.arange(9) % 4), changed, chips=2, deployment=deployment, per_layer=False)


def test_mappings_that_cannot_be_compared_are_the_same_if_their_class_is():
    class Mine(OneSided):
        __eq__, __hash__ = object.__eq__, object.__hash__

    class Other(Mine):
        """The same, under another name."""

    model, x = small_model(), images(9)
    ranges = calibrate(model, OPEN.replace(mapping=Mine()), [x])
    programmed(model, OPEN.replace(mapping=Mine()), ranges)
    with pytest.raises(InputError, match=r"mapping .*Mine.*Other"):
        programmed(model, OPEN.replace(mapping=Other()), ranges)


def test_ranges_do_not_depend_on_errors_columns_or_the_resolution_of_an_adc():
    model, x = small_model(), images(9)
    ranges = calibrate(model, OPEN, [x])
    options = {"columns": 3, "adc": ADC(bits=5), "error_scale": 2.0, "stuck": (0.1, 0.1), "read_noise": False}
    assert calibrate(model, OPEN.replace(**options), [x]) == ranges
    programmed(model, OPEN.replace(**options), ranges)(x)


@pytest.mark.parametrize(
    "off", [{"dac": DAC(kind="ideal")}, {"adc": None}, {"cell_bits": 4}, {"dac": None, "adc": None}]
)
def test_ranges_still_hold_where_a_converter_or_a_rounding_is_switched_off(off):
    model, x = small_model(), images(9)
    crossbar, ranges = OPEN.replace(**off), calibrate(model, OPEN, [x])
    assert torch.isfinite(programmed(model, crossbar, ranges)(x)).all()


def test_ranges_of_unknown_origin_must_fit_the_number_of_slices():
    found = ConverterRanges(dict(calibrate(nn.Linear(8, 2), OPEN, [torch.randn(9, 8)])))
    sliced = Crossbar("ideal", mapping="bit-sliced", dac=DAC(bits=8), adc=ADC(bits=8))
    with pytest.raises(InputError, match="slices"):
        programmed(nn.Linear(8, 2), sliced, found)(torch.randn(3, 8))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_inputs_that_are_not_finite_are_refused(bad):
    x = images(4)
    x[0, 0, 0, 0] = bad
    with pytest.raises(InputError, match="finite"):
        calibrate(small_model(), OPEN, [x])


@pytest.mark.parametrize("percentile", [0.4, 1.1, float("nan")])
def test_a_percentile_that_cannot_be_is_refused(percentile):
    with pytest.raises(InputError, match="percentile"):
        calibrate(small_model(), OPEN, [images(4)], percentile=percentile)


def test_missing_ranges_name_the_layer():
    with pytest.raises(InputError, match="'0'"):
        program(small_model(), OPEN)(images(2))
    model = fill(nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(48, 4)))
    calibrated = calibrate(model, OPEN, [images(4)])
    renamed = fill(nn.ModuleDict({"body": model}))["body"]
    with pytest.raises(UnknownNameError, match=r"'0'.*body"):
        programmed(nn.ModuleDict({"body": renamed}), OPEN, calibrated)["body"](images(2))


WORST = ADC(bits=8, range="worst-case")
LACKING = [
    ({"adc": WORST}, "set the full_scale of the DAC."),
    ({"dac": DAC(bits=8), "adc": WORST}, "set the kind of the DAC and the full_scale of the DAC."),
    ({"dac": DAC(bits=8, kind="unsigned"), "adc": WORST}, "set the full_scale of the DAC."),
    ({"dac": DAC(bits=8, kind="unsigned", full_scale=5.0), "adc": ADC(bits=8)}, "set the range of the ADC."),
    ({"dac": DAC(bits=8, kind="unsigned", full_scale=5.0), "adc": WORST}, None),
]


@pytest.mark.parametrize(("converters", "advice"), LACKING)
def test_the_settings_that_need_calibration_are_named(converters, advice):
    on_chip = program(small_model(), Crossbar("ideal", **converters))
    if advice is None:
        assert on_chip(images(2)).isfinite().all()
        return
    with pytest.raises(InputError, match=advice):
        on_chip(images(2))


def test_pairs_of_inputs_and_labels_and_a_generator_of_batches_do():
    model, x = small_model(), images(6)
    plain = calibrate(model, OPEN, [x[:3], x[3:]])
    pairs = calibrate(model, OPEN, ((part, torch.zeros(3)) for part in x.split(3)))
    assert plain == pairs


def test_calibration_is_the_same_for_every_chip_and_leaves_the_model_alone():
    model = small_model().train()
    first = calibrate(model, OPEN, [images(6)])
    assert model.training
    assert calibrate(model, Crossbar("sonos-agrawal2022", stuck=(0.1, 0.1), rows=7, dac=DAC(bits=8), adc=ADC(bits=8)),
                     [images(6)])["0"].inputs == first["0"].inputs  # fmt: skip
    assert calibrate(model, OPEN, [images(6)]) == first


def test_ranges_survive_json():
    ranges = calibrate(small_model(), OPEN, [images(6)])
    stored = json.loads(json.dumps(ranges.to_json()))
    again = ConverterRanges.from_json(stored)
    assert again == ranges
    assert again.found_with == ranges.found_with
    unknown = ConverterRanges(dict(ranges))
    assert ConverterRanges.from_json(unknown.to_json()).found_with is None
    bad_layers = ({"0": 3}, {"0": {"inputs": [0, 1]}}, [1], {"0": {"inputs": [1, 0], "outputs": []}})
    bad_origins = ({}, 3, stored["found_with"] | {"layers": {"0": 3}}, stored["found_with"] | {"fold": "no"})
    for bad in (
        [1],
        stored["layers"],
        *(stored | {"layers": layers} for layers in bad_layers),
        *(stored | {"found_with": origin} for origin in bad_origins),
    ):
        with pytest.raises(InputError):
            ConverterRanges.from_json(bad)


def test_a_layer_that_sees_one_value_only_has_a_range():
    model = nn.Sequential(nn.Linear(4, 3))
    for x in (torch.zeros(2, 4), torch.full((2, 4), -2.0)):
        calibrated = calibrate(model, OPEN, [x])
        assert calibrated["0"].full_scale > 0
        assert torch.isfinite(programmed(model, OPEN, calibrated)(x)).all()


def test_the_input_of_bias_rows_is_never_clipped():
    torch.manual_seed(0)
    layer = nn.Linear(64, 3).eval()
    nn.init.ones_(layer.bias)
    inputs = torch.rand(4096, 64) / 4  # a percentile of these many values leaves a single 1 out
    crossbar = Crossbar("ideal", bias_rows=2, dac=DAC(bits=8))
    ready = calibrate(nn.Sequential(layer), crossbar, [inputs])
    assert ready["0"].inputs == (0.0, 1.0)
    with torch.no_grad():
        out = programmed(nn.Sequential(layer), crossbar, ready)(inputs)
        assert torch.allclose(out, layer(inputs), atol=0.05)
