"""IR drop in programmed models: each layer, mapping and cut against circuits solved node by node; both paths."""

import copy
import warnings

import pytest
import torch
from support.circuit import exact_currents
from support.for_each import for_each
from support.models import fill
from torch import Tensor, nn

from aimc_robust import ADC, DAC, ArrayAware, BitSliced, Crossbar, Deployment, Parasitics, calibrate, program
from aimc_robust.errors import InputError
from aimc_robust.hardware.config.mapping import WeightMapping
from aimc_robust.hardware.config.standard_mappings import find_mapping
from aimc_robust.hardware.config.tiling import partition
from aimc_robust.seeding import Axes

G_MIN, OHM = 0.2, 5000.0
WIRES = {"row_ohm": 4.0, "column_ohm": 3.0, "row_terminal_ohm": 10.0, "column_terminal_ohm": 5.0}
IDEAL = DAC(kind="ideal")


def crossbar_of(**options: object) -> Crossbar:
    parasitics = Parasitics(**WIRES, device_ohm=OHM, interleaved=bool(options.pop("interleaved", False)))
    return Crossbar("ideal", window=(G_MIN, 1.0), **{"parasitics": parasitics} | options)


def by_circuit(matrix: Tensor, mapping: WeightMapping, rows: int, columns: int, *, interleaved: bool) -> Tensor:
    """Weights (outputs, inputs) of one group that its arrays represent, each solved as a circuit."""
    limit = matrix.abs().max()
    states = list(mapping.to_states(matrix / limit, G_MIN, 0))
    ohms = {name.removesuffix("_ohm"): ohm / OHM for name, ohm in WIRES.items()}
    factors, offset = mapping.factors(G_MIN, 0)
    per_bank = len(mapping.signs) // mapping.banks
    total = torch.full_like(matrix, offset)
    for bank, factor in enumerate(factors):
        chosen = slice(bank * per_bank, (bank + 1) * per_bank)
        devices: dict[float, Tensor] = {}
        for sign, g in zip(mapping.signs[chosen], states[chosen], strict=True):
            devices[sign] = devices.get(sign, 0.0) + g
        for start, stop in partition(matrix.shape[1], rows):
            for first, last in partition(matrix.shape[0], columns):
                part = {sign: g[first:last, start:stop] for sign, g in devices.items()}
                together = [part] if interleaved else [{sign: g} for sign, g in part.items()]
                for arrays in together:
                    sign = 1.0 if interleaved else next(iter(arrays))
                    own = arrays if interleaved else {1.0: arrays[sign]}
                    total[first:last, start:stop] += factor * sign * exact_currents(own, **ohms)
    return limit * total


@for_each("mapping", ["one-sided", "two-sided", "offset", "one-sided*2", BitSliced(weight_bits=9, slices=2)])
@for_each("interleaved", [False, True])
def test_every_mapping_and_cut_is_that_of_its_circuits(mapping, interleaved):
    layer = fill(nn.Linear(11, 7, bias=False).double())
    rows, columns = 4, 3
    crossbar = crossbar_of(mapping=mapping, rows=rows, columns=columns, interleaved=interleaved)
    want = by_circuit(layer.weight.detach(), find_mapping(mapping), rows, columns, interleaved=interleaved)
    got = program(layer, crossbar).weight.detach()
    lost = float((want - layer.weight.detach()).norm())
    assert float((got - want).norm()) < 3e-3 * lost
    assert lost > 1e-3
    arrays = program(layer, crossbar.replace(dac=IDEAL))
    x = torch.randn(3, 11, dtype=torch.float64)
    torch.testing.assert_close(arrays(x), x @ got.T)


LAYERS = {
    "linear": (lambda: nn.Linear(6, 9), (2, 6)),
    "grouped": (lambda: nn.Conv2d(4, 6, 2, groups=2, stride=2), (2, 4, 5, 5)),
    "depthwise": (lambda: nn.Conv1d(3, 6, 4, groups=3, padding=2), (2, 3, 8)),
    "transposed": (lambda: nn.ConvTranspose1d(4, 6, 3, groups=2, stride=2), (2, 4, 5)),
}


@for_each("name", list(LAYERS))
@for_each("bias_rows", [0, 2])
def test_each_group_of_a_layer_has_its_own_circuits_with_bias_rows_at_the_end(name, bias_rows):
    make, shape = LAYERS[name]
    layer = fill(make().double())
    x = torch.rand(shape, dtype=torch.float64)
    groups = getattr(layer, "groups", 1)
    weight = layer.weight.detach()
    if name == "transposed":
        weight = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    matrix = weight.flatten(1)
    inputs = matrix.shape[1]
    if bias_rows:
        matrix = torch.cat([matrix, (layer.bias.detach() / bias_rows).unsqueeze(1).expand(-1, bias_rows)], dim=1)
    limit = matrix.abs().max()
    parts = []
    for part in matrix.chunk(groups):  # one weight limit for the layer
        scaled = torch.cat([part, torch.full((1, part.shape[1]), float(limit), dtype=torch.float64)])
        want = by_circuit_with_limit(part, scaled)
        parts.append(want)
    expected = copy.deepcopy(layer)
    filters = torch.cat([part[:, :inputs] for part in parts]).reshape(weight.shape)
    if name == "transposed":
        filters = filters.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    expected.weight.data = filters
    if bias_rows:
        expected.bias.data = torch.cat([part[:, inputs:].sum(dim=1) for part in parts])
    crossbar = crossbar_of(rows=5, columns=2, bias_rows=bias_rows)
    with torch.no_grad():
        want, exact = expected(x), layer(x)
        for path in (crossbar, crossbar.replace(dac=IDEAL)):
            got = program(layer, path)(x)
            assert float((got - want).norm()) < 1e-2 * float((want - exact).norm())


def by_circuit_with_limit(part: Tensor, scaled: Tensor) -> Tensor:
    """`by_circuit` of a group whose weight limit is that of its layer."""
    limit = scaled.abs().max()
    mapping = find_mapping("one-sided")
    positive, negative = mapping.to_states(part / limit, G_MIN, 0)
    ohms = {name.removesuffix("_ohm"): ohm / OHM for name, ohm in WIRES.items()}
    total = torch.zeros_like(part)
    for start, stop in partition(part.shape[1], 5):
        for first, last in partition(part.shape[0], 2):
            cut = (slice(first, last), slice(start, stop))
            currents = exact_currents({1.0: positive[cut]}, **ohms) - exact_currents({1.0: negative[cut]}, **ohms)
            total[cut] = limit * currents / (1.0 - G_MIN)
    return total


MODELS = {
    "lstm": (lambda: nn.LSTM(12, 8, bidirectional=True), (5, 2, 12)),
    "transformer": (lambda: nn.TransformerEncoderLayer(16, 2, 32), (4, 2, 16)),
    "convolutions": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8)),
        (2, 3, 8, 8),
    ),
}


@for_each("name", list(MODELS))
def test_whole_models_lose_the_same_as_weights_and_in_arrays(name):
    make, shape = MODELS[name]
    torch.manual_seed(0)
    model, x = make().eval(), torch.rand(shape)
    crossbar = crossbar_of(rows=10, columns=6)

    def run(module: nn.Module) -> Tensor:
        outputs = module(x)
        return outputs[0] if isinstance(outputs, tuple) else outputs

    with torch.no_grad():
        exact, weights, arrays = (
            run(model),
            run(program(model, crossbar)),
            run(program(model, crossbar.replace(dac=IDEAL))),
        )
    torch.testing.assert_close(weights, arrays, rtol=0, atol=1e-5)
    assert float((weights - exact).norm()) > 3e-3 * float(exact.norm())


def test_wires_without_resistance_change_nothing_and_a_chip_stays_the_same_chip():
    model = fill(nn.Sequential(nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 5)))
    x = torch.rand(4, 40)
    options = {"read_noise": False, "stuck": (0.01, 0.01)}
    plain = program(model, Crossbar("pcm-nandakumar2019", **options), chip=2, time_s=3600.0)(x)
    for ohm, tolerance in ((0.0, 0.0), (1e-9, 1e-5)):
        wires = Parasitics(row_ohm=ohm, column_ohm=ohm)
        wired = program(model, Crossbar("pcm-nandakumar2019", parasitics=wires, **options), chip=2, time_s=3600.0)(x)
        torch.testing.assert_close(wired, plain, rtol=0, atol=tolerance)


def test_drift_compensation_acts_on_currents_behind_the_wires():
    layer = fill(nn.Linear(60, 20, bias=False))
    wires = Parasitics(row_ohm=100.0, column_ohm=100.0)
    crossbar = Crossbar("pcm-nandakumar2019", read_noise=False, parasitics=wires)
    fresh, old = (program(layer, crossbar, time_s=t).weight.detach() for t in (0.0, 1e6))
    compensated = program(layer, crossbar, time_s=1e6, deployment=Deployment(compensation=("drift",))).weight
    factor = fresh.abs().mean() / old.abs().mean()
    torch.testing.assert_close(compensated.detach(), old * factor)
    assert float(factor) > 1.05


@for_each(("signed", "tolerance"), [(True, 0.05), (False, 0.15)])
def test_read_noise_is_attenuated_as_currents_are(signed, tolerance):
    # The noise of each output, against the slopes of circuits over the state of each device. Where inputs have one sign
    # they lift the columns, by up to the share that columns lose, which is neglected for noise.
    layer = nn.Linear(12, 3, bias=False).double()
    layer.weight.data = torch.rand(3, 12, dtype=torch.float64) + 0.2
    row, column = 0.03, 0.004
    parasitics = Parasitics(row_ohm=row * 62500.0, column_ohm=column * 62500.0)
    crossbar = Crossbar("sonos-agrawal2022", error_scale=0.0, parasitics=parasitics)
    x = torch.rand(12, dtype=torch.float64)
    x[::2] *= -1.0 if signed else 1.0
    limit = layer.weight.detach().max()
    states = layer.weight.detach() / limit
    std = 12.58037 * (1.0 - torch.exp(-1600.0 * states / 215.36557)) / 1600.0  # of one read
    base = exact_currents({1.0: states}, row=row, column=column) @ x
    variance = torch.zeros(3, dtype=torch.float64)
    for output in range(3):
        for j in range(12):
            shifted = states.clone()
            shifted[output, j] += 1e-4
            slope = (exact_currents({1.0: shifted}, row=row, column=column) @ x - base) / 1e-4
            variance += (slope * std[output, j]).square()
    # A negative device is off and has no noise.
    want, repeated = limit * variance.sqrt(), x.expand(20000, -1)
    with torch.no_grad():
        got = program(layer, crossbar)(repeated).std(dim=0)
        without = program(layer, crossbar.replace(parasitics=None))(repeated).std(dim=0)
    torch.testing.assert_close(got, want, rtol=tolerance, atol=0.0)
    assert (without > (1.0 + tolerance) * want).all()


def test_beyond_its_range_the_layer_is_named():
    model = nn.Sequential()
    model.add_module("fc", fill(nn.Linear(256, 256)))
    large = {"parasitics": Parasitics(row_ohm=20.0, column_ohm=20.0)}
    with pytest.warns(UserWarning, match=r"IR drop in the layer 'fc'.*rows, columns.*crosssim"):
        program(model, Crossbar("rram-milo2021", **large))
    with pytest.raises(InputError, match="'fc'"):
        program(model, Crossbar("rram-milo2021", on_out_of_range="error", **large))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program(model, Crossbar("rram-milo2021", rows=16, columns=16, **large))
        program(model, Crossbar("rram-milo2021", parasitics=Parasitics(row_ohm=50.0)))  # exact


def test_converter_ranges_are_found_behind_the_wires():
    layer, x = fill(nn.Linear(64, 32)), torch.rand(50, 64)
    options = {"dac": DAC(bits=8), "adc": ADC(bits=8), "device": "rram-milo2021", "on_out_of_range": "warn"}
    wired = Crossbar(**options, parasitics=Parasitics(column_ohm=10.0))
    ranges = calibrate(layer, wired, [x])
    plain = calibrate(layer, Crossbar(**options), [x])
    (low, high), (ideal_low, ideal_high) = ranges["weight"].outputs[0], plain["weight"].outputs[0]
    assert high - low < 0.9 * (ideal_high - ideal_low)
    assert ranges["weight"].inputs == plain["weight"].inputs
    program(layer, wired, deployment=Deployment(ranges=ranges))
    for other, name in (
        (wired.replace(columns=8), "columns"),
        (wired.replace(parasitics=Parasitics(row_ohm=1.0)), "paras"),
        (wired.replace(parasitics=None), "paras.*but this one has 'none'"),
        (wired.replace(parasitics=Parasitics(column_ohm=10.0, interleaved=True)), "interleaved False"),
        (wired.replace(window=(25.0, 112.5)), "paras"),  # the same wires, beside devices of twice the resistance
    ):
        with pytest.raises(InputError, match=name):
            program(layer, other, deployment=Deployment(ranges=ranges))
    with pytest.raises(InputError, match="parasitics"):
        program(layer, wired, deployment=Deployment(ranges=plain))
    low, high = wired.device.programming_window
    scaled = wired.replace(window=(low / 2, high / 2), parasitics=Parasitics(column_ohm=20.0))  # the same circuit
    program(layer, scaled, deployment=Deployment(ranges=ranges))
    assert calibrate(layer, scaled, [x]) == ranges


def test_training_through_arrays_learns_to_undo_the_drop():
    torch.manual_seed(0)
    layer, x = nn.Linear(64, 4, bias=False), torch.rand(128, 64)
    target = x @ torch.randn(64, 4)
    crossbar = Crossbar("rram-milo2021", error_scale=0.0, parasitics=Parasitics(row_ohm=5.0, column_ohm=20.0))
    method = ArrayAware(crossbar, fold=False)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.2)

    first = None
    for step in range(1, 41):
        loss = method.backward(layer, nn.functional.mse_loss, [(x, target)], step=step)
        first = first or float(loss)
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        on_chip = float(nn.functional.mse_loss(program(layer, crossbar)(x), target))
        digital = float(nn.functional.mse_loss(layer(x), target))
    assert on_chip < 0.2 * first
    assert on_chip < 0.2 * digital


def test_the_noise_of_programming_leaves_the_wires_out():
    weight = torch.randn(6, 8)
    wires = Parasitics(row_ohm=500.0, column_ohm=500.0)
    plain, wired = Crossbar("rram-milo2021"), Crossbar("rram-milo2021", parasitics=wires)
    generator = Axes(0).generator
    torch.testing.assert_close(wired.perturb("fc", weight, generator()), plain.perturb("fc", weight, generator()))
