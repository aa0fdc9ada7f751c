"""The kept comparisons of training through arrays answer their specs, and the README's tables are their rows."""

import re
import shutil

import pytest
from support.paper_specs import BENCHMARKS

from aimc_robust.experiments.results.archive import unpack
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.summary import summary_table
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.report.comparison.content import gather

RESULTS = BENCHMARKS / "results"
SPECS = {"array-aware-images": "array_aware_images.toml"}


@pytest.fixture(scope="module", params=SPECS)
def kept(request, tmp_path_factory):
    """(name, what the packed results hold, with their rows restored)."""
    folder = tmp_path_factory.mktemp("results") / request.param
    shutil.copytree(RESULTS / request.param, folder)
    unpack(folder)
    return request.param, gather(ComparisonResults.open(folder))


def test_rows_are_whole_and_of_the_spec_as_it_is(kept):
    name, content = kept
    ComparisonResults(content.results.folder, load_spec(BENCHMARKS / SPECS[name])).check()
    assert (content.missing, content.failures) == (0, {})
    expected = (RESULTS / name / "summary.csv").read_text(encoding="utf-8")
    assert summary_table(content.estimates).to_csv(index=False) == expected


def test_the_readme_states_the_means_of_the_rows(kept):
    name, content = kept
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    section = text[text.index(f"## {name}:") :].split("\n## ")[0]
    header, _, *rows = re.findall(r"^\|(.*)\|$", section, re.MULTILINE)
    targets = [cell.strip() for cell in header.split("|")][1:]
    stated = {}
    for row in rows:
        method, *cells = (cell.strip(" *") for cell in row.split("|"))
        if method in content.results.spec.labels:
            stated |= {(method, target): float(cell) for target, cell in zip(targets, cells, strict=True)}
    assert {method for method, _ in stated} == set(content.results.spec.labels)
    assert stated == {key: round(content.estimates[key].mean, 1) for key in stated}
