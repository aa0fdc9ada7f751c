"""Differences from the baseline: every number that decides what is settled is shown, and the summary names it."""

import json
import math
import re
import shutil
from dataclasses import dataclass

import pandas as pd
import pytest
from scipy.stats import t

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.report.comparison.content import gather
from aimc_robust.report.comparison.difference_sections import _largest_leads, summary
from aimc_robust.report.write import write_report
from aimc_robust.statistics.multiple_testing import holm
from aimc_robust.statistics.primary_metric import ACCURACY

TARGETS = ["digital", "gaussian-0.2", "rram-wan2022"]


@pytest.fixture
def with_points(finished_comparison, tmp_path):
    """A comparison whose m-rwp has the accuracies of sgd plus some points on each target, evenly but for 0.1."""

    def change(**points):
        folder = shutil.copytree(finished_comparison, tmp_path / "copy", dirs_exist_ok=True)
        for seed in (0, 1):
            lines = (folder / "runs" / f"sgd-seed{seed}" / "evaluations.jsonl").read_text().splitlines()
            rows = [json.loads(line) | {"model": "m-rwp"} for line in lines]
            for row in rows:
                row["accuracy"] += points[row["target"].split("-")[0]] + 0.1 * seed
            path = folder / "runs" / f"m-rwp-seed{seed}" / "evaluations.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return change


def items_of(folder):
    (bullets,) = summary(gather(ComparisonResults.open(folder))).blocks
    return bullets.items


def test_every_difference_stands_with_its_interval_and_both_p_values(with_points):
    folder = with_points(digital=0.0, gaussian=-5.0, rram=5.0)
    write_report(folder)
    table = pd.read_csv(folder / "tables" / "differences.csv")
    content = gather(ComparisonResults.open(folder))
    assert sorted(table["first_target"]) == TARGETS
    assert table["p_holm"].tolist() == pytest.approx(list(holm(table["p"])))
    text = (folder / "report.md").read_text()
    section = re.split(r"^## ", text, flags=re.MULTILINE)
    (shown,) = [part for part in section if part.startswith("Differences from the baseline\n")]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown.splitlines() if "m-rwp |" in line]
    expected = [
        [
            "m-rwp",
            row.first_target,
            f"{row.difference:.2f} [{row.ci_low:.2f}, {row.ci_high:.2f}]",
            f"models {row.pairs} pairs",
            *("< 0.0001" if p < 1e-4 else f"{p:.2g}" for p in (row.p, row.p_holm)),
            "yes" if row.p_holm < 0.05 else "no",
        ]
        for row in table.itertuples()
    ]
    assert [[cell.replace("<br>", " ") for cell in row] for row in found] == expected
    settled = {row.first_target: content.rankings[row.first_target]["m-rwp"].status for row in table.itertuples()}
    assert {target: bool(status) for target, status in settled.items()} == dict(
        zip(table["first_target"], table["settled"], strict=True)
    )


def test_the_tables_as_files_mark_what_is_settled_and_explain_themselves(with_points):
    folder = with_points(digital=-0.04, gaussian=-5.0, rram=5.0)
    write_report(folder)
    markdown, latex = ((folder / "tables" / f"accuracy.{kind}").read_text() for kind in ("md", "tex"))
    digital, gaussian, rram = next(line for line in markdown.splitlines() if "m-rwp" in line).split("|")[2:5]
    assert ["↑" in digital, "↓" in digital, "↓" in gaussian, "↑" in rram] == [False, False, True, True]
    assert (latex.count(r"\uparrow"), latex.count(r"\downarrow")) == (1, 1)
    for text in (markdown.splitlines()[-1], latex.splitlines()[0]):
        assert "mean ± sd_noise (over chips) ± sd_seed (over trained models); –: no repetitions." in text
        assert "baseline (sgd)" in text


def test_the_summary_says_who_is_highest_what_is_settled_below_and_that_seeds_are_few(with_points):
    above, highest, unsettled, below, few = items_of(with_points(digital=-0.04, gaussian=-5.0, rram=5.0))
    assert above.startswith("`rram-wan2022`: **m-rwp** reaches")
    assert highest == "m-rwp has the highest mean on `digital`, `rram-wan2022`; sgd on `gaussian-0.2`."
    at_most = 0.01 + 0.05 * t.ppf(1 - 0.05 / 3 / 2, df=1)  # differences -0.04 and 0.06, three comparisons
    assert unsettled == (
        "No method is settled to be better than sgd on `digital`, `gaussian-0.2`. With 95 % confidence for the whole "
        f"page, a lead is at most {math.ceil(100 * at_most) / 100:.2f} points on `digital`, 0.00 points on "
        "`gaussian-0.2`."
    )
    assert below == "Settled to be worse than sgd: m-rwp on `gaussian-0.2`."
    assert few.startswith("With 2 trained models per method")
    assert few.endswith("five or more are advisable.")


@dataclass(frozen=True)
class Unsettled:
    """A baseline comparison of which only these two attributes are read."""

    target: str
    largest_lead: float | None


@pytest.mark.parametrize(
    ("leads", "expected"),
    [
        ({"a": None, "b": None}, ""),
        ({"a": 0.221, "b": None}, "at most 0.23 points on `a`. No limit is known on `b`."),
        ({"a": 0.00012, "b": -0.3}, "at most 0.01 points on `a`, 0.00 points on `b`."),
        (dict(zip("abcdefg", range(1, 8), strict=True)), "at most 1.00 points on `a` to 7.00 points on `g`."),
        (dict.fromkeys("abcdefg", 0.5), "at most 0.50 points on `a` and each other target."),
        ({**dict.fromkeys("abcdefg", 0.5), "h": None}, "each other target. No limit is known on `h`."),
    ],
)
def test_a_limit_is_rounded_up_and_missing_ones_are_named(leads, expected):
    text = _largest_leads(ACCURACY, [Unsettled(target, lead) for target, lead in leads.items()])
    assert text.endswith(expected)
    assert bool(text) == bool(expected)


def test_the_summary_counts_instead_of_naming_everything(with_points):
    highest, unsettled, below, _ = items_of(with_points(digital=-5.0, gaussian=-5.0, rram=-5.0))
    assert highest == "sgd has the highest mean on all 3 targets."
    assert unsettled == (
        "No method is settled to be better than sgd on any target. With 95 % confidence for the whole page, a lead is "
        "at most 0.00 points on `digital`, 0.00 points on `gaussian-0.2`, 0.00 points on `rram-wan2022`."
    )
    assert below == "Settled to be worse than sgd: m-rwp on all 3 targets."
    above = items_of(with_points(digital=5.0, gaussian=5.0, rram=5.0))
    assert [item.split(" ")[0] for item in above] == ["`digital`:", "`gaussian-0.2`:", "`rram-wan2022`:", "m-rwp"]


def test_methods_with_equal_means_share_the_highest(with_points):
    highest, *_ = items_of(with_points(digital=-0.05, gaussian=-0.05, rram=-0.05))  # and 0.05 on the other seed
    assert highest == "sgd and m-rwp share the highest mean on all 3 targets."


def test_the_summary_names_every_method_that_is_settled_to_be_better(finished_comparison, tmp_path):
    folder = shutil.copytree(finished_comparison, tmp_path / "copy")
    question = json.loads((folder / "question.json").read_text())
    question["methods"]["second"] = question["methods"]["m-rwp"]
    (folder / "question.json").write_text(json.dumps(question))
    for label, points in {"m-rwp": 5.0, "second": 3.0}.items():
        for seed in (0, 1):
            lines = (folder / "runs" / f"sgd-seed{seed}" / "evaluations.jsonl").read_text().splitlines()
            rows = [json.loads(line) | {"model": label} for line in lines]
            rows = [row | {"accuracy": row["accuracy"] + points + 0.001 * seed} for row in rows]
            (folder / "runs" / f"{label}-seed{seed}").mkdir(exist_ok=True)
            path = folder / "runs" / f"{label}-seed{seed}" / "evaluations.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    *best, highest, also = items_of(folder)
    assert [item.split(" ")[1] for item in best] == ["**m-rwp**"] * 3
    assert highest == "m-rwp has the highest mean on all 3 targets."
    assert also == "Also settled to be better than sgd: second on all 3 targets."


def test_a_single_seed_is_not_called_few(change_question):
    items = items_of(change_question(train_seeds=[0]))
    assert items
    assert not [item for item in items if "per method" in item or "a lead is" in item]  # a limit is for further models
