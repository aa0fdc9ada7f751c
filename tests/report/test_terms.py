"""What the terms of a page say depends on the numbers that it shows."""

import pandas as pd
import pytest

from aimc_robust.report.terms import interval, sampling_note
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.primary_metric import ACCURACY


@pytest.mark.parametrize(("values", "said"), [([90.0, 90.0, 90.0], True), ([90.0, 91.0, 90.0], False), ([90.0], False)])
def test_an_interval_without_width_is_explained(values, said):
    estimate = Estimate(pd.DataFrame({"train_seed": 0, "chip": range(len(values)), "accuracy": values}))
    assert ("One without width says that all values are equal" in interval(ACCURACY, iter([estimate]))) == said


@pytest.mark.parametrize(
    ("half_widths", "text"), [([1.02, 1.04], " by ±1.0 points"), ([1.02, 2.0, 1.5], " by ±1.0 to ±2.0 points")]
)
def test_equal_half_widths_are_said_once(half_widths, text):
    assert text in sampling_note(ACCURACY, "images", [50], half_widths)
