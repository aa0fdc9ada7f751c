"""The words of a recommendation for a regression: its metric is not the weight errors, and lower is better."""

from dataclasses import replace

import pytest
from support.estimates import estimate

from aimc_robust.cli.views.recommend import show
from aimc_robust.experiments.recommend.proposal import propose
from aimc_robust.experiments.recommend.run import Recommendation
from aimc_robust.experiments.recommend.verdict import judge
from aimc_robust.report.recommendation.page import write_recommendation
from aimc_robust.tasks.regression import Regression

pytestmark = pytest.mark.usefixtures("stub_figures")
LAYER = {"layer": "0", "weights": 8, "std_layer_max": 0.01, "rms_layer_max": 0.02, "rms_filter_max": 0.05}
MEASUREMENT = {
    "sigma": 0.05,
    "low": 0.0,
    "high": None,
    "identified": False,
    "reason": "the noise costs less.",
    "device": 1.5,
    "digital": 1.25,
    "device_interval": [1.25, 1.75],
    "rms": 0.05,
    "chips": 20,
    "examples": 30,
    "layers": [LAYER],
}


@pytest.fixture
def recommendation(tmp_path):
    task, proposal = Regression(), propose(0.05, identified=False)
    sgd, proposed = ([[1.5 + shift, 1.625 + shift], [2.5 - shift, 2.75]] for shift in (0.0, 0.25))
    models = {proposal.label: proposed, "sgd": sgd}
    estimates = {(label, "card"): estimate(chips, metric=task.primary) for label, chips in models.items()}
    verdict = judge(proposal.label, "sgd", "card", estimates)
    return Recommendation(tmp_path, "card", task, MEASUREMENT, proposal, verdict)


def test_weight_errors_are_not_called_as_the_metric_is(recommendation):
    write_recommendation(recommendation)
    text = (recommendation.folder / "advice.md").read_text()
    assert "The root mean square of the weight errors is used instead: sigma = **0.05**" in text
    assert "Root mean square error 1.250 with digital weights" in text
    assert "root mean square error is used" not in text


def test_a_compensated_target_is_explained(recommendation):
    term = "**-drift** after the name of another target: with global drift compensation, on the same chips."
    for compensation in ([], ["drift"]):
        measured = replace(recommendation, measurement=MEASUREMENT | {"compensation": compensation})
        write_recommendation(measured)
        assert (term in (recommendation.folder / "advice.md").read_text()) == bool(compensation)


def test_differences_say_which_direction_is_better(recommendation, capsys):
    write_recommendation(recommendation)
    text = (recommendation.folder / "advice.md").read_text()
    assert "Lower is better: a negative difference is in favour of the first side." in text
    assert recommendation.verdict.judgement == "not settled"
    assert " (lower is better), which so few models do not settle" in recommendation.verdict.sentence
    show(recommendation)
    assert "proposal − alternative, lower is better:" in capsys.readouterr().out
