"""The published table of a spec: each cell finds its methods, its target and its figure, or says why it does not."""

import pytest

from aimc_robust.errors import AimcError, DataError, InputError, UnknownNameError
from aimc_robust.experiments.spec.published_table import PaperSpec
from aimc_robust.experiments.spec.published_values import PublishedValue, insert_published_values
from aimc_robust.io.toml import parse

CSV = """paper,table,dataset,model,method,setting,metric,value,sd_noise,sd_seed
one,1,digits,small,SAM,sigma = 0.1,test accuracy %,71.5,0.5,0.2
one,1,digits,small,SAM,sigma = 0.2,test accuracy %,61.5,,0.2
one,1,digits,big,SAM,sigma = 0.1,test accuracy %,81.5,0.25,
one,2,digits,small,SAM,sigma = 0.1,test accuracy %,1.5,,
"""
TABLE = {
    "citation": "A paper",
    "place": "Table 1",
    "published": "published.csv",
    "where": {"paper": "one", "table": "1"},
    "columns": [
        {"title": "0.1", "target": "gaussian-0.1", "published": {"setting": "sigma = 0.1"}},
        {"title": "0.2", "target": "gaussian-0.2", "published": {"setting": "sigma = 0.2"}},
        {"title": "FLOPs", "cost": "flops"},
    ],
    "rows": [
        {"title": "Small", "net": "small", "method": "{net}-sam-*", "published": {"model": "{net}", "method": "SAM"}}
    ],
    "claims": [
        {
            "text": "more is better",
            "better": {"method": "small-sam-2", "target": "gaussian-0.1"},
            "than": {"method": "small-sam-*", "target": "gaussian-0.2"},
        }
    ],
}
LABELS = ["small-sam-1", "small-sam-2", "big-sam-1"]
TARGETS = ["gaussian-0.1", "gaussian-0.2"]


def paper(folder, **changes):
    (folder / "published.csv").write_text(CSV, encoding="utf-8")
    return parse(insert_published_values(TABLE | changes, folder), PaperSpec, source="paper")


def test_a_trial_joins_its_row_its_column_and_the_figure_that_answers(tmp_path):
    first, second, cost = paper(tmp_path).cells(LABELS)[0]
    assert (first.methods, first.target, first.metric) == (("small-sam-1", "small-sam-2"), "gaussian-0.1", "accuracy")
    assert first.published == PublishedValue(71.5, 0.5, 0.2)
    assert second.published == PublishedValue(61.5, None, 0.2)
    assert (cost.cost, cost.target) == ("flops", None)


def test_a_figure_that_nothing_tells_apart_is_refused(tmp_path):
    rows = [{"title": "SAM", "method": "small-sam-1", "published": {"method": "SAM"}}]
    with pytest.raises(InputError, match="2 published"):
        paper(tmp_path, rows=rows).cells(LABELS)


def test_a_claim_knows_the_labels_of_both_sides(tmp_path):
    (claim,) = paper(tmp_path).build_claims(LABELS)
    assert claim.better == (("small-sam-2",), "gaussian-0.1")
    assert claim.than == (("small-sam-1", "small-sam-2"), "gaussian-0.2")


def test_methods_and_targets_that_are_not_there_are_told_unless_a_scale_left_them_out(tmp_path):
    made = paper(tmp_path)
    made.check_references(LABELS, TARGETS, partial=False)
    with pytest.raises(InputError, match="methods"):
        made.check_references(["sgd"], TARGETS, partial=False)
    with pytest.raises(UnknownNameError, match=r"gaussian-0\.2"):
        made.check_references(LABELS, TARGETS[:1], partial=False)
    made.check_references(["sgd"], TARGETS[:1], partial=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": [{"method": "small-sam-1"}]}, "`title`"),
        ({"columns": [{"title": "x"}]}, "`target`"),
        ({"columns": [{"title": "x", "cost": "money"}]}, "cost"),
        ({"metric": "beauty"}, "metric"),
        ({"where": {"tabel": "1"}}, "tabel"),
        ({"rows": [{"title": "x", "method": "small-sam-1", "published": {"methd": "SAM"}}]}, "methd"),
    ],
)
def test_a_layout_that_cannot_be_is_told(tmp_path, changes, message):
    with pytest.raises(AimcError, match=message):
        paper(tmp_path, **changes).cells(LABELS)


def test_a_missing_or_other_file_of_figures_is_told(tmp_path):
    with pytest.raises(DataError, match=r"gone\.csv"):
        paper(tmp_path, published="gone.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(DataError, match="columns"):
        paper(tmp_path, published="other.csv")


def test_figures_are_kept_where_some_row_or_column_asks_for_them(tmp_path):
    assert len(paper(tmp_path).figures) == 3
    bare = {"columns": [{"title": "0.1", "target": "gaussian-0.1"}], "rows": [{"title": "SAM", "method": "*"}]}
    assert paper(tmp_path, **bare).figures == []
