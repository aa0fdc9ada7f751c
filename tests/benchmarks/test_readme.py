"""The table of benchmarks/README.md names every spec, and says of it what the spec says."""

import re

import pytest
from support.paper_specs import BENCHMARKS, NAMES, layout, loaded

ROW = re.compile(
    r"^\| `aimc-robust compare benchmarks/(\S+)\.toml` \| (.+) \| (\d+) \| (\d+) \| (.+) \|$", re.MULTILINE
)


@pytest.fixture(scope="module")
def text() -> str:
    return (BENCHMARKS / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_spec_is_listed_once_with_what_it_reproduces_its_cost_and_its_status(text):
    rows = {row[0]: row[1:] for row in ROW.findall(text)}
    assert sorted(row[0] for row in ROW.findall(text)) == sorted(NAMES)
    for name, (what, models, epochs, status) in rows.items():
        spec = loaded(name)
        assert int(models) == len(spec.labels) * len(spec.train_seeds), name
        assert int(epochs) == sum(spec.config_of(label).epochs for label in spec.labels) * len(spec.train_seeds), name
        assert status.strip(), name
        number = re.search(r"A?\d+", layout(name).place)[0]
        assert re.search(rf"(Table|Figs?\.) (.*[ ,])?{number}\b", what), (what, number)


@pytest.mark.slow
def test_the_number_of_models_that_sharing_leaves_is_the_specs_own(text):
    named, different = (int(n) for n in re.search(r"name (\d+) models, of which (\d+) are different", text).groups())
    specs = [loaded(name) for name in NAMES]
    recipes = [spec.recipe(label, seed) for spec in specs for label in spec.labels for seed in spec.train_seeds]
    assert (named, different) == (len(recipes), len(set(recipes)))


def test_nothing_is_run_by_a_base_alone():
    for base in BENCHMARKS.glob("*/base.toml"):
        assert "[methods" not in base.read_text(encoding="utf-8")
