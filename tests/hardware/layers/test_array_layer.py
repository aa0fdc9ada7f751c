"""Layers on arrays equal the oracle's loops, output by output: shapes, tiles, mappings, converters, input slices."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.convolution_oracle import convolved, matrix_of, spread
from support.crossbar_oracle import Oracle
from torch import nn

from aimc_robust import ADC, DAC, BitSliced, Crossbar, program

QUIET = settings(derandomize=True)
TOLERANCE = 1e-9  # float64 rounding; one code of an ADC or DAC is at least 1e-3

MAPPINGS = ["one-sided", "two-sided", "offset", BitSliced(weight_bits=8, slices=2), BitSliced(weight_bits=7, slices=3)]
# Odd full scales and ranges, so that no sum of levels falls on a rounding threshold. Nor does 0, as it would in the
# middle of a uniform ADC's range, where the last bit decides.
DACS = [
    None,
    DAC(kind="ideal"),
    DAC(bits=5, kind="unsigned", full_scale=1.7321),
    DAC(bits=4, kind="signed", full_scale=1.4142),
    DAC(bits=5, kind="sign-magnitude", full_scale=1.6180),
    DAC(bits=5, kind="sign-magnitude", full_scale=1.6180, slice_bits=1),
    DAC(bits=6, kind="unsigned", full_scale=1.7321, slice_bits=4),
    DAC(bits=6, kind="sign-magnitude", full_scale=1.6180, slice_bits=2),
]
RANGES = {
    "uniform": [(-1.3417, 2.1713), (-3.1737, 2.9119), (-0.2313, 0.3119)],
    "sign-magnitude": [(-1.3417, 1.3417), (-3.1737, 3.1737), (-0.2313, 0.2313)],
}


@st.composite
def crossbars(draw: st.DrawFn) -> dict:
    """Arguments of a crossbar without errors; its ADC, if any, knows its unit and range."""
    dac = draw(st.sampled_from(DACS))
    adc = None
    if dac is not None and draw(st.booleans()):
        dac = DAC(kind="ideal", full_scale=1.1) if dac.kind == "ideal" else dac
        kind = draw(st.sampled_from(sorted(RANGES)))
        low_high = draw(st.sampled_from(RANGES[kind]))
        adc = ADC(bits=draw(st.integers(2, 8)), kind=kind, range=low_high, per_slice=draw(st.booleans()))
    return {
        "mapping": draw(st.sampled_from(MAPPINGS)),
        "g_min": draw(st.sampled_from([0.0, 0.2173])),
        "cell_bits": draw(st.sampled_from([0, 4])),
        "scaling": draw(st.sampled_from(["layer", "column"])),
        "bias_rows": draw(st.sampled_from([0, 1, 3])),
        "rows": draw(st.integers(1, 24)),
        "dac": dac,
        "adc": adc,
    }


def filled(layer: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return layer.double().requires_grad_(False)


def on_arrays(layer: nn.Module, options: dict) -> nn.Module:
    others = {name: value for name, value in options.items() if name != "g_min"}
    analog = program(layer, Crossbar("ideal", window=(options["g_min"], 1.0), **others))
    assert options["dac"] is None or type(analog) is not type(layer)
    return analog


def oracle_of(layer: nn.Module, options: dict) -> tuple[Oracle, np.ndarray, np.ndarray]:
    """The oracle, the digital bias of each output, and what drives the bias rows."""
    matrix, count = matrix_of(layer), options["bias_rows"]
    bias = np.zeros(len(matrix)) if layer.bias is None else layer.bias.numpy()
    ones = np.ones(count if layer.bias is not None else 0)
    matrix = np.concatenate([matrix, *[bias[:, None] / count for _ in ones]], axis=1)
    others = {name: value for name, value in options.items() if name != "bias_rows"}
    return Oracle.of(matrix, **others), bias * (0.0 if len(ones) else 1.0), ones


def agrees(y: torch.Tensor, expected: np.ndarray) -> bool:
    assert tuple(y.shape) == expected.shape
    return float(np.abs(y.numpy() - expected).max()) < TOLERANCE


@QUIET
@given(crossbars(), st.integers(1, 30), st.integers(1, 4), st.booleans(), st.integers(0, 2**16))
def test_a_linear_layer_equals_the_oracle(options, inputs, outputs, bias, seed):
    layer = filled(nn.Linear(inputs, outputs, bias=bias), seed)
    x = torch.randn(3, inputs, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    oracle, digital, ones = oracle_of(layer, options)
    expected = oracle(np.concatenate([x.numpy(), np.tile(ones, (3, 1))], axis=1)) + digital
    analog = on_arrays(layer, options)
    assert agrees(analog(x), expected)
    assert agrees(analog(x[0]), expected[0])
    assert agrees(analog(x[None]), expected[None])


@st.composite
def convolutions(draw: st.DrawFn, *, transposed: bool) -> tuple[nn.Module, tuple[int, ...]]:
    """A convolution and the shape of an image for it."""
    dimensions = draw(st.sampled_from([1, 1, 2, 2, 3]))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    most = 3 if dimensions < 3 else 2
    kernel = tuple(draw(st.integers(1, most)) for _ in range(dimensions))
    stride = tuple(draw(st.integers(1, 2)) for _ in kernel)
    dilation = tuple(draw(st.integers(1, 2)) for _ in kernel)
    channels = groups * draw(st.integers(1, 2 if dimensions == 3 or groups > 1 else 4))
    outputs = groups * draw(st.integers(1, 2))
    image = tuple(draw(st.integers(5, 6)) if dimensions < 3 else 4 for _ in kernel)
    names = {
        "kernel_size": kernel,
        "stride": stride,
        "dilation": dilation,
        "groups": groups,
        "bias": draw(st.booleans()),
    }
    if not transposed:
        names["padding"] = tuple(draw(st.integers(0, 2)) for _ in kernel)
        names["padding_mode"] = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
        kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    else:
        image = tuple(min(n, 4 if dimensions < 3 else 2) for n in image)
        names["padding"] = tuple(draw(st.integers(0, gap * (k - 1))) for gap, k in zip(dilation, kernel, strict=True))
        names["output_padding"] = tuple(
            draw(st.integers(0, max(step, gap) - 1)) for step, gap in zip(stride, dilation, strict=True)
        )
        kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dimensions - 1]
    return kind(channels, outputs, **names), image


def without_signed(options: dict) -> bool:
    # 0 lies midway between two levels of a signed DAC: for padded inputs the last bit would decide.
    return options["dac"] is None or options["dac"].kind != "signed"


def product_of(layer: nn.Module, options: dict):
    oracle, digital, ones = oracle_of(layer, options)
    return lambda rows, outputs: [
        oracle.output(number, np.concatenate([rows, ones])) + digital[number] for number in outputs
    ]


@QUIET
@given(crossbars().filter(without_signed), convolutions(transposed=False), st.integers(0, 2**16))
def test_a_convolution_equals_the_oracle(options, layer_and_image, seed):
    layer, image = layer_and_image
    filled(layer, seed)
    x = torch.randn(2, layer.in_channels, *image, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    try:
        layer(x)
    except RuntimeError:  # a padding or a kernel that torch refuses for this image
        assume(False)
    expected = convolved(layer, x.numpy(), product_of(layer, options))
    analog = on_arrays(layer, options)
    assert agrees(analog(x), expected)
    assert agrees(analog(x[0]), expected[0])


@QUIET
@given(crossbars().filter(without_signed), convolutions(transposed=True), st.integers(0, 2**16))
def test_a_transposed_convolution_equals_the_oracle(options, layer_and_image, seed):
    layer, image = layer_and_image
    filled(layer, seed)
    x = torch.randn(2, layer.in_channels, *image, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    try:
        sizes = tuple(layer(x).shape[2:])
    except RuntimeError:  # padding that leaves no output
        assume(False)
    expected = spread(layer, x.numpy(), sizes, product_of(layer, options))
    analog = on_arrays(layer, options)
    assert agrees(analog(x), expected)
    assert agrees(analog(x[0]), expected[0])
    if all(more < step for more, step in zip(layer.output_padding, layer.stride, strict=True)):
        assert agrees(analog(x, output_size=list(sizes)), expected)


def test_output_size_chooses_among_the_sizes_that_a_transposed_convolution_may_have():
    layer = filled(nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1), 0)
    x = torch.randn(2, 2, 4, 5, dtype=torch.float64)
    analog = program(layer, Crossbar("ideal", dac=DAC(kind="ideal"), rows=5))
    for size in ([7, 9], [8, 10], (8, 9), (2, 3, 7, 10)):
        torch.testing.assert_close(analog(x, output_size=size), layer(x, output_size=size), rtol=0, atol=1e-12)
    assert tuple(analog(x).shape[2:]) == (7, 9)


@pytest.mark.parametrize("size", [[6, 9], [9, 9], [7], [7, 9, 3]])
def test_an_output_size_that_torch_refuses_is_refused(size):
    layer = filled(nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1), 0)
    x = torch.randn(2, 2, 4, 5, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"."):
        layer(x, output_size=size)
    with pytest.raises(ValueError, match=r"."):
        program(layer, Crossbar("ideal", dac=DAC(kind="ideal")))(x, output_size=size)


def test_the_comparison_fails_for_other_tiles_mapping_and_levels():
    layer = filled(nn.Linear(13, 4), 0)
    x = torch.randn(3, 13, dtype=torch.float64)
    options = {"mapping": "one-sided", "g_min": 0.2, "cell_bits": 0, "scaling": "layer", "bias_rows": 0, "rows": 5}
    options |= {"dac": DACS[4], "adc": ADC(bits=6, range=(-1.3417, 2.1713))}
    y = on_arrays(layer, options)(x)
    changes = [{"rows": 13}, {"mapping": "offset"}, {"cell_bits": 4}, {"scaling": "column"}, {"dac": DACS[2]}]
    for change in changes:
        oracle, digital, _ = oracle_of(layer, options | change)
        assert not agrees(y, oracle(x.numpy()) + digital)
