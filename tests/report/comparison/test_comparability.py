"""Methods of one comparison with images, networks or trainings of their own: only like is compared with like."""

import json

import pytest

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.report.comparison.content import gather
from aimc_robust.report.write import write_report

OTHER = {"data": {"test_share": 0.2}}
LARGE = {"model": {"options": {"channels": 8}}}


def test_methods_with_other_images_are_neither_best_nor_settled_nor_findings(finished_comparison, change_question):
    together = gather(ComparisonResults.open(finished_comparison))
    assert sorted(s.is_best for s in together.rankings["gaussian-0.2"].values()) == [False, True]
    assert together.baseline_comparisons
    apart = gather(ComparisonResults.open(change_question(methods={"m-rwp": OTHER})))
    for rankings in apart.rankings.values():
        assert [s.tags for s in rankings.values()] == [[], []]
    assert apart.baseline_comparisons == []


def with_two_more(folder):
    """The same rows once more under other names: two methods with images of their own, the second 5 points better."""
    path = folder / "question.json"
    question = json.loads(path.read_text())
    question["methods"] |= {"b-sgd": {"kind": "sgd", **OTHER}, "b-rwp": {"kind": "rwp", "sigma": 0.1, **OTHER}}
    path.write_text(json.dumps(question))
    for seed in (0, 1):
        rows = (folder / "runs" / f"sgd-seed{seed}" / "evaluations.jsonl").read_text().splitlines()
        for label, points in (("b-sgd", 0.0), ("b-rwp", 5.0 + seed / 10)):
            run = folder / "runs" / f"{label}-seed{seed}"
            run.mkdir()
            moved = [json.loads(row) for row in rows]
            moved = [row | {"model": label, "accuracy": row["accuracy"] + points, "n": 360} for row in moved]
            (run / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in moved))
    return folder


def test_each_group_of_equal_images_has_its_best_its_baseline_and_its_finding(change_question):
    folder = with_two_more(change_question())
    content = gather(ComparisonResults.open(folder))
    placed = content.rankings["gaussian-0.2"]
    assert (placed["b-sgd"].tags, placed["b-rwp"].tags) == ([], ["best", "better"])
    assert placed["sgd"].is_best != placed["m-rwp"].is_best
    found = {(f.target, f.baseline): f for f in content.baseline_comparisons}
    assert found["gaussian-0.2", "b-sgd"].best == "b-rwp"
    assert found["gaussian-0.2", "b-sgd"].comparison.difference.mean == pytest.approx(5.05)
    assert found["gaussian-0.2", "sgd"].best in ("sgd", "m-rwp")
    page = write_report(folder).read_text()
    assert "among the methods with the same data" in page
    assert "the same 180 images of <code>digits</code> or the same 360 images of <code>digits</code>" in page
    assert "5.05 points" in page


def test_networks_are_set_against_their_own_baseline_or_where_each_has_its_own_against_each_other(change_question):
    folder = with_two_more(change_question(methods={"m-rwp": LARGE}))
    pairs = {(f.baseline, f.best) for f in gather(ComparisonResults.open(folder)).baseline_comparisons}
    assert pairs == {("b-sgd", "b-rwp")}  # sgd and m-rwp have no other method of their network
    alone = gather(ComparisonResults.open(change_question(methods={"m-rwp": LARGE})))
    assert {f.baseline for f in alone.baseline_comparisons} == {"sgd"}


def test_the_page_says_what_each_method_has_of_its_own(change_question):
    training = {"training": {"epochs": 3, "lr": 0.2}}
    folder = change_question(methods={"m-rwp": OTHER | LARGE | training})
    page, markdown = write_report(folder).read_text(), (folder / "report.md").read_text()
    own = "data.test_share 0.2, model.options.channels 8, training.epochs 3, training.lr 0.2"
    assert page.count(own) >= 2  # in the table of trainings, and beside the accuracies
    assert f"| {own} |" in markdown
    assert '<th scope="col">overrides</th>' in page


def test_without_differences_the_page_has_no_such_column(finished_comparison):
    assert '<th scope="col">overrides</th>' not in (finished_comparison / "report.html").read_text()


def test_a_metric_is_shown_where_it_was_measured(change_question):
    folder = change_question(metrics=["top5"])
    path = folder / "runs" / "sgd-seed0" / "evaluations.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row | {"top5": 97.5}) + "\n" for row in rows))
    page = write_report(folder).read_text()
    assert page.count("97.50 <small>") == 0  # one of the two models has no value
    path = folder / "runs" / "sgd-seed1" / "evaluations.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row | {"top5": 97.5}) + "\n" for row in rows))
    page = write_report(folder).read_text()
    assert page.count(">97.50 <small>[97.50, 97.50]</small>") == 3  # sgd on each of the targets


def test_accuracy_on_training_images_is_named_so_and_no_error_of_test_images(change_question):
    target = {"name": "train-0.2", "noise": "gaussian", "sigma": 0.2, "split": "training"}
    folder = change_question(targets=["digital", "rram-wan2022", target])
    for cell in ("sgd-seed0", "sgd-seed1", "m-rwp-seed0", "m-rwp-seed1"):
        path = folder / "runs" / cell / "evaluations.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        renamed = [r | {"target": "train-0.2", "n": 9} if r["target"] == "gaussian-0.2" else r for r in rows]
        path.write_text("".join(json.dumps(row) + "\n" for row in renamed))
    content = gather(ComparisonResults.open(folder))
    assert content.test_data == [("digits", 180)]
    assert max(content.sampling_half_widths) < 8  # nine images would leave more
    assert " <small>on training data</small>" in write_report(folder).read_text()
