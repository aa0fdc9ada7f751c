"""Arrays without errors and with ideal converters give torch's own numbers; with errors, those of the weights read."""

import copy

import numpy as np
import pytest
import torch
from support.crossbar_oracle import Oracle, weights_of_banks
from support.for_each import for_each
from support.models import fill
from torch import nn

from aimc_robust import ADC, DAC, BitSliced, Crossbar, Deployment, calibrate, program
from aimc_robust.errors import InputError
from aimc_robust.hardware.program import chip_axes
from aimc_robust.hardware.programming.programmed_matrix import Chip, with_bias_rows
from aimc_robust.hardware.programming.weights_to_states import program_matrix
from aimc_robust.noise.analog_weights import analog_weights

IDEAL = DAC(kind="ideal")
# Fine enough that rounding a weight to the digits of its slices is below the tolerance.
MAPPINGS = ["one-sided", "two-sided", "offset", BitSliced(weight_bits=24, slices=3)]
LAYERS = {
    "linear": (nn.Linear(7, 5), (2, 3, 7)),
    "linear without bias": (nn.Linear(7, 5, bias=False), (4, 7)),
    "conv1d": (nn.Conv1d(6, 4, 3, stride=2, dilation=2, padding=2), (2, 6, 11)),
    "conv1d same": (nn.Conv1d(2, 4, 4, padding="same"), (2, 2, 11)),
    "conv2d reflect": (nn.Conv2d(3, 4, 3, padding=(2, 1), padding_mode="reflect"), (2, 3, 7, 6)),
    "conv2d circular": (nn.Conv2d(3, 4, (3, 2), padding=1, padding_mode="circular"), (2, 3, 7, 6)),
    "conv2d replicate": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="replicate"), (2, 3, 7, 6)),
    "conv2d grouped": (nn.Conv2d(6, 4, 3, groups=2, bias=False), (2, 6, 7, 6)),
    "conv2d depthwise": (nn.Conv2d(6, 12, 3, groups=6), (2, 6, 7, 6)),
    "conv3d": (nn.Conv3d(3, 4, 2, stride=(1, 2, 1)), (2, 3, 4, 5, 4)),
    "transposed 1d": (nn.ConvTranspose1d(3, 4, 4, stride=3, padding=2, output_padding=1), (2, 3, 6)),
    "transposed 2d": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), (2, 4, 5, 4)),
    "transposed 3d": (nn.ConvTranspose3d(2, 3, 2, stride=2), (2, 2, 3, 2, 3)),
}


# Every combination for three kinds of layer; half of them, each value once, for the others.
LAYOUTS = [("layer", 2), ("column", 0), ("layer", 0), ("column", 2)]
EVERY_LAYOUT = ("linear", "conv2d grouped", "transposed 2d")


@for_each("mapping", MAPPINGS)
@for_each(
    ("name", "scaling", "bias_rows"),
    [(name, *layout) for name in LAYERS for layout in LAYOUTS[: 4 if name in EVERY_LAYOUT else 2]],
)
def test_without_errors_every_layer_is_torchs(name, mapping, scaling, bias_rows):
    layer, shape = copy.deepcopy(LAYERS[name][0]).double(), LAYERS[name][1]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    options = {"mapping": mapping, "scaling": scaling, "bias_rows": bias_rows, "rows": 5, "columns": 3, "dac": IDEAL}
    with torch.no_grad():
        want = fill(layer)(x)
        for crossbar in (
            Crossbar("ideal", window=(0.25, 1.0), **options),
            Crossbar("rram-milo2021", error_scale=0.0, **options),
            Crossbar("sonos-agrawal2022", error_scale=0.0, read_noise=False, **options),
        ):
            got = program(layer, crossbar)(x)
            tolerance = 1e-5 if isinstance(mapping, BitSliced) else 1e-12
            torch.testing.assert_close(got, want, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", LAYERS)
def test_with_errors_and_ideal_converters_the_arrays_compute_what_the_weight_path_does(name):
    # The same chip, once as weights read back and once as arrays.
    layer, shape = fill(copy.deepcopy(LAYERS[name][0]).double()), LAYERS[name][1]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for mapping in ("one-sided", BitSliced(weight_bits=6, slices=2)):
        for bias_rows in (0, 2):
            options = {"mapping": mapping, "bias_rows": bias_rows, "stuck": (0.05, 0.02), "rows": 4}
            weights = program(layer, Crossbar("rram-milo2021", **options), chip=3)
            arrays = program(layer, Crossbar("rram-milo2021", dac=IDEAL, **options), chip=3)
            assert type(arrays) is not type(layer)
            torch.testing.assert_close(arrays(x), weights(x), rtol=0, atol=1e-12)
            assert float((arrays(x) - layer(x)).detach().abs().max()) > 1e-2


def oracle_of_chip(layer: nn.Linear, crossbar: Crossbar, mapping: str | BitSliced, number: int) -> Oracle:
    """The oracle with the states that the chip's devices have."""
    weight = analog_weights(layer)["weight"]
    chip = Chip(axes=chip_axes(0, number))
    cells = program_matrix(crossbar.device, crossbar.weights, with_bias_rows(crossbar, weight), chip.draws(weight))
    low, high = crossbar.device.programming_window
    states = [cell.now.clone().numpy() / high for cell in cells.states]
    signed = [state * sign for state, sign in zip(states, crossbar.weights.mapping.signs, strict=True)]
    per_bank = len(signed) // crossbar.weights.mapping.banks
    banks = [sum(signed[i : i + per_bank]) for i in range(0, len(signed), per_bank)]
    factors, offset = weights_of_banks(mapping, low / high, crossbar.weights.cell_bits)
    limit = np.broadcast_to(cells.limit.numpy().reshape(-1), layer.out_features)
    return Oracle(
        banks=banks,
        factors=factors,
        offset=offset,
        limit=limit,
        rows=crossbar.arrays.rows,
        dac=crossbar.periphery.dac,
        adc=crossbar.periphery.adc,
    )


@for_each("slice_bits", [0, 2])
@for_each("scaling", ["layer", "column"])
@for_each("mapping", [*MAPPINGS[:3], BitSliced(weight_bits=7, slices=3)])
def test_with_device_errors_arrays_equal_the_oracle(mapping, scaling, slice_bits):
    layer = fill(nn.Linear(13, 4)).double().requires_grad_(False)
    x = torch.randn(5, 13, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    crossbar = Crossbar(
        "rram-milo2021",
        mapping=mapping,
        scaling=scaling,
        bias_rows=2,
        rows=6,
        stuck=(0.1, 0.05),
        dac=DAC(bits=6, kind="sign-magnitude", full_scale=1.6180, slice_bits=slice_bits),
        adc=ADC(bits=6, range=(-1.3417, 2.1713), per_slice=True),
    )
    rows = np.concatenate([x.numpy(), np.ones((5, 2))], axis=1)
    y = program(layer, crossbar, chip=2)(x).numpy()
    assert np.abs(y - oracle_of_chip(layer, crossbar, mapping, 2)(rows)).max() < 1e-9
    assert np.abs(y - oracle_of_chip(layer, crossbar, mapping, 3)(rows)).max() > 1e-2


@pytest.mark.parametrize("mapping", MAPPINGS[:3])
def test_one_row_per_array_is_right(mapping):
    layer, x = fill(nn.Linear(6, 4)).double(), torch.randn(3, 6, dtype=torch.float64)
    exact = program(layer, Crossbar("ideal", mapping=mapping, rows=1, columns=1, dac=IDEAL))
    assert len(exact.tiles) == 6
    torch.testing.assert_close(exact(x), layer(x), rtol=0, atol=1e-12)


@for_each("mapping", MAPPINGS)
@for_each("bias_rows", [0, 1])
@for_each("scaling", ["layer", "column"])
def test_an_all_zero_layer_gives_its_bias(mapping, bias_rows, scaling):
    layer = nn.Linear(6, 4)
    nn.init.zeros_(layer.weight)
    if bias_rows:
        nn.init.zeros_(layer.bias)
    adc, dac = ADC(bits=8, kind="sign-magnitude", range=(-4.0, 4.0)), DAC(bits=6, kind="unsigned", full_scale=1.0)
    options = {"mapping": mapping, "bias_rows": bias_rows, "scaling": scaling}
    for converters in ({}, {"dac": dac, "adc": adc}):
        analog = program(layer, Crossbar("rram-milo2021", **options, **converters))
        y = analog(torch.rand(3, 6))
        assert torch.equal(y, layer.bias.expand(3, 4))


@pytest.mark.parametrize(("kind", "low"), [("unsigned", 0.0), ("signed", -1.0), ("sign-magnitude", -1.0)])
def test_a_dac_without_bits_clips_and_does_not_round(kind, low):
    layer, x = nn.Linear(6, 4).double(), torch.randn(50, 6, dtype=torch.float64)
    analog = program(layer, Crossbar("ideal", dac=DAC(kind=kind, full_scale=0.7)))
    with torch.no_grad():
        torch.testing.assert_close(analog(x), layer(x.clamp(low * 0.7, 0.7)), rtol=0, atol=1e-12)


def test_a_dac_of_kind_auto_without_bits_clips_at_the_calibrated_full_scale():
    layer, x = nn.Linear(6, 4).double(), torch.rand(200, 6, dtype=torch.float64)
    crossbar = Crossbar("ideal", dac=DAC())
    ranges = calibrate(layer, crossbar, [x])
    analog = program(layer, crossbar, deployment=Deployment(ranges=ranges))
    scale = next(iter(ranges.values())).full_scale
    with torch.no_grad():
        torch.testing.assert_close(analog(2.0 * x - 0.5), layer((2.0 * x - 0.5).clamp(0.0, scale)), rtol=0, atol=1e-12)


def test_an_empty_output_of_a_transposed_convolution_is_torchs():
    layer, crossbar = nn.ConvTranspose2d(2, 3, 2, padding=1), Crossbar("ideal", dac=DAC(kind="ideal"))
    chip = program(nn.Sequential(layer), crossbar)
    for size in ((2, 2, 1, 4), (0, 2, 4, 1)):
        x = torch.randn(size)
        assert chip(x).shape == layer(x).shape
    assert chip(torch.randn(2, 1, 4)).shape == (3, 0, 3)  # torch's kernels differ in whether they can
    negative = program(nn.Sequential(nn.ConvTranspose1d(2, 3, 1, padding=2)), crossbar)
    with pytest.raises(InputError, match=r"'0' would have an output of size \[-2\]"):
        negative(torch.randn(2, 2, 2))
