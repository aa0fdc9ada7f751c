"""Confirmed, refuted, not settled: what a sweep says of a proposal, and how often it is wrong."""

import numpy as np
import pytest
from support.estimates import estimate

from aimc_robust.experiments.recommend.verdict import judge

DEVICE = "pcm"


def sweep(**models):
    """(label, target) -> estimate; a label's value is a list of models, each a list of its chips."""
    found = {(label.replace("_", "-"), DEVICE): estimate(chips) for label, chips in models.items()}
    return found | {("sgd", "digital"): estimate([[99.0]])}


def several(mean, spread=0.3, seeds=4, chips=5, draw=0):
    """Models around a mean that share what chips do to them."""
    generator, chip = np.random.default_rng(draw), np.linspace(-2, 2, chips)
    return [list(mean + chip + spread * generator.normal() + 0.1 * generator.normal(size=chips)) for _ in range(seeds)]


def judged(**models):
    return judge("new", "sgd", DEVICE, sweep(**models))


def test_above_the_baseline_and_below_no_rival_is_confirmed():
    verdict = judged(sgd=several(80), new=several(85, draw=1), other=several(84.9, draw=2))
    assert verdict.judgement == "confirmed"
    assert verdict.sentence.startswith("new is better than sgd on the device by ")
    assert verdict.sentence.endswith("points (95 %, over trained models), and no rival is shown to be better.")
    row = verdict.table.set_index("second_model").loc["sgd"]
    assert f"{row['difference']:.2f} [{row['ci_low']:.2f}, {row['ci_high']:.2f}]" in verdict.sentence
    assert list(verdict.table["second_model"]) == ["sgd", "other"]
    assert (verdict.table["covers"] == "models").all()


def test_below_a_rival_is_refuted_and_the_best_such_rival_is_named():
    verdict = judged(sgd=several(80), new=several(85, draw=1), good=several(88, draw=2), best=several(90, draw=3))
    assert verdict.judgement == "refuted"
    assert verdict.sentence.startswith("best is better on the device by ")
    assert verdict.best == "best"
    row = verdict.table.set_index("second_model").loc["best"]
    assert f"{-row['difference']:.2f} [{-row['ci_high']:.2f}, {-row['ci_low']:.2f}] points" in verdict.sentence


def test_below_the_baseline_is_refuted():
    verdict = judged(sgd=several(80), new=several(75, draw=1))
    assert (verdict.judgement, verdict.best) == ("refuted", "sgd")
    assert verdict.sentence.startswith("sgd is better on the device by ")


def test_what_cannot_be_told_apart_is_not_settled_whichever_mean_is_higher():
    verdict = judged(sgd=several(80, spread=3), new=several(80.5, spread=3, draw=1))
    assert verdict.judgement == "not settled"
    assert verdict.sentence.endswith("points, which so few models do not settle; use more seeds.")
    assert verdict.best in ("sgd", "new")


def test_one_model_each_speaks_for_its_chips_and_says_so():
    confirmed = judged(sgd=several(80, seeds=1), new=several(85, seeds=1, draw=1))
    assert confirmed.judgement == "confirmed"
    assert "(95 %, over chips of one trained model)" in confirmed.sentence
    even = judged(sgd=several(80, seeds=1), new=several(80.0, spread=0.01, seeds=1, draw=1))
    assert even.judgement == "not settled"
    assert "which one model each does not settle" in even.sentence


def test_other_targets_have_no_say():
    found = sweep(sgd=several(80), new=several(85, draw=1))
    found |= {("new", "digital"): estimate([[10.0]] * 4), ("rival", "digital"): estimate([[100.0]] * 4)}
    assert judge("new", "sgd", DEVICE, found).judgement == "confirmed"


@pytest.mark.parametrize("lost", ["sgd", "new"])
def test_without_the_baseline_or_the_proposal_nothing_is_settled(lost):
    models = {"sgd": several(80), "new": several(85), "other": several(84)}
    del models[lost]
    verdict = judged(**models)
    assert (verdict.judgement, verdict.sentence) == ("not settled", f"{lost} has no result: its training failed.")
    assert verdict.best in models
    assert verdict.table.empty


def test_a_rival_that_failed_has_no_say_and_a_sweep_that_failed_whole_has_no_best():
    assert judged(sgd=several(80), new=several(85, draw=1)).judgement == "confirmed"
    verdict = judge("new", "sgd", DEVICE, {})
    assert (verdict.judgement, verdict.best) == ("not settled", "")


def test_models_without_a_common_seed_are_not_compared():
    found = sweep(sgd=several(80), new=several(85))
    table = found["new", DEVICE].table
    found["new", DEVICE] = type(found["new", DEVICE])(table.assign(train_seed=table["train_seed"] + 10))
    verdict = judge("new", "sgd", DEVICE, found)
    assert verdict.judgement == "not settled"
    assert verdict.sentence == "new and sgd have no trained seed in common, as some failed; use more seeds."


def wrongly_settled(trials, *, seeds, rivals, seed_sd=1.0):
    """(confirmed, refuted) shares of sweeps in which every method is equally good."""
    generator, words = np.random.default_rng(1), []
    for _ in range(trials):
        chip = generator.normal(size=5)  # what a chip does to all
        draw = {
            label: [list(80 + seed_sd * generator.normal() + chip + generator.normal(size=5)) for _ in range(seeds)]
            for label in ("sgd", "new", *(f"r{i}" for i in range(rivals)))
        }
        words.append(judged(**draw).judgement)
    return words.count("confirmed") / trials, words.count("refuted") / trials


@pytest.mark.slow
def test_where_all_methods_are_equal_a_confirmation_is_as_rare_as_promised():
    confirmed, refuted = wrongly_settled(80, seeds=3, rivals=2)
    assert confirmed <= 0.05  # two-sided tests, corrected: below 2.5 %
    assert confirmed + refuted <= 0.05 + 3.0 * np.sqrt(0.05 * 0.95 / 80)
    alone = sum(wrongly_settled(120, seeds=3, rivals=0))
    assert abs(alone - 0.05) <= 3.0 * np.sqrt(0.05 * 0.95 / 120)  # a single test has its whole 5 %
    assert alone > 0.0  # and the simulation sees them


def test_one_model_each_would_confirm_far_too_often_for_new_trainings():
    """The control, and why one seed speaks for its chips alone."""
    confirmed, refuted = wrongly_settled(40, seeds=1, rivals=0, seed_sd=3.0)
    assert min(confirmed, refuted) > 0.15
