"""The headline of a target and the marks in its table say the same."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from aimc_robust.report.comparison.rankings import baseline_pairs, compare_with_baseline, rank_methods
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.paired_difference import compare_pairs

PART = SimpleNamespace(model_dump_json=lambda: "the same")


def spec_of(labels):
    methods = {label: SimpleNamespace(kind="sgd" if label == "sgd" else "rwp") for label in labels}
    return SimpleNamespace(labels=labels, methods=methods, data_of=lambda label: PART, model_of=lambda label: PART)


def estimate(model_means, spread=0.1):
    chips = spread * np.array([-1.0, 0.0, 1.0])
    rows = [
        {"train_seed": seed, "chip": chip, "accuracy": mean + chips[chip]}
        for seed, mean in enumerate(model_means)
        for chip in range(3)
    ]
    return Estimate(pd.DataFrame(rows))


def both(methods):
    """The headline and the rankings of one target; methods: label -> means of the trained models."""
    spec, estimates = spec_of(list(methods)), {(label, "t"): estimate(means) for label, means in methods.items()}
    comparisons = compare_pairs(estimates, baseline_pairs(spec, estimates, ["t"]))
    (headline,) = compare_with_baseline(spec, estimates, comparisons, ["t"])
    return headline, rank_methods(spec, estimates, comparisons, ["t"])["t"]


SGD, STEADY, ERRATIC, WORSE = [50.0, 50.2, 49.8], [60.0, 60.2, 59.9], [95.0, 52.0, 60.0], [40.0, 40.1, 39.8]


def test_a_settled_method_is_the_headline_though_another_has_a_higher_mean():
    headline, rankings = both({"sgd": SGD, "steady": STEADY, "erratic": ERRATIC})
    assert (headline.best, headline.best_means, headline.settled) == ("steady", ("erratic",), True)
    assert {label: r.tags for label, r in rankings.items()} == {"sgd": [], "steady": ["better"], "erratic": ["best"]}


@pytest.mark.parametrize(
    "methods",
    [
        {"sgd": SGD, "steady": STEADY},
        {"sgd": SGD, "erratic": ERRATIC},
        {"sgd": SGD, "worse": WORSE},
        {"sgd": SGD, "steady": STEADY, "erratic": ERRATIC, "worse": WORSE},
    ],
    ids=lambda methods: " ".join(methods),
)
def test_a_headline_is_settled_exactly_if_a_method_is_marked_above(methods):
    headline, rankings = both(methods)
    assert headline.settled == any(ranking.status == "better" for ranking in rankings.values())
    if headline.settled:
        assert rankings[headline.best].status == "better"
