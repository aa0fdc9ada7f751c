"""Arrays, reads and conversions of each layer: against what programmed layers do, and against numbers by hand."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from aimc_robust import ADC, DAC, BitSliced, Crossbar, coverage, program
from aimc_robust.errors import InputError
from aimc_robust.hardware.config.quantization import Levels
from aimc_robust.hardware.crosssim.parameters import crosssim_parameters
from aimc_robust.hardware.layers.array_layer import ArrayLayer
from aimc_robust.tasks.calling import call_model

DEVICE = "ideal"
MAPPINGS = ["one-sided", "two-sided", "offset", "one-sided*2", BitSliced(weight_bits=8, slices=3)]
DACS = [
    DAC(bits=8, kind="unsigned", full_scale=1.0),
    DAC(bits=8, kind="unsigned", full_scale=1.0, slice_bits=3),
    DAC(bits=6, kind="sign-magnitude", full_scale=1.0, slice_bits=2),
]


def observe(model: nn.Module, x: Tensor) -> dict[str, Counter[str]]:
    """Layer -> what the arrays of a programmed model do, counted in its forward pass."""
    counts: dict[str, Counter[str]] = {}
    outputs, currents, convert = ArrayLayer.array_outputs, ArrayLayer._column_currents, ArrayLayer.convert_output

    def array_outputs(layer: ArrayLayer, x: Tensor) -> Levels:
        out = outputs(layer, x)
        counted, reads = counts.setdefault(layer.name, Counter()), out.numbers.numel() // layer.shape[0]
        counted["reads"] += reads
        # Rows that are driven: the product of ones at the DACs with ones as the weights of one output of each group.
        layer.observer = lambda *_: None  # as in calibration, padded inputs pass the DAC
        ones = layer.spread_inputs(torch.ones_like(layer.dac_inputs(x)))
        driven = layer.product(ones, torch.ones(layer.shape).to(ones))
        layer.observer = None
        counted["driven"] += round(float(driven.sum()) * layer.groups / layer.shape[0])
        counted["driven"] += layer.bias_rows * layer.groups * reads
        return out

    def column_currents(layer: ArrayLayer, *args: object, **kwargs: object) -> Tensor:
        current = currents(layer, *args, **kwargs)
        counts.setdefault(layer.name, Counter())["tile reads"] += current.numel() // layer.shape[0] * layer.groups
        return current

    def convert_output(layer: ArrayLayer, current: Tensor, *args: object) -> Levels:
        counts.setdefault(layer.name, Counter())["adc"] += current.numel()
        return convert(layer, current, *args)

    with pytest.MonkeyPatch.context() as monkeypatch, torch.no_grad():
        monkeypatch.setattr(ArrayLayer, "array_outputs", array_outputs)
        monkeypatch.setattr(ArrayLayer, "_column_currents", column_currents)
        monkeypatch.setattr(ArrayLayer, "convert_output", convert_output)
        call_model(model, x)
    return counts


def assert_as_programmed(model: nn.Module, crossbar: Crossbar, x: Tensor) -> None:
    """Compare the summary of a model with what its layers do."""
    mapping, on_chip = coverage(model, x, crossbar=crossbar).mapping, program(model, crossbar)
    counts = observe(on_chip, x)
    tiles = {module.name: module.tiles for module in on_chip.modules() if isinstance(module, ArrayLayer)}
    assert {name for layer in mapping.layers for name in (layer.layer, *layer.shares)} == set(counts)
    for layer in mapping.layers:
        found, counted = layer.activity, sum((counts[name] for name in (layer.layer, *layer.shares)), Counter())
        copies = layer.banks * len(layer.column_tiles)
        assert found.reads == counted["reads"]
        assert found.array_reads == counted["tile reads"] * len(layer.column_tiles)
        assert found.adc_conversions == counted["adc"]
        assert found.dac_conversions == counted["driven"] * found.input_slices * copies
        assert layer.row_tiles == tuple(stop - start for start, stop in tiles[layer.layer])


@st.composite
def crossbars(draw: st.DrawFn) -> Crossbar:
    return Crossbar(
        DEVICE,
        mapping=draw(st.sampled_from(MAPPINGS)),
        bias_rows=draw(st.sampled_from([0, 1, 3])),
        rows=draw(st.integers(0, 24)),
        columns=draw(st.integers(0, 7)),
        dac=draw(st.sampled_from(DACS)),
        adc=ADC(bits=4, range=(-1.0, 1.0), per_slice=draw(st.booleans())),
    )


@st.composite
def layers(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """A layer, and one input that it takes."""
    kind = draw(st.sampled_from(["linear", "conv", "transposed"]))
    bias = draw(st.booleans())
    if kind == "linear":
        inputs = draw(st.integers(1, 30))
        return nn.Linear(inputs, draw(st.integers(1, 9)), bias=bias), torch.rand(1, draw(st.integers(1, 4)), inputs)
    dimensions, groups = draw(st.integers(1, 2)), draw(st.sampled_from([1, 1, 2, 3]))
    inputs, outputs = groups * draw(st.integers(1, 4)), groups * draw(st.integers(1, 4))
    sizes = st.tuples(*[st.integers(1, 3)] * dimensions)
    kernel, stride, dilation = draw(sizes), draw(sizes), draw(sizes)
    options = {"stride": stride, "dilation": dilation, "groups": groups, "bias": bias}
    padding = tuple(draw(st.integers(0, d * (k - 1))) for d, k in zip(dilation, kernel, strict=True))
    x = torch.rand(1, inputs, *draw(st.tuples(*[st.integers(1, 6)] * dimensions)))
    if kind == "conv":
        family = [nn.Conv1d, nn.Conv2d][dimensions - 1]
        geometry = zip(x.shape[2:], padding, dilation, kernel, strict=True)
        assume(all(n + 2 * p >= d * (k - 1) + 1 for n, p, d, k in geometry))
        return family(inputs, outputs, kernel, padding=padding, **options), x
    family = [nn.ConvTranspose1d, nn.ConvTranspose2d][dimensions - 1]
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    assume(all(e < s for e, s in zip(extra, stride, strict=True)))
    geometry = zip(x.shape[2:], stride, padding, dilation, kernel, extra, strict=True)
    assume(all((n - 1) * s - 2 * p + d * (k - 1) + e + 1 > 0 for n, s, p, d, k, e in geometry))
    return family(inputs, outputs, kernel, padding=padding, output_padding=extra, **options), x


@settings(derandomize=True)
@given(case=layers(), crossbar=crossbars())
def test_counts_are_those_of_a_programmed_layer(case: tuple[nn.Module, Tensor], crossbar: Crossbar) -> None:
    layer, x = case
    assert_as_programmed(layer, crossbar, x)


class Sequences(nn.Module):
    """Attention in its three forms, recurrent layers, a transformer layer, and a weight that two layers share."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(6, 8, num_layers=2, bidirectional=True, proj_size=4, batch_first=True)
        self.cell = nn.GRUCell(8, 8)
        self.own = nn.MultiheadAttention(8, 2, batch_first=True)
        self.cross = nn.MultiheadAttention(8, 2)
        self.separate = nn.MultiheadAttention(8, 2, kdim=6, vdim=6, batch_first=True)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.query = nn.Parameter(torch.zeros(1, 2, 8))
        self.first, self.second = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        state = self.cell(y[:, 0])
        y = self.block(self.own(y, y, y)[0])
        query = self.first(self.query) + state.unsqueeze(1)
        memory = y + 1.0
        y = self.cross(query.transpose(0, 1), memory.transpose(0, 1), y.transpose(0, 1))[0].transpose(0, 1)
        return self.second(self.separate(y, x, x)[0])


@pytest.mark.parametrize("options", [{}, {"rows": 5, "columns": 3, "mapping": "bit-sliced"}, {"dac": DACS[2]}])
def test_counts_are_those_of_a_programmed_network_of_sequences(options):
    adc = ADC(bits=6, range=(-4.0, 4.0), per_slice=True)
    crossbar = Crossbar(DEVICE, **{"dac": DACS[0], "adc": adc} | options)
    x = torch.randn(1, 5, 6)
    assert_as_programmed(Sequences(), crossbar, x)
    mapping = coverage(Sequences(), x, crossbar=crossbar).mapping
    found = {layer.layer: layer for layer in mapping.layers}
    assert found["rnn.weight_hh_l1_reverse"].activity.reads == 5  # once per time step
    assert found["own.in_proj_weight"].activity.reads == 5  # once per token, for query, key and value together
    assert found["cross.in_proj_weight"].activity.reads == 2 + 5 + 5
    assert found["first"].shares == ("second",)
    assert found["first"].activity.reads == 2 + 2
    assert sum(layer.weights for layer in mapping.layers) == coverage(Sequences()).analog_parameters


def test_one_tensor_as_query_and_key_is_projected_once():
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.MultiheadAttention(4, 1, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            with_position = x + 1.0
            return self.mix(with_position, key=with_position, value=x)[0]

    crossbar = Crossbar(DEVICE, dac=DACS[0], adc=ADC(bits=6, range=(-4.0, 4.0)))
    assert_as_programmed(Positions(), crossbar, torch.randn(1, 3, 4))


def gpt2(library):
    config = library.GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=16, bos_token_id=0)
    return library.GPT2LMHeadModel(config), {"input_ids": torch.randint(0, 50, (1, 9))}


def t5(library):
    sizes = {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    inputs = {"input_ids": torch.randint(0, 50, (1, 9)), "decoder_input_ids": torch.randint(0, 50, (1, 4))}
    return library.T5ForConditionalGeneration(library.T5Config(**sizes, decoder_start_token_id=0)), inputs


def transformer(_):
    return nn.Transformer(16, 2, 1, 1, 32, batch_first=True), (torch.rand(1, 5, 16), torch.rand(1, 3, 16))


@pytest.mark.parametrize("build", [gpt2, t5, transformer])
def test_counts_are_those_of_programmed_language_models(build):
    library = pytest.importorskip("transformers", reason="the networks of this test are those of transformers")
    model, inputs = build(library)
    adc = ADC(bits=6, range=(-4.0, 4.0), per_slice=True)
    assert_as_programmed(model.eval(), Crossbar(DEVICE, rows=10, columns=6, dac=DACS[2], adc=adc), inputs)


def test_a_resnet18_by_hand():
    models = pytest.importorskip("torchvision.models", reason="the network of this test is torchvision's")
    crossbar = Crossbar("rram-wan2022", rows=256, columns=128, dac=DAC(bits=8), adc=ADC(bits=8))
    found = coverage(models.resnet18(), torch.rand(1, 3, 224, 224), crossbar=crossbar).mapping
    layers = {layer.layer: layer for layer in found.layers}
    assert len(layers) == 21
    # conv1: 7 x 7 x 3 = 147 rows, 64 columns, at 112 x 112 positions
    first = layers["conv1"]
    assert (first.rows, first.columns, first.row_tiles, first.column_tiles, first.arrays) == (147, 64, (147,), (64,), 1)
    assert first.utilization == 147 * 64 / (256 * 128)
    assert vars(first.activity) == {
        "reads": 112 * 112,
        "input_slices": 1,
        "array_reads": 112 * 112,
        "dac_conversions": 112 * 112 * 147,
        "adc_conversions": 112 * 112 * 64,
    }
    # layer3.0.conv1: 3 x 3 x 128 = 1152 rows in 5 arrays, 256 columns in 2, at 14 x 14 positions
    middle = layers["layer3.0.conv1"]
    assert (middle.row_tiles, middle.column_tiles) == ((230, 230, 230, 230, 232), (128, 128))
    assert (middle.arrays, middle.devices) == (10, 2 * 1152 * 256)
    assert middle.activity.array_reads == 14 * 14 * 10
    assert middle.activity.dac_conversions == 14 * 14 * 1152 * 2
    assert middle.activity.adc_conversions == 14 * 14 * 256 * 5
    # fc: 512 rows in 2 arrays, 1000 columns in 8, once
    assert (layers["fc"].arrays, layers["fc"].activity.adc_conversions) == (16, 2000)
    positions = {"conv1": 112**2, "layer1": 56**2, "layer2": 28**2, "layer3": 14**2, "layer4": 7**2, "fc": 1}
    assert all(layer.activity.reads == positions[name.partition(".")[0]] for name, layer in layers.items())
    assert found.total()["weights"] == 11_678_912
    assert found.total()["devices"] == 2 * 11_678_912


def test_json_holds_the_table_and_the_sums():
    crossbar = Crossbar("sonos-agrawal2022", mapping="bit-sliced", rows=4, dac=DAC(bits=4), adc=ADC(bits=6))
    model = nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 2))
    found = coverage(model, torch.rand(1, 6), crossbar=crossbar).mapping
    written = json.loads(json.dumps(found.to_json()))
    first, second = written["layers"]
    assert (first["layer"], first["device"], first["mapping"]) == (
        "0",
        "sonos-agrawal2022",
        "bit-sliced (8 bits in 2 slices)",
    )
    assert (first["row_tiles"], first["banks"], first["devices_per_weight"], first["arrays"]) == ([3, 3], 2, 4, 4)
    assert (first["differential"], first["dac_bits"], first["adc_bits"]) == (True, 4, 6)
    assert written["total"]["arrays"] == first["arrays"] + second["arrays"] == found.arrays
    assert written["total"]["activity"]["reads"] == 2
    table = found.table
    assert list(table["dac_conversions"]) == [layer["activity"]["dac_conversions"] for layer in written["layers"]]


def test_without_an_example_there_are_arrays_but_no_reads():
    found = coverage(nn.Sequential(nn.Linear(6, 3)), crossbar=Crossbar(DEVICE, rows=4)).mapping
    assert found.arrays == 2
    assert found.total()["activity"] is None
    assert "reads" not in found.table
    assert found.summary() == "2 arrays, 75.0 % used."


def test_an_automatic_dac_has_a_sign_bit_where_inputs_have_a_sign():
    crossbar = Crossbar(DEVICE, dac=DAC(bits=8, slice_bits=1))
    model = nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 2))
    found = coverage(model, torch.randn(1, 6), crossbar=crossbar).mapping
    assert [layer.activity.input_slices for layer in found.layers] == [7, 8]


def test_a_layer_that_the_example_does_not_reach_is_read_never():
    class Exits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    found = coverage(Exits(), torch.rand(1, 4), crossbar=Crossbar(DEVICE)).mapping
    assert [layer.activity.reads for layer in found.layers] == [1, 0]


def test_layers_elsewhere_are_mapped_there_and_digital_ones_not():
    model = nn.Sequential(nn.Linear(20, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
    large, small = Crossbar(DEVICE), Crossbar("sonos-agrawal2022", rows=8)
    found = coverage(model, torch.rand(1, 20), crossbar=large, layers={"0": small, "2": "digital"})
    first, last = found.mapping.layers
    assert (first.layer, first.crossbar, first.arrays, first.activity.array_reads) == ("0", small, 3, 3)
    assert (last.layer, last.crossbar, last.arrays, last.activity.array_reads) == ("4", large, 1, 1)
    assert found.macs.analog == 20 * 6 + 6 * 2
    assert coverage(model, layers={"2": "digital"}).mapping is None  # no crossbar is given


@pytest.mark.parametrize("crossbar", ["rram-wan2022", 3, Crossbar])
def test_what_is_no_crossbar_is_refused(crossbar):
    with pytest.raises(InputError, match="Crossbar"):
        coverage(nn.Sequential(nn.Linear(2, 2)), crossbar=crossbar)


@settings(derandomize=True, max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 20), st.integers(1, 20))
def test_the_cut_is_crosssims(inputs: int, outputs: int, rows: int, columns: int) -> None:
    simulator = pytest.importorskip(
        "simulator", reason="CrossSim 3.2 is not installed; there is nothing to compare with"
    )
    crossbar = Crossbar(DEVICE, rows=rows, columns=columns)
    parameters = simulator.CrossSimParameters(**crosssim_parameters(crossbar))
    core = simulator.AnalogCore(np.ones((outputs, inputs)), parameters)
    (found,) = coverage(nn.Sequential(nn.Linear(inputs, outputs)), crossbar=crossbar).mapping.layers
    assert len(found.row_tiles) * len(found.column_tiles) == core.Ncores == found.arrays
    if core.NcolsVec[-1] <= rows:  # CrossSim's last array may exceed the limit
        assert list(found.row_tiles) == list(core.NcolsVec)
    if core.NrowsVec[-1] <= columns:
        assert list(found.column_tiles) == list(core.NrowsVec)
