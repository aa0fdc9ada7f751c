"""Products behind converters agree with CrossSim 3.2.0: every DAC, ADC, array height and input slicing recorded."""

import torch
from support.for_each import for_each
from support.golden import ARRAYS, CASES, PRECISIONS, by_id, converting_crossbar, disagreement
from torch import Tensor, nn

from aimc_robust import program

G_MIN = 50.0 / 225.0
PLAIN = [case for case in CASES["converters"] if case["adc"] is not None and case["rows"] == 17]


def product(case: dict, dtype: torch.dtype, **changes: object) -> tuple[list[tuple[int, int]], Tensor]:
    """Our arrays and outputs (outputs, batch) for a case."""
    weight, x = ARRAYS["mvm_W"].to(dtype), ARRAYS[case["x"]].to(dtype)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=dtype)
    layer.weight = nn.Parameter(weight)
    crossbar = converting_crossbar(case | changes, "ideal", (G_MIN, 1.0), cell_bits=case["cell_bits"])
    analog = program(layer, crossbar)
    return analog.tiles, analog(x.T).detach().T


@PRECISIONS
@by_id(CASES["converters"])
def test_products_are_crosssims(case, dtype):
    tiles, y = product(case, dtype)
    assert y.dtype == dtype
    assert [stop - start for start, stop in tiles] == case["tiles"]
    safe, elsewhere = disagreement(case, y)
    assert safe <= 1.0
    assert elsewhere <= 1.0


def test_the_stored_cases_cover_every_kind_of_converter_height_and_slicing():
    dacs = {(case["dac"]["kind"], case["dac"]["bits"]) for case in CASES["converters"]}
    assert dacs == {(kind, bits) for kind in ("unsigned", "signed", "sign-magnitude") for bits in (4, 6, 8)} | {
        ("ideal", 0)
    }
    adcs = {(case["adc"]["kind"], case["adc"]["bits"]) if case["adc"] else None for case in CASES["converters"]}
    assert adcs == {("uniform", 6), ("uniform", 8), ("sign-magnitude", 8), None}
    assert {case["rows"] for case in CASES["converters"]} == {0, 16, 17}
    slicings = {
        (case["dac"]["slice_bits"], bool(case["adc"] and case["adc"]["per_slice"]))
        for case in CASES["converters"]
        if case["dac"].get("slice_bits")
    }
    assert slicings == {(1, True), (2, True), (1, False)}


@for_each(
    "change",
    [
        lambda case: {"rows": 0},
        lambda case: {"adc": case["adc"] | {"bits": case["adc"]["bits"] - 1}},
        lambda case: {"adc": case["adc"] | {"range": [2.0 * end for end in case["adc"]["range"]]}},
    ],
)
@by_id(PLAIN[::5])
def test_with_other_arrays_or_converters_it_does_not_agree(case, change):
    assert disagreement(case, product(case, torch.float64, **change(case))[1])[0] > 10.0


@by_id([case for case in CASES["converters"] if "s1adc" in case["id"] and "ideal" not in case["id"]][::4])
def test_without_its_input_slices_a_case_does_not_agree(case):
    changes = {"dac": case["dac"] | {"slice_bits": 0}, "adc": case["adc"] | {"per_slice": False}}
    assert disagreement(case, product(case, torch.float64, **changes)[1])[0] > 10.0
