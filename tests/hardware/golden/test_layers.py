"""Whole layers agree with CrossSim 3.2.0: folded BatchNorm, device errors, arrays of 32 rows, converters."""

import torch
from support.for_each import for_each
from support.golden import (
    ARRAYS,
    CASES,
    DAY_S,
    PRECISIONS,
    by_id,
    converting_crossbar,
    disagreement,
    replayed,
    stored_array,
)
from torch import Tensor, nn

from aimc_robust import Crossbar
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.program import chip_axes, program_natively
from aimc_robust.hardware.programming.programmed_matrix import Chip


def of_layer(case: dict, name: str, dtype: torch.dtype) -> Tensor | None:
    found = ARRAYS.get(f"layer-{case['layer']}/{name}")
    return None if found is None else found.to(dtype)


def torch_layer(case: dict, dtype: torch.dtype) -> nn.Sequential:
    weight, bias = of_layer(case, "weight", dtype), of_layer(case, "bias", dtype)
    if case["type"] == "Linear":
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    else:
        kind = {"Conv1d": nn.Conv1d, "Conv2d": nn.Conv2d}[case["type"]]
        channels = weight.shape[1] * case["groups"], weight.shape[0], tuple(weight.shape[2:])
        options = {name: tuple(case[name]) for name in ("stride", "padding")} | {"groups": case["groups"]}
        layer = kind(*channels, bias=bias is not None, **options)
    parts = [layer]
    state = {"0.weight": weight} | ({} if bias is None else {"0.bias": bias})
    if case["batchnorm"]:
        parts.append((nn.BatchNorm2d if case["type"] == "Conv2d" else nn.BatchNorm1d)(len(weight)))
        names = {"weight": "bn_weight", "bias": "bn_bias", "running_mean": "bn_mean", "running_var": "bn_var"}
        state |= {f"1.{ours}": of_layer(case, theirs, dtype) for ours, theirs in names.items()}
        state["1.num_batches_tracked"] = torch.tensor(1)
    model = nn.Sequential(*parts).to(dtype)
    model.load_state_dict(state)
    return model


class ReplayedChip(Chip):
    """A chip whose devices draw the recorded normals."""

    def replaying(self, case: dict) -> "ReplayedChip":
        object.__setattr__(self, "case", case)
        return self

    def draws(self, weight):
        return replayed(self.case)


def crossbar_of(case: dict, **changes: object) -> Crossbar:
    low, high = case["window"]
    window = (low / high, 1.0) if case["device"] == "ideal" else (low, high)
    return converting_crossbar(case | changes, case["device"], window)


def programmed(case: dict, dtype: torch.dtype, **changes: object) -> nn.Module:
    prepared, _ = prepare(torch_layer(case, dtype))
    chip = ReplayedChip(axes=chip_axes(0, 0), time_s=case["time_days"] * DAY_S).replaying(case)
    return program_natively(prepared, crossbar_of(case, **changes), chip)


@PRECISIONS
@by_id(CASES["layers"])
def test_layers_are_crosssims(case, dtype):
    analog = programmed(case, dtype)
    y = analog(of_layer(case, "x", dtype))
    safe, elsewhere = disagreement(case, y)
    assert safe <= 1.0
    assert elsewhere <= 1.0


@PRECISIONS
@by_id([case for case in CASES["layers"] if case["w_tolerance"] is not None])
def test_programmed_weights_of_layers_are_crosssims(case, dtype):
    ours = programmed(case, dtype)[0].weight.detach()
    error = (ours - stored_array(case, "w_prog")).abs().max()
    assert float(error) / case["w_max"] < case["w_tolerance"]


@by_id([case for case in CASES["layers"] if case.get("groups", 1) == 1])
def test_the_arrays_are_crosssims(case):
    # CrossSim keeps a grouped convolution in one block-diagonal array, cut between groups; each of our groups has
    # arrays of its own. So their tile sizes differ, and their outputs, compared above, do not.
    tiles = programmed(case, torch.float32)[0].tiles
    assert [stop - start for start, stop in tiles] == case["tiles"]


@for_each("bits", [7, 6])
@by_id(CASES["layers"][::4])
def test_with_fewer_adc_bits_a_layer_does_not_agree(case, bits):
    analog = programmed(case, torch.float64, adc=case["adc"] | {"bits": bits})
    assert disagreement(case, analog(of_layer(case, "x", torch.float64)))[0] > 10.0
