"""A report of methods that do not differ calls some difference settled in at most 5 of 100 cases."""

import numpy as np
import pytest
from support.benchmark_scripts import load_script
from support.estimates import estimate

from aimc_robust.statistics.crossed_effects import CrossedEffects
from aimc_robust.statistics.paired_difference import compare_pairs

script = load_script("statistics/family_wise_error.py")
REPORTS = 600


@pytest.fixture(scope="module")
def equal_methods():
    """Whether each headline of 600 reports of equal methods is settled: by the rule, and by single comparisons."""
    rng = np.random.default_rng(0)
    parts = [script.judge_reports(script.accuracies(rng, 100, 3, 25)) for _ in range(REPORTS // 100)]
    return [np.concatenate(rule) for rule in zip(*parts, strict=True)]


def test_of_reports_without_differences_at_most_5_percent_settle_any(equal_methods):
    corrected, _ = equal_methods
    assert corrected.any(axis=1).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / REPORTS)


def test_single_comparisons_of_the_best_with_the_baseline_settle_some_in_a_third(equal_methods):
    _, single = equal_methods
    assert single.any(axis=1).mean() > 0.30
    assert single.mean() > 0.055  # the best of six is no single comparison


def test_the_rule_holds_without_shared_effects_too():
    rng = np.random.default_rng(1)
    spread = script.Spread(model=0.3, model_on_target=0.0, chip=0.0, chip_of_method=0.0)
    values = script.accuracies(rng, 300, 5, 10, spread)
    assert script.judge_reports(values)[0].any(axis=1).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize(("seeds", "gain", "least"), [(5, 10.0, 0.9), (10, 5.0, 0.95)])
def test_it_finds_what_differs(seeds, gain, least):
    values = script.accuracies(np.random.default_rng(2), 50, seeds, 25)
    values[:, -1] += gain
    assert script.judge_reports(values)[0].mean() > least


def test_the_vectorized_rule_is_that_of_the_reports():
    values = script.accuracies(np.random.default_rng(3), 4, 4, 8) * 0.3 + 50.0
    values[:, -1] += 4.0
    differences = values[:, 1:] - values[:, :1]
    _, errors = script.mean_errors(differences)
    assert tuple(part if np.ndim(part) == 0 else part[1, 2, 3] for part in errors) == pytest.approx(
        CrossedEffects(differences[1, 2, 3]).mean_error()
    )
    for report, found in zip(values, script.judge_reports(values)[0], strict=True):
        estimates = {
            (f"m{m}", f"t{t}"): estimate(report[m, t]) for m in range(script.METHODS) for t in range(script.TARGETS)
        }
        pairs = [((m, t), ("m0", t)) for m, t in estimates if m != "m0"]
        settled = {first[1] for (first, _), each in compare_pairs(estimates, pairs).items() if each.settled}
        assert settled == {f"t{t}" for t in np.flatnonzero(found)}
