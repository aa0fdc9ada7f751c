"""Measured states that are not those of the model and the crossbar, files of any layer names, the time of reads."""

import copy
import dataclasses
import pickle
import warnings

import numpy as np
import pytest
import torch
from support.models import digest
from torch import nn

from aimc_robust import Crossbar, Deployment, FaultMap, device_states, draw_faults, program
from aimc_robust.errors import DataError, InputError

NAN = float("nan")
YEAR_S = 3.15e7
NAMES = ("a/b", "c%2Fd", "/e", "f/target", "file", "allow_pickle", "50%")


class Named(nn.Module):
    """Layers whose names are hard for files."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.parts = nn.ModuleDict({name: nn.Linear(3, 2) for name in NAMES})

    def forward(self, x):
        return sum(part(x) for part in self.parts.values())


def folded_net():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    model[1].running_var.fill_(25.0)
    nn.init.uniform_(model[1].weight, 0.2, 3.0)
    return model


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_every_name_of_a_layer_survives_a_file(tmp_path, ending):
    model, crossbar, path = Named(), Crossbar("rram-milo2021", stuck=(0.3, 0.3)), tmp_path / f"file.{ending}"
    faults = draw_faults(model, crossbar)
    assert len(faults.layers) == len(NAMES)
    faults.save(path)
    assert FaultMap.load(path) == faults
    assert digest(program(model, crossbar.replace(stuck=path))) == digest(program(model, crossbar))
    states = device_states(model, crossbar)
    states.save(path)
    assert digest(program(model, crossbar, states=path)) == digest(program(model, crossbar))


@pytest.mark.parametrize("ending", ["", "npz"])
def test_states_of_another_model_or_crossbar_are_refused_by_name(tmp_path, ending):
    model, crossbar = folded_net(), Crossbar("pcm-joshi2020")
    states = given = device_states(model, crossbar)
    if ending:
        given = tmp_path / "states.npz"
        states.save(given)
    assert digest(program(model, crossbar, states=given)) == digest(program(model, crossbar))
    larger, moved = copy.deepcopy(model), copy.deepcopy(model)
    with torch.no_grad():
        larger[0].weight.mul_(3.0)
        moved[0].weight.copy_(moved[0].weight.flip(1))  # the same limits
    refused = [
        ("weight_limit is .* instead of", model, crossbar, Deployment(fold=False)),
        (r"weight_limit has shape \(\) instead of \(4, 1\)", model, crossbar.replace(scaling="column"), None),
        ("weight_limit", model, crossbar.replace(weight_percentile=0.9), None),
        ("weight_limit", larger, crossbar, None),
        ("another window", model, crossbar.replace(window=(0.25, 20.0)), None),
        ("target differs by", moved, crossbar, None),
        ("target differs by", model, crossbar.replace(mapping="two-sided"), None),
        ("target differs by", model, crossbar.replace(cell_bits=2), None),
        ("uS.*nA", model, Crossbar("sonos-agrawal2022"), None),
    ]
    for words, other_model, other, deployment in refused:
        with pytest.raises(InputError, match=words) as error:
            program(other_model, other, states=given, deployment=deployment)
        assert "nA" in words or "the layer '0'" in str(error.value)
    pairs = device_states(model, crossbar.replace(mapping="one-sided*2"))
    with pytest.raises(InputError, match="another mapping"):
        program(model, crossbar.replace(mapping="bit-sliced"), states=pairs)
    alone = states.programmed  # arrays that tell no more are used as they are
    on_chip = program(larger, crossbar.replace(read_noise=False), states=alone)
    before = program(model, crossbar.replace(read_noise=False), states=alone)
    torch.testing.assert_close(on_chip[0].weight, 3.0 * before[0].weight)


def test_a_model_in_half_precision_has_the_states_of_its_original():
    model, crossbar = nn.Sequential(nn.Linear(40, 30)), Crossbar("pcm-joshi2020", cell_bits=4, read_noise=False)
    states = device_states(model, crossbar)
    on_chip = program(copy.deepcopy(model).bfloat16(), crossbar, states=states)
    torch.testing.assert_close(on_chip[0].weight.float(), program(model, crossbar)[0].weight, rtol=0.01, atol=1e-3)


@pytest.mark.parametrize("device", ["pcm-nandakumar2019", "pcm-hermes2023-1dev", "rram-milo2021"])
@pytest.mark.parametrize("ending", ["", "npz"])
def test_read_noise_of_aged_states_is_that_of_their_time(tmp_path, device, ending):
    torch.manual_seed(0)
    model, crossbar = nn.Sequential(nn.Linear(64, 16, bias=False)), Crossbar(device, on_out_of_range="warn")
    time_s = YEAR_S if crossbar.device.cell.has_drift else 0.0
    states = given = device_states(model, crossbar, chip=1, time_s=time_s)
    if ending:
        given = tmp_path / "aged.npz"
        states.save(given)
    aged = program(model, crossbar, chip=1, time_s=time_s)
    x = torch.rand(5, 64)
    first = aged(x)
    assert torch.equal(program(model, crossbar, chip=1, states=given)(x), first)
    other_time = dataclasses.replace(states, time_s=0.1 * time_s)
    unlike = program(model, crossbar, chip=1, states=other_time)(x)
    assert torch.equal(unlike, first) != crossbar.device.cell.read_noise_depends_on_time


def test_targets_stand_for_unknown_fresh_states(tmp_path):
    torch.manual_seed(0)
    model, crossbar = nn.Sequential(nn.Linear(64, 16, bias=False)), Crossbar("pcm-nandakumar2019", mapping="two-sided")
    states, path = device_states(model, crossbar, chip=1, time_s=YEAR_S), tmp_path / "aged.npz"
    states.save(path)
    with np.load(path) as file:
        kept = {name: file[name] for name in file.files}
    x = torch.rand(1, 64).expand(2000, 64)
    spread = {}
    for dropped in ((), ("0/fresh",), ("0/fresh", "0/target")):
        np.savez(path, **{name: array for name, array in kept.items() if name not in dropped})
        spread[len(dropped)] = program(model, crossbar, chip=1, states=path)(x).std(0).mean().item()
    assert spread[1] == pytest.approx(spread[0], rel=0.05)
    assert spread[2] > 1.3 * spread[0]  # aged states alone look like devices that were programmed to less


def test_states_without_a_time_are_told_where_it_matters():
    model, crossbar = nn.Sequential(nn.Linear(6, 4)), Crossbar("pcm-nandakumar2019")
    states = device_states(model, crossbar).programmed
    with pytest.warns(UserWarning, match="read noise depends on the time.*time 0"):
        program(model, crossbar, states=states)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program(model, crossbar.replace(read_noise=False), states=states)
        other = Crossbar("rram-milo2021")  # whose read noise does not depend on it
        program(model, other, states=device_states(model, other).programmed)


def test_drift_compensation_needs_both_times():
    model, crossbar = nn.Sequential(nn.Linear(6, 4)), Crossbar("pcm-nandakumar2019")
    compensated = Deployment(compensation=("drift",))
    fresh, aged = (device_states(model, crossbar, time_s=time_s) for time_s in (0.0, 1e5))
    program(model, crossbar, states=fresh, deployment=compensated)
    with pytest.raises(InputError, match="100000 s after programming; drift compensation"):
        program(model, crossbar, states=aged, deployment=compensated)


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"/time_s": np.array("soon")}, DataError, "time_s must be a number of seconds, got 'soon'"),
        ({"/time_s": np.array("-1.0")}, InputError, r"states\.npz: time_s"),
        ({"/time_s": np.array("nan")}, InputError, r"states\.npz: time_s"),
        ({"0/fresh": np.ones((2, 4, 5)), "/time_s": np.array("9.0")}, InputError, "directly after programming"),
        ({"0/fresh": np.full((2, 4, 6), NAN), "/time_s": np.array("9.0")}, InputError, "'0' hold NaN"),
        ({"0/window": np.array(["a", "b"])}, InputError, "'0'.*window are no numbers"),
        ({"0/weight_limit": np.array(NAN)}, InputError, "'0'.*weight_limit is nan"),
        ({"0/targets": np.ones(3)}, InputError, "'0/targets'"),
    ],
)
def test_bad_records_are_refused(tmp_path, changed, error, words):
    model, crossbar, path = nn.Sequential(nn.Linear(6, 4)), Crossbar("pcm-nandakumar2019"), tmp_path / "states.npz"
    device_states(model, crossbar).save(path)
    with np.load(path) as file:
        arrays = dict(file) | changed
    np.savez(path, **arrays)
    with pytest.raises(error, match=words):
        program(model, crossbar, states=path)


def test_masked_entries_work():
    values = np.ma.masked_array(np.full((2, 1, 3), 200), mask=[[[1, 0, 1]], [[1, 1, 1]]])
    assert FaultMap({"a": values}) == FaultMap({"a": [[[NAN, 200.0, NAN]], [[NAN] * 3]]})
    assert FaultMap({"a": values.astype(np.float32)}).stuck_devices == 1
    for bad in (values.astype(bool), torch.zeros(2, 1, 3).to_sparse(), torch.zeros(2, 1, 3, device="meta")):
        with pytest.raises(InputError, match="'a'"):
            FaultMap({"a": bad})
    with pytest.raises(InputError, match="name of a layer"):
        FaultMap({0: values})
    model, crossbar = nn.Sequential(nn.Linear(3, 1)), Crossbar("rram-milo2021")
    with pytest.raises(InputError, match="'0' hold NaN"):
        program(model, crossbar, states={"0": values})


def test_maps_and_states_cannot_be_changed():
    model, crossbar = nn.Sequential(nn.Linear(6, 4)), Crossbar("rram-milo2021", read_noise=False)
    faults = draw_faults(model, crossbar.replace(stuck=(0.2, 0.2)))
    faulty = crossbar.replace(stuck=faults)
    before, key = program(model, faulty), hash(faulty)
    for each in (faults, faulty.device.fault_map, pickle.loads(pickle.dumps(faults)), copy.deepcopy(faults)):
        each.layers["0"][:] = 5.0
        each.layers["0"].numpy()[:] = 5.0
        with pytest.raises(TypeError):
            each.layers["0"] = torch.ones(2, 4, 6)
        for name in ("layers", "unit"):
            with pytest.raises(AttributeError):
                setattr(each, name, {})
        assert digest(program(model, crossbar.replace(stuck=each))) == digest(before)
    assert hash(crossbar.replace(stuck=FaultMap(faults.layers, unit="uS"))) == key
    states = device_states(model, crossbar)
    for arrays in (states.target, states.programmed, states.fresh, states.weight_limits):
        arrays["0"].fill_(5.0)
        with pytest.raises(TypeError):
            arrays["0"] = torch.ones(2, 4, 6)
    with pytest.raises(ValueError, match="read-only"):
        states.addresses["0"].rows[:] = 1
    assert digest(program(model, crossbar, states=states)) == digest(program(model, crossbar))
    measured = states.programmed["0"].numpy()
    measured[0, 0, 0] = 60.0
    changed = dataclasses.replace(states, programmed={"0": measured})
    assert digest(program(model, crossbar, states=changed)) != digest(program(model, crossbar))
    with pytest.raises(InputError, match="lacks the layers 1"):
        dataclasses.replace(states, programmed={"1": measured})


@pytest.mark.parametrize("size", [1e-45, 1e-42, 1e-39, 1e-36, 1.0, 1e37])
@pytest.mark.parametrize("arrays", [False, True], ids=["weights", "arrays"])
@pytest.mark.parametrize("mapping", ["one-sided", "two-sided", "offset"])
def test_drift_compensation_of_the_smallest_and_largest_weights(size, arrays, mapping):
    # Oracle: weights are relative to the largest, so that a layer's size changes nothing but the size of its output.
    torch.manual_seed(1)
    crossbar = Crossbar("pcm-nandakumar2019", mapping=mapping, read_noise=arrays)
    exact = nn.Sequential(nn.Linear(6, 4, bias=False)).double()
    model = copy.deepcopy(exact).float()
    with torch.no_grad():
        model[0].weight.copy_(exact[0].weight / exact[0].weight.abs().max() * size)
        exact[0].weight.copy_(model[0].weight)  # what float32 makes of them
    deployment = Deployment(compensation=("drift",))
    small, oracle = (program(each, crossbar, time_s=1e6, deployment=deployment)[0].weight for each in (model, exact))
    step = max(size * 1e-5, 3e-45)
    assert (small.double() - oracle).abs().max() <= step
    assert oracle.abs().max() > 0.3 * size
