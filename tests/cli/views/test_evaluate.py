"""The terminal's table of an evaluation."""

import pytest

from aimc_robust.cli.views.evaluate import show
from aimc_robust.report.metric_text import format_value
from aimc_robust.statistics.primary_metric import PrimaryMetric


@pytest.mark.slow
def test_a_metric_stands_in_the_table_with_its_interval(finished_evaluation, capsys):
    show(finished_evaluation.results)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines[:3] if "top5" in line]
    top5 = finished_evaluation.results.estimates()["exact", "wan"].for_column("top5")
    (line,) = [line for line in lines if line.split()[:2] == ["exact", "wan"]]
    assert f"{top5.mean:.2f} [{top5.ci[0]:.2f}, {top5.ci[1]:.2f}]" in line


def test_a_plain_number_has_four_digits_zeros_at_the_end_included():
    f1 = PrimaryMetric("f1")
    shown = [format_value(f1, value) for value in (89.9, 96.58, 0.0, 100.0, 1234.0, -0.0, float("nan"))]
    assert shown == ["89.90", "96.58", "0.000", "100.0", "1234", "0.000", "–"]
