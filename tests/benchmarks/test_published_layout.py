"""The published table of a spec: each cell finds its methods, its target and its figure, or says why it does not."""

import pytest
import tomli_w
from published import layout as layouts
from published import values as published_values
from published.claim import Claim, Side
from published.layout import read_layout
from published.values import PublishedValue

from aimc_robust.errors import AimcError, InputError, UnknownNameError

CSV = """paper,table,dataset,model,method,setting,metric,value,sd_noise,sd_seed
one,1,digits,small,SAM,sigma = 0.1,test accuracy %,71.5,0.5,0.2
one,1,digits,small,SAM,sigma = 0.2,test accuracy %,61.5,,0.2
one,1,digits,big,SAM,sigma = 0.1,test accuracy %,81.5,0.25,
one,2,digits,small,SAM,sigma = 0.1,test accuracy %,1.5,,
"""
TABLE = {
    "citation": "A paper",
    "place": "Table 1",
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


@pytest.fixture
def paper(tmp_path, monkeypatch):
    """A function that reads TABLE with changes."""
    (tmp_path / "values.csv").write_text(CSV, encoding="utf-8")
    monkeypatch.setattr(published_values, "FILE", tmp_path / "values.csv")
    monkeypatch.setattr(layouts, "published_rows", published_values.published_rows.__wrapped__)

    def read(**changes):
        (tmp_path / "mine.toml").write_text(tomli_w.dumps(TABLE | changes), encoding="utf-8")
        return read_layout("mine", folder=tmp_path)

    return read


def test_a_trial_joins_its_row_its_column_and_the_figure_that_answers(paper):
    first, second, cost = paper().cells(LABELS)[0]
    assert (first.methods, first.target, first.metric) == (("small-sam-1", "small-sam-2"), "gaussian-0.1", "accuracy")
    assert first.published == PublishedValue(71.5, 0.5, 0.2)
    assert second.published == PublishedValue(61.5, None, 0.2)
    assert (cost.cost, cost.target) == ("flops", None)


def test_a_figure_that_nothing_tells_apart_is_refused(paper):
    rows = [{"title": "SAM", "method": "small-sam-1", "published": {"method": "SAM"}}]
    with pytest.raises(InputError, match="2 published"):
        paper(rows=rows).cells(LABELS)


def test_a_claim_knows_the_labels_of_both_sides(paper):
    (claim,) = paper().build_claims(LABELS)
    assert claim.better == Side(("small-sam-2",), "gaussian-0.1")
    assert claim.than == Side(("small-sam-1", "small-sam-2"), "gaussian-0.2")


def test_a_claim_at_several_places_is_a_claim_at_each_of_them(paper):
    table = {
        "at": ["1", "2"],
        "text": "rho {at} loses to the big network",
        "better": {"method": "big-*", "target": "gaussian-0.{at}", "pick": "worst"},
        "than": {"method": "small-sam-{at}", "target": "gaussian-0.{at}"},
        "metric": "loss",
    }
    assert paper(claims=[table]).build_claims(LABELS) == [
        Claim(
            f"rho {at} loses to the big network",
            Side(("big-sam-1",), f"gaussian-0.{at}", "worst"),
            Side((f"small-sam-{at}",), f"gaussian-0.{at}"),
            "loss",
        )
        for at in ("1", "2")
    ]
    with pytest.raises(InputError, match=r"text must contain \{at\}.*\['1', '2'\]"):
        paper(claims=[table | {"text": "rho loses"}])


def test_methods_and_targets_that_are_not_there_are_told(paper):
    made = paper()
    made.check_references(LABELS, TARGETS)
    with pytest.raises(InputError, match="methods"):
        made.check_references(["sgd"], TARGETS)
    with pytest.raises(UnknownNameError, match=r"gaussian-0\.2"):
        made.check_references(LABELS, TARGETS[:1])


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
def test_a_layout_that_cannot_be_is_told(paper, changes, message):
    with pytest.raises(AimcError, match=message):
        paper(**changes).cells(LABELS)


def test_a_spec_without_a_published_table_is_told(paper, tmp_path):
    with pytest.raises(InputError, match=r"gone\.toml"):
        read_layout("gone", folder=tmp_path)


def test_values_are_kept_where_some_row_or_column_asks_for_them(paper):
    assert len(paper().values) == 3
    bare = {"columns": [{"title": "0.1", "target": "gaussian-0.1"}], "rows": [{"title": "SAM", "method": "*"}]}
    assert paper(**bare).values == []
