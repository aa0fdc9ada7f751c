"""What a user's own loop gives for estimates and tables of them: taken, or refused in one sentence that says how."""

import numpy as np
import pandas as pd
import pytest
import torch
from support.estimates import estimate
from support.for_each import for_each

import aimc_robust as ar
from aimc_robust.errors import AimcError, InputError, UnknownNameError

ONE, OTHER = estimate([[90.0, 91.0, 92.0]]), estimate([[80.0, 83.0, 81.0]])
ESTIMATES = {("sgd", "rram"): ONE, ("rwp", "rram"): OTHER}
PAIR = (("rwp", "rram"), ("sgd", "rram"))
OTHERS = {
    "None": None,
    "text": "rram",
    "number": 3.0,
    "list": [ONE],
    "nested": [[0.1], [0.2, 0.3]],
    "set": {0.1},
    "object": object(),
    "array": np.zeros((2, 3)),
    "tensor": torch.zeros(2, 3),
    "series": pd.Series([1.0, 2.0]),
    "frame": pd.DataFrame({"x": [1.0, 2.0]}),
    "dict": {"a": 1},
}
FUNCTIONS = {
    "Estimate": ar.Estimate,
    "Estimate, metric": lambda value: ar.Estimate(ONE.table, metric=value),
    "Estimate, others": lambda value: ar.Estimate(ONE.table, others=[value]),
    "quantile": ONE.quantile,
    "reached_by": ONE.reached_by,
    "yield_at": lambda value: ONE.yield_at([value]),
    "for_column": ONE.for_column,
    "PrimaryMetric, unit": lambda value: ar.PrimaryMetric("f1", unit=[value]),
    "PrimaryMetric, bounds": lambda value: ar.PrimaryMetric("f1", bounds=value),
    "EvaluationGrid": ar.EvaluationGrid,
    "paired_difference, first": lambda value: ar.paired_difference(value, ONE),
    "paired_difference, second": lambda value: ar.paired_difference(ONE, value),
    "difference_table, estimates": lambda value: ar.difference_table(value, [PAIR]),
    "difference_table, comparisons": lambda value: ar.difference_table(ESTIMATES, [value]),
    "holm": lambda value: ar.holm([value, 0.1]),
    "plot.estimates": ar.plot.estimates,
    "plot.over_time": ar.plot.over_time,
    "plot.yields": ar.plot.yields,
    "plot.ranges": ar.plot.ranges,
    "plot.states": ar.plot.states,
    "plot.waterfall": ar.plot.waterfall,
    "plot.arrays": ar.plot.arrays,
    "plot.landscape": lambda value: ar.plot.landscape([value]),
    "plot.drift": ar.plot.drift,
    "fit_card": lambda value: ar.fit_card(value, name="a"),
    "layer_errors": lambda value: ar.layer_errors(torch.nn.Linear(2, 2), [value]),
    "load_spec": lambda value: ar.load_spec([value]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@for_each("kind", OTHERS)
def test_another_kind_of_value_is_refused_in_one_sentence(name, kind):
    if (name, kind) == ("holm", "None"):
        return  # None is a p value that is missing
    with pytest.raises(AimcError) as refusal:
        FUNCTIONS[name](OTHERS[kind])
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize(
    ("estimates", "comparisons", "told"),
    [
        ({"sgd": ONE, "rwp": OTHER}, [("sgd", "rwp")], r"keys \(model, target\).*\(\"sgd\", \"rram\"\), got 'sgd'"),
        ({("sgd", 0.0): ONE}, [], r"keys \(model, target\).*got \('sgd', 0.0\)"),
        ({("sgd", "rram"): ONE.table}, [], "expected Estimates, such as evaluate returns, got DataFrame"),
        ([ONE, OTHER], [PAIR], r"mapping of names to Estimates, such as \{\(\"sgd\", \"rram\"\): .*got list"),
        (ESTIMATES, [("sgd", "rwp")], r"pairs \(first, second\) of keys.*got \('sgd', 'rwp'\) as one of them"),
        (ESTIMATES, PAIR, r"pairs \(first, second\) of keys.*got \('rwp', 'rram'\) as one of them"),
        (ESTIMATES, [(*PAIR, PAIR[0])], r"pairs \(first, second\)"),
        (ESTIMATES, [list(map(list, PAIR))], r"pairs \(first, second\)"),
        (ESTIMATES, None, "got None"),
        (ESTIMATES, "sgd", "got 'sgd'"),
    ],
    ids=["text keys", "times", "tables", "a list", "names", "one pair", "three keys", "lists", "None", "text"],
)
def test_a_table_of_differences_says_which_keys_it_takes(estimates, comparisons, told):
    with pytest.raises(InputError, match=told):
        ar.difference_table(estimates, comparisons)


def test_without_estimates_no_name_is_known():
    with pytest.raises(UnknownNameError, match=r"'rwp on rram'\. Known: none\."):
        ar.difference_table({}, [PAIR])


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        ("train_seed", ["a", "a", "a"], "'train_seed' must hold a number"),
        ("chip", ["0", "1", "2"], "'chip' must hold a number"),
        ("chip", [0.0, 1.0, None], "'chip' must hold a number"),
        ("chip", [0.0, 0.5, 1.0], "'chip' must hold whole numbers from 0"),
        ("chip", [0, -1, 2], "'chip' must hold whole numbers from 0"),
        ("chip", [0, 1, 2**60], "'chip' must hold whole numbers from 0"),
        ("accuracy", [1j, 2j, 3j], "'accuracy' must hold a number"),
        ("n", ["x", "x", "x"], "'n' must hold a number"),
    ],
)
def test_a_column_without_numbers_is_refused_by_name(column, values, told):
    with pytest.raises(InputError, match=told):
        ar.Estimate(ONE.table.assign(**{column: values}))


def test_a_repeated_column_is_refused_by_name():
    with pytest.raises(InputError, match="'train_seed' occurs more than once"):
        ar.Estimate(pd.concat([ONE.table, ONE.table], axis=1))


def test_chips_read_with_a_blank_elsewhere_are_floats_and_paired():
    floats = ar.Estimate(ONE.table.astype({"train_seed": float, "chip": float}))
    assert ar.paired_difference(floats, OTHER).mean == ar.paired_difference(ONE, OTHER).mean


def test_large_seeds_are_not_mistaken_for_each_other():
    def models(*seeds):
        rows = [(seed, chip, 50.0 + number) for number, seed in enumerate(seeds) for chip in (0, 1)]
        return ar.Estimate(pd.DataFrame(rows, columns=["train_seed", "chip", "accuracy"]))

    found = ar.paired_difference(models(1, 2**52), models(2**52, 2**52 + 1))
    assert (found.pairs, found.mean) == (2, 1.0)


@pytest.mark.parametrize("draw", [ar.plot.yields, ar.EvaluationGrid, ar.plot.over_time])
@for_each("key", [1, None, ("a", 1.0, 2), ("a", "b"), (1, 0.0), ("a", -1.0), ("a", True)])
def test_keys_that_are_no_name_and_time_are_refused(draw, key):
    with pytest.raises(InputError, match=r"mapping \(name, seconds\) -> estimate"):
        draw({key: ONE})
