"""The kept comparisons of training through arrays answer their specs, and the README's tables are their rows."""

import io
import re
import shutil

import pandas as pd
import pytest
from support.paper_specs import BENCHMARKS

from aimc_robust.experiments.results.archive import unpack
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.summary import summary_table
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.report.comparison.content import gather

RESULTS = BENCHMARKS / "results"
SPECS = {
    "array-aware": "array_aware.toml",
    "array-aware-images": "array_aware_images.toml",
    "array-aware-one-year": "array_aware_one_year.toml",
}


@pytest.fixture(scope="module", params=SPECS)
def kept(request, tmp_path_factory):
    """(name, what the packed results hold, with their rows restored)."""
    folder = tmp_path_factory.mktemp("results") / request.param
    shutil.copytree(RESULTS / request.param, folder)
    unpack(folder)
    return request.param, gather(ComparisonResults.open(folder))


@pytest.mark.slow
def test_rows_are_whole_and_of_the_spec_as_it_is(kept):
    name, content = kept
    ComparisonResults(content.results.folder, load_spec(BENCHMARKS / SPECS[name])).check()
    assert (content.missing, content.failures) == (0, {})
    # As text; the last digits of a number depend on the processor.
    found = pd.read_csv(io.StringIO(summary_table(content.estimates).to_csv(index=False)))
    pd.testing.assert_frame_equal(found, pd.read_csv(RESULTS / name / "summary.csv"), rtol=1e-9)


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


def test_training_through_the_arrays_is_settled_to_beat_weight_noise_after_a_year(kept):
    name, content = kept
    if name == "array-aware-one-year":
        better = ("array-aware-4bit-rwp", "pcm-4bit-1y-drift"), ("rwp", "pcm-4bit-1y-drift")
        assert content.comparisons[better].settled
        assert content.comparisons[better].difference.ci[0] > 5.0
